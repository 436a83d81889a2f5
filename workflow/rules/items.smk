# The tables and figures of histobench.results.registry that this study has, and what they are made of. No rules.

TABLE, FIGURE, ERRORS = STUDY.paths.tables, STUDY.paths.figures, STUDY.paths.errors

# Pairs of data sets of one source: one with a leaky split, and one without.
LEAKY_SPLITS = [
    [leaky, other]
    for leaky in SCORED_DATASETS
    for other in SCORED_DATASETS
    if STUDY.datasets[leaky].leaky
    and not STUDY.datasets[other].leaky
    and STUDY.datasets[leaky].source.name == STUDY.datasets[other].source.name
]


def external_results():
    """Return what is asked for on the test patches of other data sets: cells, folders of their results, gaps."""
    asked = []
    for cell, others in STUDY.external.items():
        seeds = [run for run in RUNS if run.cell == cell]
        trained = [each for run in seeds for each in STUDY.trained(run)]
        for name in others:
            reason = STUDY.why_not_external(cell, name)
            known = {run: "" if TRAINS else STUDY.external_gap(run, name) for run in trained if not reason}
            folders = [EXTERNAL.format(tested_on=name, **vars(run)) for run, gap in known.items() if not gap]
            missing = list(dict.fromkeys(filter(None, known.values())))
            gap = reason or "; ".join(missing) or ("" if known else "no run has finished")
            if missing and folders:
                gap = f"{len(known) - len(folders)} of {len(known)} networks: {gap}"
            facts = {"model_name": PRINTED_NAMES[cell.model], "tested_on": name, "folders": folders, "gap": gap}
            asked.append(asdict(cell) | facts)
    return asked


EXTERNAL_RESULTS = external_results()


def of_external(file):
    """Return the paths of a file that each run has on the test patches of each other data set."""
    return [f"{folder}/{file}" for each in EXTERNAL_RESULTS for folder in each["folders"]]


# Values of the configuration that tables and figures need and that are in no file.
STUDY_FACTS = {
    "name": STUDY.name,
    "names": {model: PRINTED_NAMES[model] for model in STUDY_MODELS},
    "all_names": PRINTED_NAMES,
    # What the configuration says of embeddings that others have computed.
    "encoders": {
        model: {name: value for name, value in asdict(STUDY.models[model].embeddings).items() if name != "path"}
        for model in STUDY_MODELS
        if model in ENCODERS
    },
    # Data sets whose results are gathered from runs on others, and from how many each.
    "gathered": {name: len(behind(name)) for name in RUN_DATASETS if STUDY.gathered(name)},
    "public": [model for model in STUDY_MODELS if is_public(STUDY.models[model])],
    "searched": [recipe for recipe in STUDY.recipes if STUDY.searched(recipe)],
    "run_datasets": RUN_DATASETS,
    # Of data sets of which each seed draws its own part: the seed whose part audit and controls are about, see `behind`.
    "first_seeds": {
        name: next(run.seed for run in STUDY.trained_for if run.dataset == name)
        for name in RUN_DATASETS
        if STUDY.drawn_anew(name)
    },
    "leaky_splits": LEAKY_SPLITS,
    "ablation": STUDY.ablation,
    "contrasts": STUDY.contrasts,
    # Pixels of the slide, in which places are given, in a pixel of a patch.
    "place_pixels": {name: STUDY.datasets[name].source.downsample for name in SCORED_DATASETS},
    "external": [each | {"folders": list(map(placed, each["folders"]))} for each in EXTERNAL_RESULTS],
}


def test_patches(dataset):
    """Return the files with the patches of a data set that are tested on, all of one that is cross-validated."""
    folder = DATA.format(dataset=STUDY.stored(dataset))
    return [f"{folder}/index.parquet", f"{folder}/manifest.json", *shards(dataset, "test")]


def all_patches(dataset):
    """Return the files with all patches of a data set."""
    return [f"{DATA.format(dataset=dataset)}/index.parquet", *shards(dataset, *prepared.SPLITS)]


