# Needs: evaluated runs. Gives: runs.csv, the tidy table of all runs, and the tables computed from it.
# Local rules: seconds of work.


rule collect_runs:
    input:
        metrics=of_all_runs(runs.METRICS),
        about=of_all_runs(runs.ABOUT),
        timing=of_all_runs(runs.TIMING),
        manifests=expand(f"{DATA}/manifest.json", dataset=STUDY_DATASETS),
        controls=expand(rules.controls.output.metrics, dataset=STUDY_DATASETS),
    output:
        runs=f"{RESULTS}/runs.csv",
    log:
        f"{LOGS}/collect_runs.log",
    localrule: True
    conda:
        "../../envs/report.yaml"
    params:
        datasets=STUDY_DATASETS,
        names={run.model: STUDY.models[run.model].name for run in STUDY.runs},
        code=code.digest("collect_runs", "results/collect"),
    script:
        "../scripts/collect_runs.py"


rule table_performance:
    input:
        runs=rules.collect_runs.output.runs,
        replicates=of_all_runs(runs.REPLICATES),
    output:
        csv=f"{RESULTS}/tables/performance.csv",
        markdown=f"{RESULTS}/tables/performance.md",
        html=f"{RESULTS}/tables/performance.html",
    log:
        f"{LOGS}/table_performance.log",
    localrule: True
    conda:
        "../../envs/report.yaml"
    params:
        study=STUDY.name,
        left_out=STUDY.left_out_in_words(),
        code=code.digest("table_performance", "results/tables", "results/collect", "results/metrics"),
    script:
        "../scripts/table_performance.py"


rule table_controls:
    input:
        runs=rules.collect_runs.output.runs,
        metrics=expand(rules.controls.output.metrics, dataset=STUDY_DATASETS),
        shuffled=expand(rules.controls.output.shuffled, dataset=STUDY_DATASETS),
    output:
        csv=f"{RESULTS}/tables/controls.csv",
        markdown=f"{RESULTS}/tables/controls.md",
        html=f"{RESULTS}/tables/controls.html",
    log:
        f"{LOGS}/table_controls.log",
    localrule: True
    conda:
        "../../envs/report.yaml"
    params:
        study=STUDY.name,
        datasets=STUDY_DATASETS,
        code=code.digest("table_controls", "results/tables", "results/collect", "results/metrics"),
    script:
        "../scripts/table_controls.py"


rule tables:
    input:
        rules.collect_runs.output,
        rules.table_performance.output,
        rules.table_controls.output,
        rules.table_models.output,
    localrule: True
