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
        recipe=one_of(TRAINING),
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


# The mean score over the eight flips and turns of each patch, by the weights of a run.
rule predict_turned:
    input:
        patches("valid", "test"),
        manifest=f"{DATA}/manifest.json",
        weights=averaged_run(runs.WEIGHTS),
        about=averaged_run(runs.ABOUT),
        history=averaged_run(runs.HISTORY),
        timing=averaged_run(runs.TIMING),
    output:
        predictions=f"{RUN}/{runs.PREDICTIONS}",
        history=f"{RUN}/{runs.HISTORY}",
        timing=f"{RUN}/{runs.TIMING}",
        about=f"{RUN}/{runs.ABOUT}",
    log:
        f"{RUN_LOG}/predict_turned.log",
    benchmark:
        f"{RUN_LOG}/predict_turned.jsonl"
    wildcard_constraints:
        dataset=one_of(TRAINED_ON),
        recipe=one_of(TURNED),
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
        **on_device(run_memory, turned_time_limit, share=rest_of_run),
        **PLACE,
    params:
        spec=specification,
        code=code.digest("predict_turned"),
    script:
        "../scripts/predict_turned.py"