# Inputs of the items of the registry: functions from a data set, "" for the whole study, to paths.
INPUTS = {
    "runs": lambda dataset: rules.collect_runs.output.runs,
    "cells": lambda dataset: rules.collect_runs.output.cells,
    "jobs": lambda dataset: rules.collect_runs.output.jobs,
    "requests": lambda dataset: rules.collect_runs.output.requests,
    "published": lambda dataset: ancient(PAPER_FILES),
    "others": lambda dataset: ancient(OTHERS_FILES),
    "sizes": lambda dataset: if_there(f"{RESULTS}/models.csv") if set(CNNS) & set(STUDY_MODELS) else [],
    "imported": lambda dataset: [path for run, path in zip(RUNS, of_runs(runs.ABOUT)) if run.model in ENCODERS],
    "performance": lambda dataset: [f"{TABLE}/performance_{name}.csv" for name in DATASETS],
    "speed": lambda dataset: f"{TABLE}/speed.csv",
    "ablation": lambda dataset: f"{TABLE}/ablation.csv",
    "external": lambda dataset: f"{TABLE}/external.csv",
    "external_metrics": lambda dataset: of_external(runs.METRICS),
    "external_replicates": lambda dataset: of_external(runs.REPLICATES),
    "searches": lambda dataset: f"{TABLE}/searches.csv",
    "trials": lambda dataset: f"{TABLE}/trials.csv",
    "search_outputs": lambda dataset: [*of_searches(search_files.ABOUT), *of_searches(search_files.TRIALS)],
    "control_metrics": lambda dataset: expand(rules.controls.output.metrics, dataset=RUN_DATASETS),
    "shuffled_labels": lambda dataset: expand(rules.controls.output.shuffled, dataset=RUN_DATASETS),
    "predictions": lambda dataset: of_scored_runs(runs.PREDICTIONS, dataset or None),
    "replicates": lambda dataset: of_scored_runs(runs.REPLICATES, dataset or None),
    "metrics": lambda dataset: of_scored_runs(runs.METRICS, dataset or None),
    "histories": lambda dataset: of_scored_runs(runs.HISTORY, dataset or None),
    "patches": lambda dataset: test_patches(dataset),
    "manifest": lambda dataset: f"{DATA}/manifest.json".format(dataset=dataset),
    "records": lambda dataset: all_patches(dataset),
    "audit": lambda dataset: expand(rules.audit.output, dataset=dataset),
    "contradicted": lambda dataset: f"{TABLE}/contradicted_{dataset}.csv",
    "errors": lambda dataset: ERRORS.format(dataset=dataset),
    "changed_scores": lambda dataset: if_there(
        *(path.format(dataset=dataset) for path in (CHANGED_BY, STUDY.paths.changed_scores))
    ),
    "slide_metadata": lambda dataset: slide_metadata(dataset),
    "robustness": lambda dataset: f"{TABLE}/robustness_{dataset}.csv",
    "model": lambda dataset: f"{MODEL}/model.json".format(dataset=dataset),
    "heatmaps": lambda dataset: (
        [] if STUDY.gathered(dataset) else if_there(STUDY.paths.heatmaps.format(dataset=dataset))
    ),
}


# Those with an exported model.
EXPORTED = [
    name
    for name in SCORED_DATASETS
    if candidates("models", name)
    and if_there(*(path.format(dataset=name) for path in (f"{MODEL}/model.keras", STUDY.paths.exported)))
]


def places_known(dataset):
    """Return whether it is known where on their slides the patches of a data set lie."""
    source = STUDY.datasets[dataset].source
    if source.own:
        return {"x", "y"} <= {*source.own.columns, *re.compile(source.own.pattern).groupindex}
    return source.format != "pcam" or pcam_file("test", "meta") in source.files


WITH_PLACES = [name for name in SCORED_DATASETS if places_known(name)]


def has(needed, dataset):
    """Return whether the study, or a data set, has what an item of the registry needs."""
    scored = dataset in SCORED_DATASETS if dataset else bool(SCORED_DATASETS)
    patches_there = bool(dataset) and scored and bool(if_there(*test_patches(dataset)))
    prepared_there = dataset in [*SPLIT, *CROSS_VALIDATED] and bool(if_there(*all_patches(dataset)))
    return {
        "runs": bool(RUN_DATASETS),
        "searches": bool(SEARCHES),
        "encoders": bool(STUDY_FACTS["encoders"]),
        "scores": scored,
        "subsets": any(STUDY.subset_of(name) for name in SCORED_DATASETS),
        "published": any(STUDY.datasets[name].source.patches == "published" for name in SCORED_DATASETS),
        "records": prepared_there,
        "audit": scored and prepared_there,
        "leaky": bool(LEAKY_SPLITS),
        "ablation": bool(STUDY.ablation),
        "external": bool(EXTERNAL_RESULTS),
        "patches": patches_there,
        "exported": dataset in EXPORTED,
        "robustness": bool(candidates("robustness", dataset)) and bool(INPUTS["changed_scores"](dataset)),
        "places": patches_there and STUDY.subset_of(dataset) not in SCORED_DATASETS and dataset in WITH_PLACES,
        "own patches": patches_there and STUDY.subset_of(dataset) not in SCORED_DATASETS,
    }[needed]


TABLES = registry.stems("table", DATASETS, has)
FIGURES = registry.stems("figure", DATASETS, has)
ITEMS = TABLES | FIGURES


