# Needs: runs.csv and cells.csv, the tables of performance, run folders, test patches. Gives: figures, as SVG and PNG.
# Local rules: seconds of work.

FIGURE = f"{RESULTS}/figures"
ERRORS = f"{RESULTS}/errors/{{dataset}}.csv"


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


rule figure_size:
    input:
        ancient(PAPER_FILES),
        runs=rules.collect_runs.output.runs,
        cells=rules.collect_runs.output.cells,
        performance=rules.table_best.input.performance,
        sizes=rules.table_models.input.sizes,
    output:
        svg=report(
            f"{FIGURE}/auc_against_size.svg",
            caption="../report/auc_against_size.rst",
            category="Figures",
            labels={"figure": "AUC against size"},
        ),
        png=f"{FIGURE}/auc_against_size.png",
    log:
        f"{LOGS}/figure_size.log",
    localrule: True
    conda:
        "../../envs/report.yaml"
    params:
        published=PAPER_DIGESTS,
        names=NAMES,
        code=code.digest("figure_size"),
    script:
        "../scripts/figure_size.py"


rule figure_modes:
    input:
        runs=rules.collect_runs.output.runs,
        cells=rules.collect_runs.output.cells,
        performance=rules.table_best.input.performance,
    output:
        auc_by_mode_svg=report(
            f"{FIGURE}/auc_by_mode.svg",
            caption="../report/auc_by_mode.rst",
            category="Figures",
            labels={"figure": "AUC by mode"},
        ),
        auc_by_mode_png=f"{FIGURE}/auc_by_mode.png",
        forest_svg=report(
            f"{FIGURE}/forest.svg",
            caption="../report/forest.rst",
            category="Figures",
            labels={"figure": "ours and published"},
        ),
        forest_png=f"{FIGURE}/forest.png",
        forest_narrow_svg=report(
            f"{FIGURE}/forest_narrow.svg",
            caption="../report/forest.rst",
            category="Figures",
            labels={"figure": "ours and published, narrow"},
        ),
        forest_narrow_png=f"{FIGURE}/forest_narrow.png",
    log:
        f"{LOGS}/figure_modes.log",
    localrule: True
    conda:
        "../../envs/report.yaml"
    params:
        code=code.digest("figure_modes"),
    script:
        "../scripts/figure_modes.py"


rule figure_cost:
    input:
        runs=rules.collect_runs.output.runs,
        cells=rules.collect_runs.output.cells,
        performance=rules.table_best.input.performance,
    output:
        svg=report(
            f"{FIGURE}/auc_against_seconds.svg",
            caption="../report/auc_against_seconds.rst",
            category="Figures",
            labels={"figure": "AUC against seconds"},
        ),
        png=f"{FIGURE}/auc_against_seconds.png",
    log:
        f"{LOGS}/figure_cost.log",
    localrule: True
    conda:
        "../../envs/report.yaml"
    params:
        code=code.digest("figure_cost"),
    script:
        "../scripts/figure_cost.py"


rule figure_examples:
    input:
        records("test"),
        manifest=f"{DATA}/manifest.json",
        runs=rules.collect_runs.output.runs,
        cells=rules.collect_runs.output.cells,
    output:
        svg=report(
            f"{FIGURE}/examples_{{dataset}}.svg",
            caption="../report/examples.rst",
            category="Figures",
            labels={"figure": "example patches", "data set": "{dataset}"},
        ),
        png=f"{FIGURE}/examples_{{dataset}}.png",
    log:
        f"{LOGS}/figure_examples_{{dataset}}.log",
    localrule: True
    conda:
        "../../envs/report.yaml"
    params:
        code=code.digest("figure_examples"),
    script:
        "../scripts/figure_examples.py"


rule figure_curves:
    input:
        of_dataset(runs.PREDICTIONS),
        runs=rules.collect_runs.output.runs,
        cells=rules.collect_runs.output.cells,
    output:
        roc_svg=report(
            f"{FIGURE}/roc_{{dataset}}.svg",
            caption="../report/roc.rst",
            category="Figures",
            labels={"figure": "ROC", "data set": "{dataset}"},
        ),
        roc_png=f"{FIGURE}/roc_{{dataset}}.png",
        precision_recall_svg=report(
            f"{FIGURE}/precision_recall_{{dataset}}.svg",
            caption="../report/precision_recall.rst",
            category="Figures",
            labels={"figure": "precision and recall", "data set": "{dataset}"},
        ),
        precision_recall_png=f"{FIGURE}/precision_recall_{{dataset}}.png",
    log:
        f"{LOGS}/figure_curves_{{dataset}}.log",
    localrule: True
    conda:
        "../../envs/report.yaml"
    params:
        code=code.digest("figure_curves"),
    script:
        "../scripts/figure_curves.py"


