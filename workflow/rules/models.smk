# Needs: the catalogue alone. Gives: Table 1, the size of every model of the study beside the published one.

PUBLISHED = "config/paper/table1.csv"
STUDY_MODELS = list(dict.fromkeys(run.model for run in STUDY.runs))


rule describe_models:
    output:
        sizes=f"{RESULTS}/models.csv",
    log:
        f"{LOGS}/describe_models.log",
    benchmark:
        f"{LOGS}/describe_models.tsv"
    conda:
        "../../envs/tensorflow.yaml"
    resources:
        mem_mb=8000,
    params:
        specs=[specification_of_model(model) for model in STUDY_MODELS],
        code=code.digest("describe_models", "train/anatomy", "train/models"),
    script:
        "../scripts/describe_models.py"


rule table_models:
    input:
        sizes=rules.describe_models.output.sizes,
        published=ancient(PUBLISHED),  # by its content, below: a fresh clone's dates say nothing
    output:
        csv=f"{RESULTS}/tables/models.csv",
        markdown=f"{RESULTS}/tables/models.md",
        html=f"{RESULTS}/tables/models.html",
    log:
        f"{LOGS}/table_models.log",
    localrule: True
    conda:
        "../../envs/report.yaml"
    params:
        study=STUDY.name,
        published=file_digest(PUBLISHED),
        names={model: STUDY.models[model].name for model in STUDY_MODELS},
        code=code.digest("table_models", "results/sizes", "results/tables", "results/metrics"),
    script:
        "../scripts/table_models.py"
