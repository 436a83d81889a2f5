# From evaluated runs to runs.csv, cells.csv and jobs.csv, to the tables and figures of histobench.results.registry, which are
# computed from these two and from run folders, and to the page of them all. All rules are local, with seconds of work.


rule collect_runs:
    input:
        metrics=listed(of_scored_runs(runs.METRICS)),
        about=listed(of_runs(runs.ABOUT)),
        timing=listed(of_runs(runs.TIMING)),
        manifests=expand(f"{DATA}/manifest.json", dataset=[behind(name)[0] for name in RUN_DATASETS]),
        controls=expand(rules.controls.output.metrics, dataset=RUN_DATASETS),
    output:
        runs=f"{RESULTS}/runs.csv",
        cells=f"{RESULTS}/cells.csv",
        # Of all jobs that have left a record, whichever files of theirs are inputs.
        jobs=f"{RESULTS}/jobs.csv",
        requests=STUDY.paths.requests,
    log:
        f"{LOGS}/collect_runs.log",
    localrule: True
    conda:
        "../../envs/report.yaml"
    params:
        datasets=RUN_DATASETS,
        prepared=list(dict.fromkeys(STUDY.stored(name) for name in RUN_DATASETS)),
        names=PRINTED_NAMES,
        encoders={model: stated["encoder"] for model, stated in STUDY_FACTS["encoders"].items()},
        subsets={name: STUDY.datasets[name].selection.in_words() for name in RUN_DATASETS if STUDY.subset_of(name)},
        timing_only=[recipe for recipe in STUDY.recipes if STUDY.timing_only(recipe)],
        cells=STUDY.asked_for(GAPS),
        requests=requests,
        code=code.digest("collect_runs"),
    script:
        "../scripts/collect_runs.py"


rule surest_errors:
    input:
        of_dataset(runs.PREDICTIONS),
        runs=rules.collect_runs.output.runs,
        cells=rules.collect_runs.output.cells,
    output:
        errors=ERRORS,
    log:
        f"{LOGS}/surest_errors_{{dataset}}.log",
    localrule: True
    conda:
        "../../envs/report.yaml"
    params:
        code=code.digest("surest_errors"),
    script:
        "../scripts/surest_errors.py"


rule print_tables:
    input:
        **made_elsewhere(PRINTED),
    output:
        files_of(TABLE, PRINTED, "csv", "md", "json"),
        reported(TABLE, PRINTED, "html", "Tables"),
    log:
        f"{LOGS}/tables.log",
    localrule: True
    conda:
        "../../envs/report.yaml"
    params:
        **item_params(PRINTED, "print_tables"),
    script:
        "../scripts/print_tables.py"


if ROBUSTNESS_TABLES:

    rule print_robustness:
        input:
            **made_elsewhere(ROBUSTNESS_TABLES),
        output:
            files_of(TABLE, ROBUSTNESS_TABLES, "csv", "md", "json"),
            reported(TABLE, ROBUSTNESS_TABLES, "html", "Tables"),
        log:
            f"{LOGS}/robustness_tables.log",
        localrule: True
        conda:
            "../../envs/report.yaml"
        params:
            **item_params(ROBUSTNESS_TABLES, "print_tables"),
        script:
            "../scripts/print_tables.py"

    rule draw_robustness:
        input:
            **made_elsewhere(ROBUSTNESS_FIGURES),
        output:
            files_of(FIGURE, ROBUSTNESS_FIGURES, "png"),
            reported(FIGURE, ROBUSTNESS_FIGURES, "svg", "Figures"),
        log:
            f"{LOGS}/robustness_figures.log",
        localrule: True
        conda:
            "../../envs/report.yaml"
        params:
            **item_params(ROBUSTNESS_FIGURES, "draw_figures"),
        script:
            "../scripts/draw_figures.py"


if MODEL_CARDS:

    rule print_model_cards:
        input:
            **made_elsewhere(MODEL_CARDS),
        output:
            files_of(TABLE, MODEL_CARDS, "csv", "md", "json"),
            reported(TABLE, MODEL_CARDS, "html", "Tables"),
        log:
            f"{LOGS}/model_cards.log",
        localrule: True
        conda:
            "../../envs/report.yaml"
        params:
            **item_params(MODEL_CARDS, "print_tables"),
        script:
            "../scripts/print_tables.py"


if DRAWN:

    rule draw_figures:
        input:
            **made_elsewhere(DRAWN),
        output:
            files_of(FIGURE, DRAWN, "png"),
            reported(FIGURE, DRAWN, "svg", "Figures"),
        log:
            f"{LOGS}/figures.log",
        localrule: True
        conda:
            "../../envs/report.yaml"
        params:
            **item_params(DRAWN, "draw_figures"),
        script:
            "../scripts/draw_figures.py"


if GALLERIES:

    rule draw_galleries:
        input:
            **made_elsewhere(GALLERIES),
        output:
            files_of(FIGURE, GALLERIES, "png"),
            reported(FIGURE, GALLERIES, "svg", "Figures"),
        log:
            f"{LOGS}/galleries.log",
        localrule: True
        conda:
            "../../envs/report.yaml"
        params:
            **item_params(GALLERIES, "draw_figures"),
        script:
            "../scripts/draw_figures.py"


rule report:
    input:
        runs=rules.collect_runs.output.runs,
        cells=rules.collect_runs.output.cells,
        tables=expand(f"{TABLE}/{{item}}.json", item=TABLES),
        figures=expand(f"{FIGURE}/{{item}}.svg", item=FIGURES),
        manifests=expand(f"{DATA}/manifest.json", dataset=[behind(name)[0] for name in RUN_DATASETS]),
        about=listed(of_runs(runs.ABOUT)),
    output:
        page=f"{RESULTS}/report.html",
    log:
        f"{LOGS}/report.log",
    localrule: True
    conda:
        "../../envs/report.yaml"
    params:
        study=STUDY_FACTS,
        datasets=DATASETS,
        left_out=STUDY.left_out_in_words(),
        configuration=yaml.safe_dump(json.loads(json.dumps(config)), sort_keys=False, width=100),
        code=code.digest("report"),
    script:
        "../scripts/report.py"


rule tables:
    input:
        rules.collect_runs.output,
        expand(f"{TABLE}/{{item}}{{suffix}}", item=TABLES, suffix=(".csv", ".md", ".html", ".json")),
    localrule: True


rule figures:
    input:
        expand(f"{FIGURE}/{{item}}{{suffix}}", item=FIGURES, suffix=(".svg", ".png")),
    localrule: True
