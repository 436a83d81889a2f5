# Needs: the surest errors of the best run on a data set, see results.smk, and its weights. Gives: Grad-CAM of them,
# results/{study}/explain/{dataset}.npz. The one job behind a figure that needs TensorFlow.


rule explain:
    input:
        records("train", "test"),  # a backbone with random weights is calibrated on training patches
        lambda wildcards: [path for model in explained_models(wildcards.dataset) for path in weights_file(model)],
        # Which run is the best is known only later, so the weights of all.
        of_dataset(runs.WEIGHTS),
        manifest=f"{DATA}/manifest.json",
        errors=STUDY.paths.errors,
        runs=of_dataset(runs.ABOUT),
    output:
        heatmaps=STUDY.paths.heatmaps,
    log:
        f"{LOGS}/explain/{{dataset}}.log",
    benchmark:
        f"{LOGS}/explain/{{dataset}}.jsonl"
    wildcard_constraints:
        dataset=one_of(TRAINED_ON),
    conda:
        "../../envs/tensorflow.yaml"
    threads: CPU_THREADS
    resources:
        mem_mb=megabytes(CNN_MEMORY),
        runtime=minutes(60),
    params:
        weights=lambda wildcards: {
            model: next(map(placed, weights_file(model)), None) for model in explained_models(wildcards.dataset)
        },
        code=code.digest("explain"),
    script:
        "../scripts/explain.py"
