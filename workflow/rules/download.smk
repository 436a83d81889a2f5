# Needs: the network, or downloads.mirror. Gives: upstream files and pretrained weights, verified.
# Local rules: on a cluster they run on the login node, since compute nodes have no internet.


rule download_pcam:
    output:
        "results/downloads/{source}/{file}",
    log:
        "results/logs/download/{source}/{file}.log",
    wildcard_constraints:
        source=one_of(sources("pcam", simulated=False)),
        file=r"camelyonpatch_level_2_split_(train|valid|test)_(x\.h5\.gz|y\.h5\.gz|meta\.csv)",
    localrule: True
    conda:
        "../../envs/report.yaml"
    params:
        remote=lambda wildcards: STUDY.sources[wildcards.source].files[wildcards.file],
    script:
        "../scripts/download.py"


use rule download_pcam as download_idc with:
    wildcard_constraints:
        source=one_of(sources("idc", simulated=False)),
        file=r"IDC_regular_ps50_idx5\.zip|cases_(train|val|test)\.txt",


rule fetch_weights:
    output:
        f"{WEIGHTS}/{{file}}",
    log:
        "results/logs/download/weights/{file}.log",
    wildcard_constraints:
        file=one_of(WEIGHTS_FILES),
    localrule: True
    conda:
        "../../envs/report.yaml"
    params:
        remote=lambda wildcards: WEIGHTS_FILES[wildcards.file],
    script:
        "../scripts/fetch_weights.py"
