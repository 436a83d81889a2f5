# Needs: trained runs, and data sets that they have not learned from. Gives: their scores and metrics on the test patches of
# these. Nothing is trained or chosen by them.


rule predict_external:
    input:
        lambda wildcards: test_patches(wildcards.tested_on),
        backbone_of,
        manifest=f"{DATA.format(dataset='{tested_on}')}/manifest.json",
        trained_on=f"{DATA}/manifest.json",
        weights=f"{RUN}/{runs.WEIGHTS}",
        about=f"{RUN}/{runs.ABOUT}",
        predictions=f"{RUN}/{runs.PREDICTIONS}",
    output:
        predictions=f"{EXTERNAL}/{runs.PREDICTIONS}",
        about=f"{EXTERNAL}/{runs.EXTERNAL}",
    log:
        f"{EXTERNAL_LOG}/predict_external.log",
    benchmark:
        f"{EXTERNAL_LOG}/predict_external.jsonl"
    wildcard_constraints:
        dataset=one_of(TRAINED_ON),
        tested_on=one_of(STUDY.datasets),
        recipe=one_of(TRAINING),
    conda:
        environment
    container:
        container_image
    envmodules:
        *ENV_MODULES,
    threads: cnn_threads
    resources:
        **on_device(CNN_MEMORY, external_time_limit),
    params:
        spec=specification,
        backbone=lambda wildcards: next(map(placed, weights_file(wildcards.model)), None),
        refused=why_not_external,
        code=code.digest("predict_external"),
    script:
        "../scripts/predict_external.py"


rule evaluate_external:
    input:
        predictions=f"{EXTERNAL}/{runs.PREDICTIONS}",
    output:
        metrics=f"{EXTERNAL}/{runs.METRICS}",
        replicates=f"{EXTERNAL}/{runs.REPLICATES}",
    log:
        f"{EXTERNAL_LOG}/evaluate.log",
    benchmark:
        f"{EXTERNAL_LOG}/evaluate.jsonl"
    conda:
        "../../envs/report.yaml"
    resources:
        mem_mb=megabytes(2000),
        runtime=minutes(EVALUATION),
    params:
        code=code.digest("evaluate"),
    script:
        "../scripts/evaluate.py"
