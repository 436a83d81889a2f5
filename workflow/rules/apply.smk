# Needs: an exported model, of this study or of another one, and slides or patches of one's own. Gives: their scores, maps and a
# page, results/{study}/apply/{applied}/. Nothing of this enters tables, figures or the report.


rule score_slide:
    input:
        files_of_model,
        slide=slide_file,
    output:
        scores=f"{SLIDE}/scores.parquet",
        about=f"{SLIDE}/about.json",
        overview=f"{SLIDE}/overview.jpg",
    log:
        f"{LOGS}/apply/{{applied}}/{{device}}/{{slide}}.log",
    benchmark:
        f"{LOGS}/apply/{{applied}}/{{device}}/{{slide}}.jsonl"
    wildcard_constraints:
        applied=one_of(OF_SLIDES),
        slide=".+",
    conda:
        "../../envs/models.yaml"
    threads: cnn_threads
    resources:
        **on_device(CNN_MEMORY, SCORING),
    params:
        model=model_folder,
        model_files=model_digest,
        d4=lambda wildcards: STUDY.applied[wildcards.applied].d4,
        stride=lambda wildcards: STUDY.applied[wildcards.applied].stride,
        microns_per_pixel=lambda wildcards: STUDY.applied[wildcards.applied].microns_per_pixel,
        bytes=slide_bytes,
        code=code.digest("score_slide"),
    script:
        "../scripts/score_slide.py"


rule map_slide:
    input:
        f"{SLIDE}/scores.parquet",
        f"{SLIDE}/about.json",
        f"{SLIDE}/overview.jpg",
    output:
        map=f"{SLIDE}/map.png",
        tiles=f"{SLIDE}/scores.geojson",
    log:
        f"{LOGS}/apply/{{applied}}/{{device}}/{{slide}}.map.log",
    wildcard_constraints:
        applied=one_of(OF_SLIDES),
        slide=".+",
    localrule: True
    conda:
        "../../envs/report.yaml"
    params:
        code=code.digest("map_slide"),
    script:
        "../scripts/map_slide.py"


rule score_patches:
    input:
        files_of_model,
        patches=patches_to_score,
    output:
        scores=f"{APPLIED}/scores.parquet",
        about=f"{APPLIED}/about.json",
    log:
        f"{LOGS}/apply/{{applied}}/{{device}}.log",
    benchmark:
        f"{LOGS}/apply/{{applied}}/{{device}}.jsonl"
    wildcard_constraints:
        applied=one_of(OF_PATCHES),
    conda:
        "../../envs/models.yaml"
    threads: cnn_threads
    resources:
        **on_device(CNN_MEMORY, SCORING),
    params:
        model=model_folder,
        model_files=model_digest,
        d4=lambda wildcards: STUDY.applied[wildcards.applied].d4,
        content=content_of_patches,
        code=code.digest("score_patches"),
    script:
        "../scripts/score_patches.py"


rule scored_page:
    input:
        labels=labels_of_applied,
        scored=scored_files,
        maps=scored_maps,
    output:
        page=STUDY.paths.page,
        table=f"{RESULTS}/apply/{{applied}}/scored.csv",
    log:
        f"{LOGS}/apply/{{applied}}/page.log",
    wildcard_constraints:
        applied=one_of(STUDY.applied),
    localrule: True
    conda:
        "../../envs/report.yaml"
    params:
        study=STUDY.name,
        names=scored_names,
        code=code.digest("scored_page"),
    script:
        "../scripts/scored_page.py"


rule apply:
    input:
        pages_of_applied,
    localrule: True
