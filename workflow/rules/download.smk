# Needs: the network, or downloads.mirror. Gives: upstream files and pretrained weights, verified.
# Local rules: on a cluster they run on the login node, since compute nodes have no internet.


rule download:
    output:
        # Not deleted when its address or digest changes: the job verifies what is there.
        update(f"{paths.DOWNLOADS}/{{file}}"),
    log:
        f"{paths.LOGS}/download/{{source}}/{{file}}.log",
    wildcard_constraints:
        source=one_of(name for name, source in STUDY.sources.items() if not source.simulate),
        file=one_of(file for upstream in FORMATS.values() for file in upstream.files),
    localrule: True
    conda:
        "../../envs/report.yaml"
    params:
        remote=lambda wildcards: asdict(STUDY.sources[wildcards.source].files[wildcards.file]),
    script:
        "../scripts/download.py"


rule fetch_weights:
    output:
        update(f"{WEIGHTS}/{{file}}"),
    log:
        f"{paths.LOGS}/download/weights/{{file}}.log",
    wildcard_constraints:
        file=one_of(WEIGHTS_FILES),
    localrule: True
    conda:
        "../../envs/report.yaml"
    params:
        remote=lambda wildcards: asdict(with_digest(WEIGHTS_FILES[wildcards.file])),
    script:
        "../scripts/fetch_weights.py"
