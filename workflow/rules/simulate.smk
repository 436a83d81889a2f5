# Needs: nothing. Gives: simulated patches as files of the upstream formats.


rule simulate_pcam:
    output:
        expand(
            "results/simulated/{{source}}/camelyonpatch_level_2_split_{split}_{part}",
            split=["train", "valid", "test"],
            part=["x.h5.gz", "y.h5.gz", "meta.csv"],
        ),
    log:
        "results/logs/simulate/{source}.log",
    benchmark:
        "results/logs/simulate/{source}.tsv"
    wildcard_constraints:
        source=one_of(sources("pcam", simulated=True)),
    conda:
        "../../envs/report.yaml"
    resources:
        mem_mb=megabytes(2000),
        runtime=minutes(30),
    params:
        simulate=lambda wildcards: STUDY.sources[wildcards.source].simulate,
        code=code.digest("simulate"),
    script:
        "../scripts/simulate.py"


use rule simulate_pcam as simulate_idc with:
    output:
        "results/simulated/{source}/IDC_regular_ps50_idx5.zip",
        "results/simulated/{source}/cases_train.txt",
        "results/simulated/{source}/cases_val.txt",
        "results/simulated/{source}/cases_test.txt",
    wildcard_constraints:
        source=one_of(sources("idc", simulated=True)),
