# Needs: a prepared data set. Gives: data sets that choose from its patches, the folds of a cross-validation and parts of the
# training patches, results/data/{dataset}: an index and a manifest.


rule select_patches:
    input:
        index=of_stored("index.parquet"),
        manifest=of_stored("manifest.json"),
    output:
        index=f"{DATA}/index.parquet",
        manifest=f"{DATA}/manifest.json",
    log:
        f"{paths.LOGS}/select/{{dataset}}.log",
    wildcard_constraints:
        dataset=one_of(SELECTIONS),
    localrule: True
    conda:
        "../../envs/report.yaml"
    params:
        selection=lambda wildcards: STUDY.datasets[wildcards.dataset].selection,
        definition=lambda wildcards: STUDY.datasets[wildcards.dataset].definition(),
        code=code.digest("select_patches"),
    script:
        "../scripts/select_patches.py"
