# Needs: a prepared data set, the pretrained weights of a model that has them or its cached features. Gives: run folders,
# results/{study}/runs/{dataset}/{model}/{mode}/{recipe}/{device}/seed-{seed}: history, timing, best weights, run.json.


rule train:
    input:
        patches("train", "valid"),  # never the test patches
        manifest=f"{DATA}/manifest.json",
        features=cached_features("train", "valid"),  # nor their features
        weights=starts_from_weights,
        tuned=tuned_recipe,
        workers=other_workers,
    output:
        history=f"{RUN}/{runs.HISTORY}",
        timing=f"{RUN}/{runs.TIMING}",
        weights=f"{RUN}/{runs.WEIGHTS}",
        about=f"{RUN}/{runs.ABOUT}",
    log:
        f"{RUN_LOG}/train.log",
    benchmark:
        f"{RUN_LOG}/train.jsonl"
    wildcard_constraints:
        dataset=one_of(TRAINED_ON),
        recipe=one_of(TRAINING),
    # The longest jobs first, searches before these, so that none of them runs alone in the end.
    priority: 1
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
        **on_device(run_memory, training_time_limit, share=rest_of_run),
        **PLACE,
    params:
        spec=specification,
        code=code.digest("train"),
    script:
        "../scripts/train.py"