rule figure_calibration:
    input:
        of_dataset(runs.PREDICTIONS),
        runs=rules.collect_runs.output.runs,
        cells=rules.collect_runs.output.cells,
    output:
        svg=report(
            f"{FIGURE}/calibration_{{dataset}}.svg",
            caption="../report/calibration.rst",
            category="Figures",
            labels={"figure": "calibration", "data set": "{dataset}"},
        ),
        png=f"{FIGURE}/calibration_{{dataset}}.png",
    log:
        f"{LOGS}/figure_calibration_{{dataset}}.log",
    localrule: True
    conda:
        "../../envs/report.yaml"
    params:
        code=code.digest("figure_calibration"),
    script:
        "../scripts/figure_calibration.py"


rule figure_learning:
    input:
        of_dataset(runs.HISTORY),
        runs=rules.collect_runs.output.runs,
        cells=rules.collect_runs.output.cells,
    output:
        svg=report(
            f"{FIGURE}/learning_curves_{{dataset}}.svg",
            caption="../report/learning_curves.rst",
            category="Figures",
            labels={"figure": "learning curves", "data set": "{dataset}"},
        ),
        png=f"{FIGURE}/learning_curves_{{dataset}}.png",
    log:
        f"{LOGS}/figure_learning_{{dataset}}.log",
    localrule: True
    conda:
        "../../envs/report.yaml"
    params:
        code=code.digest("figure_learning"),
    script:
        "../scripts/figure_learning.py"


rule figure_groups:
    input:
        of_dataset(runs.METRICS),
        runs=rules.collect_runs.output.runs,
        cells=rules.collect_runs.output.cells,
    output:
        svg=report(
            f"{FIGURE}/groups_{{dataset}}.svg",
            caption="../report/groups.rst",
            category="Figures",
            labels={"figure": "accuracy by group", "data set": "{dataset}"},
        ),
        png=f"{FIGURE}/groups_{{dataset}}.png",
    log:
        f"{LOGS}/figure_groups_{{dataset}}.log",
    localrule: True
    conda:
        "../../envs/report.yaml"
    params:
        code=code.digest("figure_groups"),
    script:
        "../scripts/figure_groups.py"


rule figure_gallery:
    input:
        records("test"),
        manifest=f"{DATA}/manifest.json",
        errors=ERRORS,
        heatmaps=lambda wildcards: if_there(HEATMAPS.format(dataset=wildcards.dataset)),
        runs=rules.collect_runs.output.runs,
        cells=rules.collect_runs.output.cells,
    output:
        svg=report(
            f"{FIGURE}/gallery_{{dataset}}.svg",
            caption="../report/gallery.rst",
            category="Figures",
            labels={"figure": "surest errors", "data set": "{dataset}"},
        ),
        png=f"{FIGURE}/gallery_{{dataset}}.png",
    log:
        f"{LOGS}/figure_gallery_{{dataset}}.log",
    localrule: True
    conda:
        "../../envs/report.yaml"
    params:
        code=code.digest("figure_gallery"),
    script:
        "../scripts/figure_gallery.py"


rule figure_searches:
    input:
        runs=rules.collect_runs.output.runs,
        cells=rules.collect_runs.output.cells,
        searches=f"{TABLE}/searches.csv",
        trials=f"{TABLE}/trials.csv",
    output:
        trials_svg=report(
            f"{FIGURE}/search.svg",
            caption="../report/search.rst",
            category="Figures",
            labels={"figure": "trials of the searches"},
        ),
        trials_png=f"{FIGURE}/search.png",
        tuned_svg=report(
            f"{FIGURE}/tuned.svg",
            caption="../report/tuned.rst",
            category="Figures",
            labels={"figure": "tuned against untuned"},
        ),
        tuned_png=f"{FIGURE}/tuned.png",
    log:
        f"{LOGS}/figure_searches.log",
    localrule: True
    conda:
        "../../envs/report.yaml"
    params:
        code=code.digest("figure_searches"),
    script:
        "../scripts/figure_searches.py"


# Those of runs, and those that published values alone can fill.
FIGURES = [
    *("auc_against_size", "auc_by_mode", "forest", "forest_narrow"),
    *(["auc_against_seconds"] if SCORED_DATASETS else []),
    *(["search", "tuned"] if SEARCHES else []),
    *(
        f"{name}_{dataset}"
        for dataset in DATASETS
        for name in (
            *("roc", "precision_recall", "calibration", "learning_curves", "groups"),
            *(["examples", "gallery"] if if_there(*expand(records("test"), dataset=dataset)) else []),
        )
        if dataset in SCORED_DATASETS
    ),
]


rule figures:
    input:
        expand(f"{FIGURE}/{{name}}{{format}}", name=FIGURES, format=(".svg", ".png")),
    localrule: True