# Those that wait for jobs with a CNN, which the others need not: for heat maps, scores of changed patches, exported models.
GALLERIES = {stem: entry for stem, entry in FIGURES.items() if "heatmaps" in entry[0].inputs}
ROBUSTNESS_TABLES = {stem: entry for stem, entry in TABLES.items() if entry[0].needs == "robustness"}
ROBUSTNESS_FIGURES = {stem: entry for stem, entry in FIGURES.items() if entry[0].needs == "robustness"}
MODEL_CARDS = {stem: entry for stem, entry in TABLES.items() if entry[0].needs == "exported"}
DRAWN = {stem: entry for stem, entry in FIGURES.items() if stem not in GALLERIES | ROBUSTNESS_FIGURES}

# The tables that other tables and figures are made of, by the names of these inputs.
OF_TABLES = {
    "performance": [f"performance_{name}" for name in DATASETS],
    "speed": ["speed"],
    "searches": ["searches"],
    "trials": ["trials"],
}
# These first, as others need them.
TABLES = dict(sorted(TABLES.items(), key=lambda each: not OF_TABLES.keys().isdisjoint(each[1][0].inputs)))
PRINTED = {stem: entry for stem, entry in TABLES.items() if stem not in ROBUSTNESS_TABLES | MODEL_CARDS}


def described_by():
    """Return what tables and figures say of an exported model, by name, in so far as the study has them."""

    def if_made(stem, items, path):
        return lambda wildcards: path.format(item=stem.format(**wildcards)) if stem.format(**wildcards) in items else []

    tables = {"robustness": "robustness_{dataset}", "external": "external"}
    figures = {
        "failures": "gallery_{dataset}",
        "calibration": "calibration_{dataset}",
        "changes": "auc_by_change_{dataset}",
    }
    found = {name: if_made(stem, TABLES, f"{TABLE}/{{item}}.csv") for name, stem in tables.items()} | {
        name: if_made(stem, FIGURES, f"{FIGURE}/{{item}}.png") for name, stem in figures.items()
    }
    # Whose errors that figure shows, which need not be those of the exported run.
    return found | {"errors": lambda wildcards: ERRORS.format(**wildcards) if found["failures"](wildcards) else []}


def input_name(name, dataset):
    """Return the name, among all inputs of a job, of an input that differs between data sets."""
    return f"{name}_{DATASETS.index(dataset)}" if dataset else name


def made_elsewhere(items):
    """Return the inputs of a job that makes these items, by name: of tables without other tables, made by the same job."""
    return {
        input_name(name, dataset): listed(INPUTS[name](dataset))
        for item, dataset in items.values()
        for name in item.inputs
        if not (item.kind == "table" and name in OF_TABLES)
    }


def reported(folder, items, suffix, category):
    """Return the files of items that Snakemake's own report shows."""
    flagged = []
    for stem, (item, dataset) in items.items():
        labels = {item.kind: item.title or item.name.replace("_", " ")} | ({"data set": dataset} if dataset else {})
        caption = os.path.abspath(placed(f"{folder}/captions/{stem}.rst"))
        flagged.append(report(f"{folder}/{stem}.{suffix}", caption=caption, category=category, labels=labels))
    return flagged


def files_of(folder, items, *suffixes):
    """Return the other files of items, by suffix, and their captions for that report."""
    return [f"{folder}/{stem}.{suffix}" for stem in items for suffix in suffixes] + [
        f"{folder}/captions/{stem}.rst" for stem in items
    ]


def item_params(items, script):
    """Return the params of a rule that makes these items, see `histobench.results.items.make`."""
    return {
        "study": STUDY_FACTS,
        "published": PUBLISHED_DIGESTS,
        "made": {
            stem: {
                "module": item.module,
                "function": item.function,
                "caption": item.caption,
                "dataset": dataset,
                "inputs": {
                    name: input_name(name, dataset)
                    for name in item.inputs
                    if not (item.kind == "table" and name in OF_TABLES)
                },
                "tables": {name: OF_TABLES[name] for name in item.inputs if item.kind == "table" and name in OF_TABLES},
                "code": code.digest(script, item.module),
            }
            for stem, (item, dataset) in items.items()
        },
    }


# The rules that make items, with the folder and the stems of theirs.
MADE_BY = {
    "print_tables": (TABLE, PRINTED),
    "print_robustness": (TABLE, ROBUSTNESS_TABLES),
    "print_model_cards": (TABLE, MODEL_CARDS),
    "draw_figures": (FIGURE, DRAWN),
    "draw_galleries": (FIGURE, GALLERIES),
    "draw_robustness": (FIGURE, ROBUSTNESS_FIGURES),
}
