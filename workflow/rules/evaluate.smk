# Needs: trained runs. Gives: predictions and metrics of each run, and the floor and control of each data set.


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
        "../../envs/tensorflow.yaml"
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


rule evaluate:
    input:
        predictions=rules.predict.output.predictions,
    output:
        metrics=f"{RUN}/{runs.METRICS}",
        replicates=f"{RUN}/{runs.REPLICATES}",
    log:
        f"{RUN_LOG}/evaluate.log",
    benchmark:
        f"{RUN_LOG}/evaluate.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        code=code.digest("evaluate", "results/evaluation", "results/metrics"),
    script:
        "../scripts/evaluate.py"


rule controls:
    input:
        index=f"{DATA}/index.parquet",
        manifest=f"{DATA}/manifest.json",
    output:
        predictions=f"{RESULTS}/controls/{{dataset}}/{runs.PREDICTIONS}",
        metrics=f"{RESULTS}/controls/{{dataset}}/{runs.METRICS}",
        replicates=f"{RESULTS}/controls/{{dataset}}/{runs.REPLICATES}",
        shuffled=f"{RESULTS}/controls/{{dataset}}/shuffled_labels.json",
    log:
        f"{LOGS}/controls/{{dataset}}.log",
    benchmark:
        f"{LOGS}/controls/{{dataset}}.tsv"
    conda:
        "../../envs/report.yaml"
    params:
        code=code.digest("controls", "datasets/prepared", "results/controls", "results/evaluation", "results/metrics"),
    script:
        "../scripts/controls.py"
