# Needs: a prepared data set. Gives: what it holds twice and on both sides of its split, audit.json,
# duplicates.csv and near_duplicates.csv in results/data/{dataset}. Of the records and their split alone, so all studies share it.


rule audit:
    input:
        records(*prepared.SPLITS),
        manifest=f"{DATA}/manifest.json",
        # Of a cross-validation, each of which has its index beside it.
        folds=lambda wildcards: (
            [] if behind(wildcards.dataset) == [wildcards.dataset] else of_folds("manifest.json")(wildcards)
        ),
    output:
        about=paths.AUDIT,
        duplicates=paths.DUPLICATES,
        near_duplicates=paths.NEAR_DUPLICATES,
    log:
        f"{paths.LOGS}/audit/{{dataset}}.log",
    benchmark:
        f"{paths.LOGS}/audit/{{dataset}}.jsonl"
    wildcard_constraints:
        dataset=one_of([*SPLIT, *CROSS_VALIDATED]),
    conda:
        "../../envs/report.yaml"
    resources:
        mem_mb=megabytes(2000),
        runtime=minutes(60),
    params:
        downsample=lambda wildcards: STUDY.datasets[wildcards.dataset].source.downsample,
        code=code.digest("audit"),
    script:
        "../scripts/audit.py"
