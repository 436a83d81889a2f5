# Needs: a prepared data set, and the pretrained weights of a model that has them, or a table of embeddings that others have
# computed. Gives: what the model's frozen backbone, or the table, makes of every patch,
# results/{study}/features/{dataset}/{model}/{scaling}/{device}: all heads are trained on it.


rule extract_features:
    input:
        records(*prepared.SPLITS),
        manifest=f"{DATA}/manifest.json",
        weights=lambda wildcards: weights_file(wildcards.model),
    output:
        train=f"{FEATURES}/{features.file_name('train')}",
        valid=f"{FEATURES}/{features.file_name('valid')}",
        test=f"{FEATURES}/{features.file_name('test')}",
        about=f"{FEATURES}/{features.ABOUT}",
    log:
        f"{LOGS}/features/{{dataset}}/{{model}}/{{scaling}}/{{device}}.log",
    benchmark:
        f"{LOGS}/features/{{dataset}}/{{model}}/{{scaling}}/{{device}}.jsonl"
    wildcard_constraints:
        dataset=one_of(SPLIT),
        model=one_of(CNNS),
    conda:
        environment
    container:
        container_image
    envmodules:
        *ENV_MODULES,
    threads: cnn_threads
    resources:
        **on_device(CNN_MEMORY, extraction_time_limit),
    params:
        spec=features_specification,
        code=code.digest("extract_features"),
    script:
        "../scripts/extract_features.py"


# For all folds of a cross-validation at once.
use rule extract_features as extract_features_unsplit with:
    output:
        whole=f"{FEATURES}/{features.file_name(prepared.WHOLE)}",
        about=f"{FEATURES}/{features.ABOUT}",
    wildcard_constraints:
        dataset=one_of(CROSS_VALIDATED),
        model=one_of(CNNS),


rule import_features:
    input:
        f"{DATA}/index.parquet",
        manifest=f"{DATA}/manifest.json",
        embeddings=embeddings_of,
    output:
        train=f"{FEATURES}/{features.file_name('train')}",
        valid=f"{FEATURES}/{features.file_name('valid')}",
        test=f"{FEATURES}/{features.file_name('test')}",
        about=f"{FEATURES}/{features.ABOUT}",
    log:
        f"{LOGS}/features/{{dataset}}/{{model}}/{{scaling}}/{{device}}.log",
    benchmark:
        f"{LOGS}/features/{{dataset}}/{{model}}/{{scaling}}/{{device}}.jsonl"
    wildcard_constraints:
        dataset=one_of(SPLIT),
        model=one_of(ENCODERS),
    conda:
        "../../envs/report.yaml"
    resources:
        mem_mb=megabytes(2000),
        runtime=minutes(60),
    params:
        spec=features_specification,
        # A plain value: what is imported anew where the content of the files has changed.
        content=embeddings_content,
        code=lambda wildcards: code.digest(
            "import_features",
            # The reader is imported by the format's name.
            f"core/embeddings/{STUDY.models[wildcards.model].embeddings.format}",
        ),
    script:
        "../scripts/import_features.py"


use rule import_features as import_features_unsplit with:
    output:
        whole=f"{FEATURES}/{features.file_name(prepared.WHOLE)}",
        about=f"{FEATURES}/{features.ABOUT}",
    wildcard_constraints:
        dataset=one_of(CROSS_VALIDATED),
        model=one_of(ENCODERS),
