# Configuration, paths and wildcards for all rules files. Helpers only, no rules.
import atexit
import gc
import inspect
import json
import os
import re
import sys
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

import yaml
from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

WORKFLOW = Path(workflow.current_basedir).parent

# A plan of thousands of jobs is millions of objects, which stay until the end. With Python's default of 700 new objects
# between two garbage collections, looking through them takes a tenth of the time of a dry run, and as much again at exit.
gc.set_threshold(100_000)
atexit.register(gc.freeze)

# Scripts find the library beside them; the Snakefile alone needs to be told.
sys.path.insert(0, str(WORKFLOW / "scripts"))

from histobench.core import (
    applied,
    averaged,
    cells,
    code,
    costs,
    datasets,
    devices,
    features,
    labels,
    paths,
    prepared,
    recipes,
    runs,
    source_files,
    submission,
    usage,
)
from histobench.core.cells import Cell, Run
from histobench.core.errors import HistobenchError, nearest
from histobench.core.files import digest, write_json
from histobench.core.formats import FORMATS, pcam_file
from histobench.core.modes import MODES
from histobench.core.study import WRITE_TO, Study, check_keys, content_of_embeddings
from histobench.results import registry
from histobench.tuning import search_files, search_settings

try:
    if workflow.is_main_process:
        for path in workflow.configfiles:
            check_keys(Path(path))
    STUDY = Study(config, WORKFLOW / "schemas" / "config.schema.yaml")
    config = STUDY.configuration  # scripts read it, too
    WEIGHTS_FILES = STUDY.weights_files()
except HistobenchError as error:
    raise WorkflowError(str(error)) from None

for name, device in STUDY.devices.items():
    # Snakemake looks for the file only when it makes the environment, and in a dry run not at all.
    path = WORKFLOW.parent / "envs" / f"{devices.environment(device)}.yaml"
    if not path.exists():
        raise WorkflowError(
            f"configuration: devices.{name}.environment: there is no {path}; expected the name of a file in envs/, "
            "without its suffix"
        )

# Not in jobs, which read this file again.
if workflow.is_main_process:
    if written := os.environ.get(WRITE_TO):
        write_json(Path(written), config)
    # An overlay that takes the place of a profile's own, see profiles/demo, is seen by it.
    logger.info(f"Study {STUDY.name}: {len(STUDY.runs)} runs")
    for line in STUDY.left_out_in_words():
        logger.info(line)

DATA, WEIGHTS = paths.DATA, paths.WEIGHTS
RESULTS, LOGS = STUDY.paths.results, STUDY.paths.logs
RUN, RUN_LOG = STUDY.paths.run, STUDY.paths.run_log
FEATURES = STUDY.paths.features
SEARCH, SEARCH_LOG = STUDY.paths.search, STUDY.paths.search_log
EXTERNAL, EXTERNAL_LOG = STUDY.paths.external, STUDY.paths.external_log
# The exported model of a data set. The runs on a data set that score changed patches, and those whose networks are exported.
MODEL, MODEL_FILES = STUDY.paths.model, ("model.keras", "model.onnx", "model.json", "card.md")
CHANGED_BY, EXPORTED_FROM = (STUDY.paths.chosen.replace("{part}", part) for part in ("robustness", "models"))


# That of the module, if this workflow is one: when functions are called it is another one's.
MODIFIER = workflow.modifier.path_modifier


def placed(path):
    """Return where a file lies that is no input or output of a rule: Snakemake adds a module's `prefix` to these alone."""
    return str(MODIFIER.modify(path))


def one_of(names):
    """Return the pattern of a wildcard that takes these names and nothing else."""
    return "|".join(map(re.escape, names)) or "(?!)"


def quick(function):
    """Return a function whose arguments Snakemake, which looks for them several times a job, finds at once."""
    function.__signature__ = inspect.signature(function)
    return function


def listed(paths):
    """Return a function to thousands of inputs. Of a list itself Snakemake makes a new hash for each of its paths."""
    return quick(lambda wildcards: paths)


def once_for(*names):
    """Return a decorator: a function of a job's wildcards is asked once for each value of those named, not once a job."""

    def decorate(function):
        answers = {}

        def answer(wildcards):
            key = tuple(wildcards[name] for name in names)
            if key not in answers:
                answers[key] = function(wildcards)
            return answers[key]

        return quick(answer)

    return decorate


def upstream_files(wildcards):
    """Return the files of a data set's source; of patches of one's own, where they lie, whose date says nothing."""
    source = STUDY.datasets[wildcards.dataset].source
    places = filter(None, [source.folder, source.own.root]) if source.own else ()
    return [f"{source.folder}/{file}" for file in source.files] or [local(ancient(path)) for path in places]


