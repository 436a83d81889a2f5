# Needs: trained runs. Gives: the scores of their validation and test patches, in the run folders.


rule predict:
    input:
        patches("valid", "test"),
        manifest=f"{DATA}/manifest.json",
        features=cached_features("valid", "test", of_neighbours=("train",)),
        weights=rules.train.output.weights,
        about=rules.train.output.about,  # holds the digest of the weights
        tuned=tuned_recipe,
    output:
        predictions=f"{RUN}/{runs.PREDICTIONS}",
    log:
        f"{RUN_LOG}/predict.log",
    benchmark:
        f"{RUN_LOG}/predict.jsonl"
    wildcard_constraints:
        dataset=one_of(TRAINED_ON),
    group:
        job_of_run
    conda:
        environment
    container:
        container_image
    envmodules:
        *ENV_MODULES,
    threads: cnn_threads
    resources:
        **on_device(run_memory, prediction_time_limit, share=part_of_run),
        **PLACE,
    params:
        spec=specification,
        code=code.digest("predict"),
    script:
        "../scripts/predict.py"
