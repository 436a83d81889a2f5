# Needs: test patches, trained runs, and which of these is the best. Gives: scores of patches that were flipped, otherwise
# stained, compressed or blurred, results/{study}/robustness/{dataset}.csv.


def networks(dataset):
    """Return the runs whose networks may score changed patches of a data set: of a cross-validation one for each fold."""
    return list(dict.fromkeys(each for run in rescored(dataset) for each in STUDY.trained(run)))


def of_networks(file):
    """Return a function from a data set to the paths of a file of the run folder, for `networks`."""
    return lambda wildcards: [str(paths.of(RUN, run) / file) for run in networks(wildcards.dataset)]


def data_of_networks(dataset):
    """Return the data sets, or folds, that `networks` were trained on."""
    return list(dict.fromkeys(run.dataset for run in networks(dataset)))


def patches_of_networks(wildcards):
    """Return what is read of these: a backbone with random weights is calibrated on training patches."""
    files = [
        file
        for name in data_of_networks(wildcards.dataset)
        for file in (f"{DATA.format(dataset=name)}/manifest.json", *indexes(name), *shards(name, "train", "test"))
    ]
    return list(dict.fromkeys(files))


def rescored_models(dataset):
    """Return the models of these runs."""
    return list(dict.fromkeys(run.model for run in rescored(dataset)))


def folders(some):
    """Return the folders of runs, wherever they lie."""
    return [placed(paths.of(RUN, run)) for run in some]


rule rescored_runs:
    input:
        runs=f"{RESULTS}/runs.csv",
        cells=f"{RESULTS}/cells.csv",
    output:
        rescored=STUDY.paths.rescored,
    log:
        f"{LOGS}/rescored_runs/{{dataset}}.log",
    localrule: True
    conda:
        "../../envs/report.yaml"
    params:
        best=STUDY.robustness_of_best,
        named=lambda wildcards: folders(run for run in STUDY.robustness_of if run.dataset == wildcards.dataset),
        networks=lambda wildcards: folders(rescored(wildcards.dataset)),
        code=code.digest("rescored_runs"),
    script:
        "../scripts/rescored_runs.py"


rule robustness:
    input:
        patches_of_networks,
        lambda wildcards: [path for model in rescored_models(wildcards.dataset) for path in weights_file(model)],
        # Which run is the best is known only later, so the weights of all.
        of_networks(runs.WEIGHTS),
        of_networks(runs.ABOUT),
        of_networks(runs.PREDICTIONS),
        rescored=STUDY.paths.rescored,
        runs=lambda wildcards: [str(paths.of(RUN, run) / runs.ABOUT) for run in rescored(wildcards.dataset)],
    output:
        scores=STUDY.paths.changed_scores,
    log:
        f"{LOGS}/robustness/{{dataset}}.log",
    benchmark:
        f"{LOGS}/robustness/{{dataset}}.jsonl"
    conda:
        "../../envs/tensorflow.yaml"
    threads: CPU_THREADS
    resources:
        mem_mb=megabytes(CNN_MEMORY),
        runtime=minutes(
            lambda wildcards: 120
            * (STUDY.robustness_of_best + sum(run.dataset == wildcards.dataset for run in STUDY.robustness_of))
        ),
    params:
        data=lambda wildcards: {name: placed(DATA.format(dataset=name)) for name in data_of_networks(wildcards.dataset)},
        weights=lambda wildcards: {
            model: next(map(placed, weights_file(model)), None) for model in rescored_models(wildcards.dataset)
        },
        code=code.digest("robustness"),
    script:
        "../scripts/robustness.py"
