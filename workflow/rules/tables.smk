# Needs: evaluated runs. Gives: runs.csv and cells.csv, and the tables computed from them, as CSV, Markdown and HTML.
# Local rules: seconds of work.

TABLE = f"{RESULTS}/tables"


rule collect_runs:
    input:
        metrics=of_scored_runs(runs.METRICS),
        about=of_runs(runs.ABOUT),
        timing=of_runs(runs.TIMING),
        manifests=expand(f"{DATA}/manifest.json", dataset=RUN_DATASETS),
        controls=expand(rules.controls.output.metrics, dataset=RUN_DATASETS),
    output:
        runs=f"{RESULTS}/runs.csv",
        cells=f"{RESULTS}/cells.csv",
    log:
        f"{LOGS}/collect_runs.log",
    localrule: True
    conda:
        "../../envs/report.yaml"
    params:
        datasets=RUN_DATASETS,
        names=NAMES,
        timing_only=[recipe for recipe in STUDY.recipes if STUDY.timing_only(recipe)],
        cells=STUDY.asked_for(GAPS),
        code=code.digest("collect_runs"),
    script:
        "../scripts/collect_runs.py"


rule table_models:
    input:
        ancient(PAPER_FILES),
        sizes=if_there(f"{RESULTS}/models.csv"),
    output:
        multiext(f"{TABLE}/models", *TABLE_FORMATS),
        html=report(
            f"{TABLE}/models.html",
            caption="../report/models.rst",
            category="Tables",
            labels={"table": "models"},
        ),
    log:
        f"{LOGS}/table_models.log",
    localrule: True
    conda:
        "../../envs/report.yaml"
    params:
        study=STUDY.name,
        published=PAPER_DIGESTS,
        names={model: NAMES[model] for model in STUDY_MODELS},
        code=code.digest("table_models"),
    script:
        "../scripts/table_models.py"


rule table_performance:
    input:
        ancient(PAPER_FILES),
        runs=rules.collect_runs.output.runs,
        cells=rules.collect_runs.output.cells,
        replicates=of_dataset(runs.REPLICATES),
    output:
        multiext(f"{TABLE}/performance_{{dataset}}", *TABLE_FORMATS),
        html=report(
            f"{TABLE}/performance_{{dataset}}.html",
            caption="../report/performance.rst",
            category="Tables",
            labels={"table": "performance", "data set": "{dataset}"},
        ),
    log:
        f"{LOGS}/table_performance_{{dataset}}.log",
    localrule: True
    conda:
        "../../envs/report.yaml"
    params:
        study=STUDY.name,
        published=PAPER_DIGESTS,
        code=code.digest("table_performance"),
    script:
        "../scripts/table_performance.py"


rule table_best:
    input:
        runs=rules.collect_runs.output.runs,
        cells=rules.collect_runs.output.cells,
        performance=[f"{TABLE}/performance_{dataset}.csv" for dataset in DATASETS],
    output:
        multiext(f"{TABLE}/best", *TABLE_FORMATS),
        html=report(
            f"{TABLE}/best.html",
            caption="../report/best.rst",
            category="Tables",
            labels={"table": "best"},
        ),
    log:
        f"{LOGS}/table_best.log",
    localrule: True
    conda:
        "../../envs/report.yaml"
    params:
        study=STUDY.name,
        code=code.digest("table_best"),
    script:
        "../scripts/table_best.py"


rule table_speed:
    input:
        ancient(PAPER_FILES),
        runs=rules.collect_runs.output.runs,
        cells=rules.collect_runs.output.cells,
    output:
        multiext(f"{TABLE}/speed", *TABLE_FORMATS),
        html=report(
            f"{TABLE}/speed.html",
            caption="../report/speed.rst",
            category="Tables",
            labels={"table": "speed"},
        ),
    log:
        f"{LOGS}/table_speed.log",
    localrule: True
    conda:
        "../../envs/report.yaml"
    params:
        study=STUDY.name,
        published=PAPER_DIGESTS,
        code=code.digest("table_speed"),
    script:
        "../scripts/table_speed.py"


rule table_tests:
    input:
        ancient(PAPER_FILES),
        runs=rules.collect_runs.output.runs,
        cells=rules.collect_runs.output.cells,
        performance=rules.table_best.input.performance,
    output:
        multiext(f"{TABLE}/tests", *TABLE_FORMATS),
        html=report(
            f"{TABLE}/tests.html",
            caption="../report/tests.rst",
            category="Tables",
            labels={"table": "tests"},
        ),
    log:
        f"{LOGS}/table_tests.log",
    localrule: True
    conda:
        "../../envs/report.yaml"
    params:
        study=STUDY.name,
        published=PAPER_DIGESTS,
        code=code.digest("table_tests"),
    script:
        "../scripts/table_tests.py"


