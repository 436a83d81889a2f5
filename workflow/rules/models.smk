# Needs: the catalogue alone. Gives: models.csv, the size of every CNN of the study.


rule describe_models:
    output:
        sizes=f"{RESULTS}/models.csv",
    log:
        f"{LOGS}/describe_models.log",
    benchmark:
        f"{LOGS}/describe_models.jsonl"
    conda:
        "../../envs/tensorflow.yaml"
    resources:
        mem_mb=megabytes(CNN_MEMORY),
        runtime=minutes(60),
    params:
        sides=[FORMATS[name].patch_size for name in ("pcam", "idc")],
        specs=[specification_of_model(model) for model in STUDY_MODELS if model in CNNS],
        code=code.digest("describe_models"),
    script:
        "../scripts/describe_models.py"
