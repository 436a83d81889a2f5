# Needs: the scores of runs. Gives: their metrics, and the floor and control of each data set.


rule evaluate:
    input:
        predictions=f"{RUN}/{runs.PREDICTIONS}",
    output:
        metrics=f"{RUN}/{runs.METRICS}",
        replicates=f"{RUN}/{runs.REPLICATES}",
    log:
        f"{RUN_LOG}/evaluate.log",
    benchmark:
        f"{RUN_LOG}/evaluate.jsonl"
    wildcard_constraints:
        dataset=one_of(TRAINED_ON),
        recipe=one_of([*TRAINING, *TURNED]),
    group:
        job_of_run
    conda:
        "../../envs/report.yaml"
    resources:
        **PLACE,
        mem_mb=megabytes(2000),
        runtime=minutes(EVALUATION, gpu_model, share=part_of_run),
    params:
        code=code.digest("evaluate"),
    script:
        "../scripts/evaluate.py"


# What is trained on the folds of a cross-validation has one result.
rule gather:
    input:
        predictions=of_members(runs.PREDICTIONS),
        about=of_members(runs.ABOUT),
        history=of_members(runs.HISTORY),
        timing=of_members(runs.TIMING),
        manifests=lambda wildcards: [
            f"{DATA.format(dataset=run.dataset)}/manifest.json" for run in STUDY.members(of_run(wildcards))
        ],
    output:
        predictions=f"{RUN}/{runs.PREDICTIONS}",
        metrics=f"{RUN}/{runs.METRICS}",
        replicates=f"{RUN}/{runs.REPLICATES}",
        history=f"{RUN}/{runs.HISTORY}",
        timing=f"{RUN}/{runs.TIMING}",
        about=f"{RUN}/{runs.ABOUT}",
    log:
        f"{RUN_LOG}/gather.log",
    benchmark:
        f"{RUN_LOG}/gather.jsonl"
    wildcard_constraints:
        dataset=one_of(GATHERED),
        recipe=one_of([*TRAINING, *TURNED]),
    conda:
        "../../envs/report.yaml"
    resources:
        mem_mb=megabytes(2000),
        runtime=minutes(EVALUATION),
    params:
        spec=specification,
        code=code.digest("gather"),
    script:
        "../scripts/gather.py"


# The mean score of each patch over the seeds of a cell, or over the cells of an ensemble.
rule average_scores:
    input:
        predictions=of_members(runs.PREDICTIONS),
        about=of_members(runs.ABOUT),
        history=of_members(runs.HISTORY),
        timing=of_members(runs.TIMING),
    output:
        predictions=f"{RUN}/{runs.PREDICTIONS}",
        metrics=f"{RUN}/{runs.METRICS}",
        replicates=f"{RUN}/{runs.REPLICATES}",
        history=f"{RUN}/{runs.HISTORY}",
        timing=f"{RUN}/{runs.TIMING}",
        about=f"{RUN}/{runs.ABOUT}",
    log:
        f"{RUN_LOG}/average_scores.log",
    benchmark:
        f"{RUN_LOG}/average_scores.jsonl"
    wildcard_constraints:
        recipe=one_of(OVER_RESULTS),
    conda:
        "../../envs/report.yaml"
    resources:
        mem_mb=megabytes(2000),
        runtime=minutes(EVALUATION),
    params:
        spec=specification,
        code=code.digest("average_scores"),
    script:
        "../scripts/average_scores.py"


rule controls:
    input:
        index=of_folds("index.parquet"),
        manifest=of_folds("manifest.json"),
    output:
        predictions=f"{STUDY.paths.controls}/{runs.PREDICTIONS}",
        metrics=f"{STUDY.paths.controls}/{runs.METRICS}",
        replicates=f"{STUDY.paths.controls}/{runs.REPLICATES}",
        shuffled=f"{STUDY.paths.controls}/shuffled_labels.json",
    log:
        f"{LOGS}/controls/{{dataset}}.log",
    benchmark:
        f"{LOGS}/controls/{{dataset}}.jsonl"
    conda:
        "../../envs/report.yaml"
    resources:
        mem_mb=megabytes(2000),
        runtime=minutes(30),
    params:
        code=code.digest("controls"),
    script:
        "../scripts/controls.py"