rule table_contrasts:
    input:
        runs=rules.collect_runs.output.runs,
        cells=rules.collect_runs.output.cells,
        replicates=of_scored_runs(runs.REPLICATES),
        predictions=of_scored_runs(runs.PREDICTIONS),
    output:
        multiext(f"{TABLE}/contrasts", *TABLE_FORMATS),
        html=report(
            f"{TABLE}/contrasts.html",
            caption="../report/contrasts.rst",
            category="Tables",
            labels={"table": "contrasts"},
        ),
    log:
        f"{LOGS}/table_contrasts.log",
    localrule: True
    conda:
        "../../envs/report.yaml"
    params:
        study=STUDY.name,
        code=code.digest("table_contrasts"),
    script:
        "../scripts/table_contrasts.py"


rule table_claims:
    input:
        ancient(PAPER_FILES),
        runs=rules.collect_runs.output.runs,
        cells=rules.collect_runs.output.cells,
        sizes=rules.table_models.input.sizes,
        performance=rules.table_best.input.performance,
        speed=f"{TABLE}/speed.csv",
    output:
        multiext(f"{TABLE}/claims", *TABLE_FORMATS),
        html=report(
            f"{TABLE}/claims.html",
            caption="../report/claims.rst",
            category="Tables",
            labels={"table": "claims"},
        ),
    log:
        f"{LOGS}/table_claims.log",
    localrule: True
    conda:
        "../../envs/report.yaml"
    params:
        study=STUDY.name,
        published=PAPER_DIGESTS,
        names={model: NAMES[model] for model in STUDY_MODELS},
        all_names=NAMES,
        public=[model for model in STUDY_MODELS if is_public(STUDY.models[model])],
        code=code.digest("table_claims"),
    script:
        "../scripts/table_claims.py"


rule table_controls:
    input:
        runs=rules.collect_runs.output.runs,
        cells=rules.collect_runs.output.cells,
        metrics=expand(rules.controls.output.metrics, dataset=RUN_DATASETS),
        shuffled=expand(rules.controls.output.shuffled, dataset=RUN_DATASETS),
    output:
        multiext(f"{TABLE}/controls", *TABLE_FORMATS),
        html=report(
            f"{TABLE}/controls.html",
            caption="../report/controls.rst",
            category="Tables",
            labels={"table": "controls"},
        ),
    log:
        f"{LOGS}/table_controls.log",
    localrule: True
    conda:
        "../../envs/report.yaml"
    params:
        study=STUDY.name,
        datasets=RUN_DATASETS,
        code=code.digest("table_controls"),
    script:
        "../scripts/table_controls.py"


rule table_searches:
    input:
        ancient(PAPER_FILES),
        about=of_searches(search_files.ABOUT),
        trials=of_searches(search_files.TRIALS),
        runs=rules.collect_runs.output.runs,
        cells=rules.collect_runs.output.cells,
        performance=rules.table_best.input.performance,
    output:
        multiext(f"{TABLE}/searches", *TABLE_FORMATS),
        multiext(f"{TABLE}/trials", *TABLE_FORMATS),
        searches=report(
            f"{TABLE}/searches.html",
            caption="../report/searches.rst",
            category="Tables",
            labels={"table": "searches"},
        ),
        trials=report(
            f"{TABLE}/trials.html",
            caption="../report/trials.rst",
            category="Tables",
            labels={"table": "trials"},
        ),
    log:
        f"{LOGS}/table_searches.log",
    localrule: True
    conda:
        "../../envs/report.yaml"
    params:
        study=STUDY.name,
        published=PAPER_DIGESTS,
        searched=[recipe for recipe in STUDY.recipes if STUDY.searched(recipe)],
        code=code.digest("table_searches"),
    script:
        "../scripts/table_searches.py"


TABLES = [
    *("best", "models"),
    *(f"performance_{dataset}" for dataset in DATASETS),
    *("speed", "tests", "contrasts", "claims"),
    *(["controls"] if RUN_DATASETS else []),
    *(["searches", "trials"] if SEARCHES else []),
]


rule tables:
    input:
        rules.collect_runs.output,
        expand(f"{TABLE}/{{name}}{{format}}", name=TABLES, format=(*TABLE_FORMATS, ".html")),
    localrule: True
