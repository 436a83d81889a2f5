# The tables and figures of histobench.results.registry that this study has, and what they are made of. No rules.

TABLE, FIGURE, ERRORS = STUDY.paths.tables, STUDY.paths.figures, STUDY.paths.errors

# Values of the configuration that tables and figures need and that are in no file.
STUDY_FACTS = {
    "name": STUDY.name,
    "names": {model: PRINTED_NAMES[model] for model in STUDY_MODELS},
    "all_names": PRINTED_NAMES,
    "public": [model for model in STUDY_MODELS if is_public(STUDY.models[model])],
    "searched": [recipe for recipe in STUDY.recipes if STUDY.searched(recipe)],
    "run_datasets": RUN_DATASETS,
}

# Inputs of the items of the registry: functions from a data set, "" for the whole study, to paths.
INPUTS = {
    "runs": lambda dataset: rules.collect_runs.output.runs,
    "cells": lambda dataset: rules.collect_runs.output.cells,
    "published": lambda dataset: ancient(PAPER_FILES),
    "sizes": lambda dataset: if_there(f"{RESULTS}/models.csv"),
    "performance": lambda dataset: [f"{TABLE}/performance_{name}.csv" for name in DATASETS],
    "speed": lambda dataset: f"{TABLE}/speed.csv",
    "searches": lambda dataset: f"{TABLE}/searches.csv",
    "trials": lambda dataset: f"{TABLE}/trials.csv",
    "search_outputs": lambda dataset: [*of_searches(search_files.ABOUT), *of_searches(search_files.TRIALS)],
    "control_metrics": lambda dataset: expand(rules.controls.output.metrics, dataset=RUN_DATASETS),
    "shuffled_labels": lambda dataset: expand(rules.controls.output.shuffled, dataset=RUN_DATASETS),
    "predictions": lambda dataset: of_scored_runs(runs.PREDICTIONS, dataset or None),
    "replicates": lambda dataset: of_scored_runs(runs.REPLICATES, dataset or None),
    "metrics": lambda dataset: of_scored_runs(runs.METRICS, dataset or None),
    "histories": lambda dataset: of_scored_runs(runs.HISTORY, dataset or None),
    "patches": lambda dataset: expand([*records("test"), f"{DATA}/manifest.json"], dataset=dataset),
    "errors": lambda dataset: ERRORS.format(dataset=dataset),
    "heatmaps": lambda dataset: if_there(STUDY.paths.heatmaps.format(dataset=dataset)),
}


def has(needed, dataset):
    """Return whether the study, or a data set, has what an item of the registry needs."""
    scored = dataset in SCORED_DATASETS if dataset else bool(SCORED_DATASETS)
    return {
        "runs": bool(RUN_DATASETS),
        "searches": bool(SEARCHES),
        "scores": scored,
        "patches": scored and bool(if_there(*expand(records("test"), dataset=dataset))),
    }[needed]


TABLES = registry.stems("table", DATASETS, has)
FIGURES = registry.stems("figure", DATASETS, has)
ITEMS = TABLES | FIGURES


def inputs(wildcards):
    """Return the inputs of a table or figure, by name."""
    item, dataset = ITEMS[wildcards.item]
    return {name: INPUTS[name](dataset) for name in item.inputs}


def labels(wildcards):
    """Return the labels of a table or figure in Snakemake's report."""
    item, dataset = ITEMS[wildcards.item]
    return {item.kind: item.title or item.name.replace("_", " ")} | ({"data set": dataset} if dataset else {})


def of_item(get):
    """Return a function from the wildcards of a job to a value of its item in the registry."""
    return lambda wildcards: get(ITEMS[wildcards.item][0])


ITEM = {
    "study": STUDY_FACTS,
    "dataset": lambda wildcards: ITEMS[wildcards.item][1],
    "module": of_item(lambda item: item.module),
    "function": of_item(lambda item: item.function),
    "caption": of_item(lambda item: item.caption),
    "published": of_item(lambda item: PAPER_DIGESTS if "published" in item.inputs else []),
    "code": of_item(lambda item: code.digest(item.kind, item.module)),
}