@cache
def own_files(source):
    """Return a digest of all files that patches of one's own come from, "" for a source of published files."""
    if STUDY.sources[source].files:
        return ""
    cached = Path(placed(paths.SOURCE_DIGESTS.format(source=source)))
    try:
        folder, names = datasets.files(STUDY.sources[source])
        return source_files.content(folder, cached, logger.info, names)
    except HistobenchError as error:
        raise WorkflowError(str(error)) from None


def embeddings_path(wildcards):
    """Return the path of a model's embeddings of a data set; refuse a data set of which it has none."""
    path = STUDY.models[wildcards.model].embeddings.path_for(wildcards.dataset)
    if path is None:
        raise WorkflowError(f"models.{wildcards.model}.embeddings.path names no embeddings of {wildcards.dataset}")
    return path


def embeddings_of(wildcards):
    """Return the table of embeddings of a model on a data set, whose date says nothing."""
    return local(ancient(embeddings_path(wildcards)))


@cache
def embeddings_digest(kind, path):
    """Return a digest of the files of a table of embeddings, looked at once."""
    try:
        return content_of_embeddings(kind, path, placed, logger.info)
    except HistobenchError as error:
        raise WorkflowError(str(error)) from None


def embeddings_content(wildcards):
    """Return a digest of the files of a model's embeddings of a data set."""
    return embeddings_digest(STUDY.models[wildcards.model].embeddings.format, embeddings_path(wildcards))


def dataset_to_read(wildcards):
    """Return a data set, whose upstream files lie where the rules put them."""
    dataset = STUDY.datasets[wildcards.dataset]
    folder = placed(dataset.source.folder) if dataset.source.files else dataset.source.folder
    return replace(dataset, source=replace(dataset.source, folder=folder))


def cell(wildcards):
    """Return the cell of these wildcards, which need not stand in the matrix."""
    return Cell(**{name: wildcards[name] for name in cells.NAMES})


@once_for(*cells.NAMES, "seed")
def specification(wildcards):
    """Return what a run's result depends on; refuse a cell that cannot run."""
    try:
        return STUDY.specification(Run(**vars(cell(wildcards)), seed=int(wildcards.seed)))
    except HistobenchError as error:
        raise WorkflowError(str(error)) from None


def why_not_external(wildcards):
    """Refuse a prediction of patches that the run may have learned from, or that it has no network for."""
    if reason := STUDY.why_not_external(cell(wildcards), wildcards.tested_on):
        raise WorkflowError(f"{cell(wildcards)} cannot be tested on {wildcards.tested_on}: {reason}")
    return ""


def search_specification(wildcards):
    """Return what a search depends on; refuse one of a cell that cannot run, or of a recipe without."""
    try:
        return STUDY.search_specification(cell(wildcards))
    except HistobenchError as error:
        raise WorkflowError(str(error)) from None


def features_specification(wildcards):
    """Return what cached features depend on; refuse a model that has no backbone, or none for patches of this size."""
    try:
        return STUDY.features_specification(wildcards.dataset, wildcards.model, wildcards.scaling, wildcards.device)
    except HistobenchError as error:
        raise WorkflowError(str(error)) from None


@once_for("recipe")
def tuned_recipe(wildcards):
    """Return the file with the keys of a run's recipe that its search has set, if it has a search."""
    return [f"{SEARCH}/{search_files.RECIPE}"] if STUDY.searched(wildcards.recipe) else []


@once_for("recipe")
def other_workers(wildcards):
    """Return the marker files of the further jobs of a search, so that Snakemake starts these as well."""
    if not STUDY.searched(wildcards.recipe):
        return []
    workers = search_settings.workers(STUDY.recipes[wildcards.recipe]["search"])
    return [f"{SEARCH}/worker-{number}.json" for number in range(2, 1 + workers)]


def parts(dataset, *splits):
    """Return the parts in which the patches of these splits are stored."""
    stored = STUDY.datasets[STUDY.stored(dataset)].parts
    return splits if stored == prepared.SPLITS else stored


def shards(dataset, *splits):
    """Return the shards with the patches of these splits, which may be those of the data set that it chooses from."""
    names = [name for part in parts(dataset, *splits) for name in prepared.shard_names(part)]
    return [f"{DATA.format(dataset=STUDY.stored(dataset))}/{name}" for name in names]


def features_of(cell):
    """Return the folder of the cached features of a cell."""
    return str(STUDY.features_folder(cell))


