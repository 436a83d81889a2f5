# Needs: test patches, trained runs, and which of these is the best. Gives: scores of patches that were flipped, otherwise
# stained, compressed or blurred, results/{study}/robustness/{dataset}.csv.


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
        named=lambda wildcards: folders_of(run for run in STUDY.robustness_of if run.dataset == wildcards.dataset),
        networks=lambda wildcards: folders_of(rescored(wildcards.dataset)),
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
