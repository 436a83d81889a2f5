# Needs: tables and figures. Gives: results/{study}/report.html, all of them on one page that opens offline.

# As text: as files their absolute paths would be inputs, and a study that is moved would be out of date.
CAPTIONS = {
    path.stem: path.read_text(encoding="utf-8")
    for path in sorted((Path(workflow.current_basedir).parent / "report").glob("*.rst"))
}


rule report:
    input:
        runs=rules.collect_runs.output.runs,
        cells=rules.collect_runs.output.cells,
        tables=expand(f"{TABLE}/{{name}}.json", name=TABLES),
        figures=expand(f"{FIGURE}/{{name}}.svg", name=FIGURES),
        manifests=expand(f"{DATA}/manifest.json", dataset=RUN_DATASETS),
        about=of_runs(runs.ABOUT),
    output:
        page=f"{RESULTS}/report.html",
    log:
        f"{LOGS}/report.log",
    localrule: True
    conda:
        "../../envs/report.yaml"
    params:
        study=STUDY.name,
        datasets=DATASETS,
        run_datasets=RUN_DATASETS,
        left_out=STUDY.left_out_in_words(),
        configuration=yaml.safe_dump(json.loads(json.dumps(config)), sort_keys=False, width=100),
        captions=CAPTIONS,
        code=code.digest("report"),
    script:
        "../scripts/report.py"
