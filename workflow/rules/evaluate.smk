# Needs: the scores of runs. Gives: their metrics, and the floor and control of each data set.


rule evaluate:
    input:
        predictions=f"{RUN}/{runs.PREDICTIONS}",
    output:
        metrics=f"{RUN}/{runs.METRICS}",
        replicates=f"{RUN}/{runs.REPLICATES}",
    log:
        f"{RUN_LOG}/evaluate.log",
    benchmark:
        f"{RUN_LOG}/evaluate.jsonl"
    group:
        job_of_run
    conda:
        "../../envs/report.yaml"
    resources:
        **PLACE,
        mem_mb=megabytes(2000),
        runtime=minutes(EVALUATION, gpu_model, share=part_of_run),
    params:
        code=code.digest("evaluate"),
    script:
        "../scripts/evaluate.py"


rule controls:
    input:
        index=f"{DATA}/index.parquet",
        manifest=f"{DATA}/manifest.json",
    output:
        predictions=f"{STUDY.paths.controls}/{runs.PREDICTIONS}",
        metrics=f"{STUDY.paths.controls}/{runs.METRICS}",
        replicates=f"{STUDY.paths.controls}/{runs.REPLICATES}",
        shuffled=f"{STUDY.paths.controls}/shuffled_labels.json",
    log:
        f"{LOGS}/controls/{{dataset}}.log",
    benchmark:
        f"{LOGS}/controls/{{dataset}}.jsonl"
    conda:
        "../../envs/report.yaml"
    resources:
        mem_mb=megabytes(2000),
        runtime=minutes(30),
    params:
        code=code.digest("controls"),
    script:
        "../scripts/controls.py"
