# Needs: trained runs. Gives: the scores of their validation and test patches, in the run folders.


rule predict:
    input:
        patches("valid", "test"),
        manifest=f"{DATA}/manifest.json",
        features=cached_features("valid", "test"),
        weights=rules.train.output.weights,
    output:
        predictions=f"{RUN}/{runs.PREDICTIONS}",
    log:
        f"{RUN_LOG}/predict.log",
    benchmark:
        f"{RUN_LOG}/predict.tsv"
    conda:
        environment
    threads: 2
    resources:
        gpu=lambda wildcards: int(bool(gpu_model(wildcards))),
        gpu_model=gpu_model,
        mem_mb=8000,
    params:
        spec=specification,
        code=code.digest("predict", "train/predict", "train/models", "train/batches", "features", "datasets/prepared"),
    script:
        "../scripts/predict.py"