def indexes(dataset):
    """Return the files that say which patch of a data set is what, and where it lies."""
    own, stored = DATA.format(dataset=dataset), DATA.format(dataset=STUDY.stored(dataset))
    further = [] if stored == own else [f"{stored}/index.parquet", f"{stored}/manifest.json"]
    return [f"{own}/index.parquet", *further]


def records(*splits):
    """Return a function from a data set to the shards of these splits and the indexes of their patches."""
    return once_for("dataset")(lambda wildcards: [*indexes(wildcards.dataset), *shards(wildcards.dataset, *splits)])


def of_stored(name):
    """Return a function from a data set to a file of the data set whose records it uses."""
    return once_for("dataset")(lambda wildcards: f"{DATA.format(dataset=STUDY.stored(wildcards.dataset))}/{name}")


def specification_of_model(model):
    """Return what the size of a model depends on."""
    spec = STUDY.models[model]
    return {field: getattr(spec, field) for field in ("key", "application", "smallest_input", "weights_origin")}


def is_public(model):
    """Say whether anybody can have a model: its weights start at random, come from a public address, or are the study's own."""
    if model.embeddings:
        return False
    return model.weights is None or str(model.weights.url).startswith(("https://", "http://"))


def weights_file(model):
    """Return the pretrained weights of a model, if there are any: a file, or what a run has learned."""
    if run := STUDY.models[model].weights_run:
        return [str(paths.of(RUN, run) / name) for name in (runs.WEIGHTS, runs.ABOUT)]
    file = STUDY.models[model].weights_file
    return [f"{WEIGHTS}/{file}"] if file else []


def with_digest(remote):
    """Return what is known of a weights file; of one's own also its digest, so that other content is fetched anew."""
    own = Path(remote.url).expanduser() if remote.url and "://" not in remote.url else None
    unknown = own and own.is_file() and not (remote.sha256 or remote.md5)
    return replace(remote, sha256=digest(own)) if unknown else remote


@once_for("model", "mode", "recipe")
def starts_from_weights(wildcards):
    """Return the weights file that a run starts from, if there is one; none for cached features, which it has made."""
    if not MODES[wildcards.mode].pretrained or STUDY.cached(wildcards.mode, wildcards.recipe):
        return []
    return weights_file(wildcards.model)


def patches(*splits):
    """Return a function from a run to what it reads of a data set: records, or features and the index."""

    @once_for("dataset", "mode", "recipe")
    def files(wildcards):
        check_cluster()
        read = [] if STUDY.cached(wildcards.mode, wildcards.recipe) else shards(wildcards.dataset, *splits)
        return [*indexes(wildcards.dataset), *read]

    return files


def cached_features(*splits, of_neighbours=()):
    """Return a function from a run to the cached features that it reads: nothing where it reads patches.

    of_neighbours: splits among whose patches a run looks for nearest neighbours, if its recipe has these.
    """

    @once_for("dataset", "model", "mode", "recipe", "device")
    def files(wildcards):
        if not STUDY.cached(wildcards.mode, wildcards.recipe):
            return []
        read = (*splits, *(of_neighbours if "knn" in STUDY.recipes[wildcards.recipe] else ()))
        names = dict.fromkeys(map(features.file_name, parts(wildcards.dataset, *read)))
        return [f"{features_of(cell(wildcards))}/{name}" for name in (features.ABOUT, *names)]

    return files


def of_runs(file):
    """Return the paths of a file of the run folder, for all runs that enter the results."""
    return [str(paths.of(RUN, run) / file) for run in RUNS]


def of_scored_runs(file, dataset=None):
    """Return the paths of a file in the folders of all results with scores, or of those on a data set."""
    return [str(paths.of(RUN, run) / file) for run in RUNS if STUDY.scored(run) and dataset in (None, run.dataset)]


def of_members(file):
    """Return a function from a result to the paths of a file of the run folder, for the results that it is made of."""
    return lambda wildcards: [str(paths.of(RUN, run) / file) for run in STUDY.members(of_run(wildcards))]


def averaged_run(file):
    """Return a function from an average over flips and turns to a file in the folder of the run whose weights score."""
    return lambda wildcards: [str(paths.of(RUN, run) / file) for run in STUDY.trained(of_run(wildcards))]


@cache
def behind(dataset):
    """Return the data sets that the first result on a data set is gathered from: its folds, or itself alone."""
    return next(
        ([run.dataset for run in runs] for result, runs in STUDY.trained_for.items() if result.dataset == dataset),
        [dataset],
    )


def of_folds(file):
    """Return a function from a data set to the paths of a file of the data sets `behind` it."""
    return lambda wildcards: [f"{DATA.format(dataset=name)}/{file}" for name in behind(wildcards.dataset)]


