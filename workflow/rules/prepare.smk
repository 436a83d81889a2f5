# Needs: the upstream files of a data set's source. Gives: its records, index and manifest, results/data/{dataset}.


rule prepare:
    input:
        upstream_files,
    output:
        manifest=f"{DATA}/manifest.json",
        index=f"{DATA}/index.parquet",
        source_files=f"{DATA}/{prepared.SOURCE_FILES}",
        train=[f"{DATA}/{name}" for name in prepared.shard_names("train")],
        valid=[f"{DATA}/{name}" for name in prepared.shard_names("valid")],
        test=[f"{DATA}/{name}" for name in prepared.shard_names("test")],
    log:
        f"{paths.LOGS}/prepare/{{dataset}}.log",
    benchmark:
        f"{paths.LOGS}/prepare/{{dataset}}.jsonl"
    wildcard_constraints:
        dataset=one_of(SPLIT),
    conda:
        "../../envs/tensorflow.yaml"
    threads: 2  # one reads, one writes
    resources:
        mem_mb=megabytes(2000),
        runtime=minutes(60),
    params:
        dataset=dataset_to_read,
        # A plain value: what `prepare` reads anew where the content of a folder of one's own has changed.
        own_files=lambda wildcards: own_files(STUDY.datasets[wildcards.dataset].source.name),
        definition=lambda wildcards: STUDY.datasets[wildcards.dataset].definition(),
        code=lambda wildcards: code.digest(
            "prepare",
            # The reader is imported by the format's name.
            f"core/datasets/{STUDY.datasets[wildcards.dataset].source.format}",
        ),
    script:
        "../scripts/prepare.py"


# Of a data set that is cross-validated each fold says which patches are what, see select.smk.
use rule prepare as prepare_unsplit with:
    output:
        manifest=f"{DATA}/manifest.json",
        index=f"{DATA}/index.parquet",
        source_files=f"{DATA}/{prepared.SOURCE_FILES}",
        whole=[f"{DATA}/{name}" for name in prepared.shard_names(prepared.WHOLE)],
    wildcard_constraints:
        dataset=one_of(CROSS_VALIDATED),
