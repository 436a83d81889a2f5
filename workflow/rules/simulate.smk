# Needs: nothing. Gives: simulated patches as files of the upstream formats, by a rule for each format.

for kind, upstream in FORMATS.items():
    if not upstream.simulate:
        continue

    rule:
        name:
            f"simulate_{kind}"
        output:
            [f"{paths.SIMULATED}/{file}" for file in upstream.files],
        log:
            f"{paths.LOGS}/simulate/{{source}}.log",
        benchmark:
            f"{paths.LOGS}/simulate/{{source}}.jsonl"
        wildcard_constraints:
            source=one_of(name for name, source in STUDY.sources.items() if source.simulate and source.format == kind),
        conda:
            "../../envs/report.yaml"
        resources:
            mem_mb=megabytes(2000),
            runtime=minutes(30),
        params:
            format=kind,
            simulate=lambda wildcards: STUDY.sources[wildcards.source].simulate,
            code=code.digest("simulate"),
        script:
            "../scripts/simulate.py"


rule simulate_slide:
    output:
        slide=paths.SIMULATED_SLIDE,
        labels=str(Path(paths.SIMULATED_SLIDE).with_suffix(".csv")),
    log:
        f"{paths.LOGS}/simulate/slides/{{seed}}.log",
    conda:
        "../../envs/models.yaml"
    resources:
        mem_mb=megabytes(2000),
        runtime=minutes(30),
    params:
        code=code.digest("simulate_slide"),
    script:
        "../scripts/simulate_slide.py"