def of_searches(file):
    """Return the paths of a file that searches leave, for all that enter the results."""
    return [f"{folder}/{file}" for folder in SEARCHES]


def of_dataset(file):
    """Return a function from a data set to the paths of a file of the run folder, for its runs with scores."""
    return lambda wildcards: [
        str(paths.of(RUN, run) / file)
        for run in RUNS
        if STUDY.scored(run) and run.dataset == wildcards.dataset and run.recipe not in STUDY.averages
    ]


def explained_models(dataset):
    """Return the models of the runs on a data set, any of which may be the one to explain."""
    return list(dict.fromkeys(run.model for run in RUNS if run.dataset == dataset and STUDY.scored(run)))


@cache
def candidates(part, dataset):
    """Return the runs on a data set whose networks a part of the study may go on with: those named, or all for the best."""
    chosen = STUDY.chosen[part]
    return [
        run
        for run in RUNS
        if run.dataset == dataset
        and STUDY.scored(run)
        and (run in chosen.named or (chosen.best and STUDY.has_network(run)))
    ]


def networks(part, dataset):
    """Return the runs whose networks these are: of a cross-validation one for each fold."""
    return list(dict.fromkeys(each for run in candidates(part, dataset) for each in STUDY.trained(run)))


def of_networks(part, file):
    """Return a function from a data set to the paths of a file of the run folder, for `networks`."""
    return lambda wildcards: [str(paths.of(RUN, run) / file) for run in networks(part, wildcards.dataset)]


def of_candidates(part, file):
    """Return a function from a data set to the paths of a file of the run folder, for `candidates`."""
    return lambda wildcards: [str(paths.of(RUN, run) / file) for run in candidates(part, wildcards.dataset)]


def data_of_networks(part):
    """Return a function from a data set to the folders of those, or of the folds, that `networks` were trained on."""
    return lambda wildcards: {
        run.dataset: placed(DATA.format(dataset=run.dataset)) for run in networks(part, wildcards.dataset)
    }


def patches_of_networks(part, split):
    """Return a function to what is read of these: a split, and training patches, which calibrate random backbones."""

    def files(wildcards):
        names = dict.fromkeys(run.dataset for run in networks(part, wildcards.dataset))
        read = [
            file
            for name in names
            for file in (f"{DATA.format(dataset=name)}/manifest.json", *indexes(name), *shards(name, "train", split))
        ]
        return list(dict.fromkeys(read))

    return files


def candidates_models(part, dataset):
    """Return the models of `candidates`."""
    return list(dict.fromkeys(run.model for run in candidates(part, dataset)))


def weights_of_candidates(part):
    """Return a function from a data set to the pretrained weights of these models."""
    return lambda wildcards: [
        path for model in candidates_models(part, wildcards.dataset) for path in weights_file(model)
    ]


def weights_by_model(part):
    """Return a function from a data set to where these weights lie, None for a model that has none."""
    return lambda wildcards: {
        model: next(map(placed, weights_file(model)), None) for model in candidates_models(part, wildcards.dataset)
    }


def folders_of(some):
    """Return the folders of runs, wherever they lie."""
    return [placed(paths.of(RUN, run)) for run in some]


def named_runs(wildcards):
    """Return the folders of the runs on a data set that the configuration names for a part of the study."""
    return folders_of(run for run in STUDY.chosen[wildcards.part].named if run.dataset == wildcards.dataset)


def folders_of_candidates(wildcards):
    """Return the folders of the runs on a data set that a part of the study may go on with."""
    return folders_of(candidates(wildcards.part, wildcards.dataset))


def best_is_chosen(wildcards):
    """Say whether the best run on a data set is chosen. A data set has one exported model: one that is named comes first."""
    return STUDY.chosen[wildcards.part].best and not (wildcards.part == "models" and named_runs(wildcards))


def backbone_of(wildcards):
    """Return what the backbone behind a head on cached features comes from: its weights, or patches that calibrate it."""
    if not STUDY.cached(wildcards.mode, wildcards.recipe):
        return []
    return weights_file(wildcards.model) or [*indexes(wildcards.dataset), *shards(wildcards.dataset, "train")]


def slide_metadata(dataset):
    """Return PCam's table of the slides of its test patches, if the data set has one and it is still there.

    Once patches are prepared it is not fetched anew: it would be younger than they are.
    """
    source, file = STUDY.datasets[dataset].source, pcam_file("test", "meta")
    path = f"{source.folder}/{file}"
    if file not in source.files:
        return []
    prepared_there = Path(placed(f"{DATA}/manifest.json".format(dataset=STUDY.stored(dataset)))).exists()
    return [path] if Path(placed(path)).exists() or (TRAINS and not prepared_there) else []


