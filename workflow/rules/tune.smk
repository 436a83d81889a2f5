# Needs: the same as the training of a recipe with a `search`. Gives: the keys of the recipe that the search has set, and
# all its trials, results/{study}/searches/{dataset}/{model}/{mode}/{recipe}/{device}.


rule tune:
    input:
        patches("train", "valid"),  # never the test patches
        manifest=f"{DATA}/manifest.json",
        features=cached_features("train", "valid"),  # nor their features
        weights=starts_from_weights,
    output:
        trials=f"{SEARCH}/{search_files.TRIALS}",
        about=f"{SEARCH}/{search_files.ABOUT}",
        recipe=f"{SEARCH}/{search_files.RECIPE}",
    log:
        f"{SEARCH_LOG}/worker-1.log",
    benchmark:
        f"{SEARCH_LOG}/worker-1.jsonl"
    wildcard_constraints:
        dataset=one_of(TRAINED_ON),
    priority: 2  # before runs, see `train`
    conda:
        environment
    container:
        container_image
    envmodules:
        *ENV_MODULES,
    threads: cnn_threads
    resources:
        **on_device(run_memory, search_time_limit),
    params:
        spec=search_specification,
        code=code.digest("tune"),
    script:
        "../scripts/tune.py"


# Further jobs of the same search, which may run beside `tune`, before it or not at all.
use rule tune as tune_worker with:
    output:
        f"{SEARCH}/worker-{{worker}}.json",
    log:
        f"{SEARCH_LOG}/worker-{{worker}}.log",
    benchmark:
        f"{SEARCH_LOG}/worker-{{worker}}.jsonl"
