# Needs: test patches, trained runs, and which of these are chosen. Gives: scores of patches that were flipped, otherwise
# stained, compressed or blurred, results/{study}/robustness/{dataset}.csv.


rule robustness:
    input:
        patches_of_networks("robustness", "test"),
        weights_of_candidates("robustness"),
        # Which run is the best is known only later, so the weights of all.
        of_networks("robustness", runs.WEIGHTS),
        of_networks("robustness", runs.ABOUT),
        of_networks("robustness", runs.PREDICTIONS),
        chosen=CHANGED_BY,
        runs=of_candidates("robustness", runs.ABOUT),
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
            * (
                STUDY.chosen["robustness"].best
                + sum(run.dataset == wildcards.dataset for run in STUDY.chosen["robustness"].named)
            )
        ),
    params:
        data=data_of_networks("robustness"),
        weights=weights_by_model("robustness"),
        code=code.digest("robustness"),
    script:
        "../scripts/robustness.py"
