# Needs: trained runs, which of these is chosen, and what tables and figures say of it. Gives: the model of a data set for
# others, results/{study}/models/{dataset}/: for Keras and for ONNX, with its description and its card.


if TRAINS:

    rule export:
        input:
            patches_of_networks("models", "valid"),
            weights_of_candidates("models"),
            # Which run is the best is known only later, so the weights of all.
            of_networks("models", runs.WEIGHTS),
            of_networks("models", runs.ABOUT),
            of_networks("models", runs.PREDICTIONS),
            chosen=EXPORTED_FROM,
            runs=of_candidates("models", runs.ABOUT),
        output:
            keras=f"{MODEL}/model.keras",
            onnx=f"{MODEL}/model.onnx",
            about=STUDY.paths.exported,
        log:
            f"{LOGS}/export/{{dataset}}.log",
        benchmark:
            f"{LOGS}/export/{{dataset}}.jsonl"
        conda:
            "../../envs/models.yaml"
        threads: CPU_THREADS
        resources:
            mem_mb=megabytes(CNN_MEMORY),
            runtime=minutes(60),
        params:
            data=data_of_networks("models"),
            weights=weights_by_model("models"),
            code=code.digest("export"),
        script:
            "../scripts/export.py"


rule describe_model:
    input:
        **described_by(),
        about=STUDY.paths.exported,
        runs=f"{RESULTS}/runs.csv",
        cells=f"{RESULTS}/cells.csv",
        manifest=lambda wildcards: f"{DATA.format(dataset=behind(wildcards.dataset)[0])}/manifest.json",
    output:
        model=f"{MODEL}/model.json",
        card=f"{MODEL}/card.md",
    log:
        f"{LOGS}/describe_model/{{dataset}}.log",
    localrule: True
    conda:
        "../../envs/report.yaml"
    params:
        study=STUDY.name,
        microns_per_pixel=lambda wildcards: STUDY.microns_per_pixel(wildcards.dataset),
        code=code.digest("describe_model"),
    script:
        "../scripts/describe_model.py"


rule models:
    input:
        [f"{MODEL.format(dataset=name)}/{file}" for name in EXPORTED for file in MODEL_FILES],
    localrule: True