def if_there(*files):
    """Return these files if all exist or this study makes them, else nothing."""
    return list(files) if TRAINS or all(Path(file).exists() for file in files) else []


# With `missing_runs: gap` nothing is trained, nor downloaded: only what is there enters the results.
TRAINS = STUDY.missing_runs == "train"
if not TRAINS and placed(RESULTS) != RESULTS:
    raise WorkflowError(
        f"configuration: missing_runs: gap looks for runs in {RESULTS}, but the module's prefix puts them into "
        f"{placed(RESULTS)}; leave out the prefix, or start Snakemake with --directory in that folder"
    )
if TRAINS and workflow.is_main_process:
    try:
        for name in dict.fromkeys(STUDY.stored(run.dataset) for run in STUDY.runs):
            if gone := submission.folder_gone(STUDY.datasets[name], Path(placed(DATA.format(dataset=name)))):
                logger.warning(gone)
        for run in STUDY.runs:
            if table := STUDY.models[run.model].embeddings:
                path, imported = table.path_for(STUDY.stored(run.dataset)), Path(placed(features_of(run)))
                gone = submission.embeddings_gone(run.model, path, imported)
                if gone:
                    logger.warning(gone)
    except HistobenchError as error:
        raise WorkflowError(str(error)) from None
GAPS = {} if TRAINS else {run: reason for run in STUDY.trained_for if (reason := STUDY.gap(run))}
# Those that have a row in the results.
RUNS = [run for run in STUDY.trained_for if run not in GAPS]

# The folders of searches, in the order of the matrix.
SEARCHES = [
    folder
    for folder in dict.fromkeys(SEARCH.format(**vars(run)) for run in STUDY.runs if STUDY.searched(run.recipe))
    if TRAINS or all(Path(f"{folder}/{file}").exists() for file in (search_files.ABOUT, search_files.TRIALS))
]

# In the order of the matrix: those with runs, and those whose cells have a row among the performances.
RUN_DATASETS = list(dict.fromkeys(run.dataset for run in RUNS))
DATASETS = list(dict.fromkeys(cell.dataset for cell in STUDY.cells if not STUDY.timing_only(cell.recipe)))
SCORED_DATASETS = [dataset for dataset in DATASETS if any(run.dataset == dataset and STUDY.scored(run) for run in RUNS)]
STUDY_MODELS = list(dict.fromkeys(run.model for run in STUDY.runs))
# By what they are: with records of their own, chosen from another's, and with results that are gathered from runs on others.
SELECTIONS = [name for name, dataset in STUDY.datasets.items() if dataset.selection and not STUDY.gathered(name)]
CROSS_VALIDATED = [name for name, dataset in STUDY.datasets.items() if dataset.folds and not dataset.selection]
SPLIT = [name for name, dataset in STUDY.datasets.items() if not dataset.folds and not dataset.selection]
GATHERED = [name for name in STUDY.datasets if STUDY.gathered(name)]
TRAINED_ON = [name for name in STUDY.datasets if not STUDY.gathered(name)]
# Models without a network, and those that have one.
ENCODERS = [name for name, model in STUDY.models.items() if model.embeddings]
CNNS = [name for name in STUDY.models if name not in ENCODERS]
# Recipes of runs, and of results that average scores: over flips and turns, and over seeds or cells.
TRAINING = [name for name in STUDY.recipes if name not in STUDY.averages]
TURNED = [name for name, average in STUDY.averages.items() if average.kinds == (averaged.D4,)]
OVER_RESULTS = [name for name in STUDY.averages if name not in TURNED]
PRINTED_NAMES = {key: model.name for key, model in STUDY.models.items()}

# Files of this repository, wherever the working directory is: no `prefix` of a module is for them.
PAPER_FILES, OTHERS_FILES = (
    [local(os.path.relpath(path)) for path in sorted((WORKFLOW.parent / "config" / folder).glob("*.csv"))]
    for folder in ("paper", "published")
)
# By their content: a fresh clone's dates say nothing.
PUBLISHED_DIGESTS = [digest(Path(path)) for path in (*PAPER_FILES, *OTHERS_FILES)]


wildcard_constraints:
    source=one_of(STUDY.sources),
    dataset=one_of(STUDY.datasets),
    model=one_of(STUDY.models),
    mode=one_of(MODES),
    recipe=one_of(STUDY.recipes),
    scaling=one_of({recipes.scaling(recipe): None for recipe in STUDY.recipes.values()}),
    device=one_of(STUDY.devices),
    seed=r"\d+",
    worker=r"\d+",
