# What `apply` scores, and by which model. Helpers only, no rules.

APPLIED, SLIDE = STUDY.paths.applied, STUDY.paths.slide
OF_PATCHES = [name for name, block in STUDY.applied.items() if block.patches]
OF_SLIDES = [name for name in STUDY.applied if name not in OF_PATCHES]
# Minutes of a job that scores a slide, or a folder of patches; one that is stopped goes on where it was.
SCORING = 240
# Of the files of an exported model those that score.
SCORED_BY = ("model.json", "model.keras")


def own_model(name):
    """Return the data set whose exported model scores, "" if a folder is named; refuse what is neither."""
    named = STUDY.applied[name].model
    where = f"configuration: apply.{name}.model"
    if named in EXPORTED:
        return named
    if named in STUDY.datasets:
        raise WorkflowError(
            f"{where}: this study exports no model of {named}; say `export: [best]`, with runs on {named} that have a "
            "network, or name the folder of an exported model"
        )
    folder = Path(named)
    if missing := [file for file in SCORED_BY if not (folder / file).is_file()]:
        found = (
            f"{named!r}, without {' and '.join(missing)}" if folder.is_dir() else f"{named!r}, where there is no folder"
        )
        raise WorkflowError(
            f"{where}: expected a data set of the study with an exported model ({', '.join(EXPORTED) or 'it has none'}), or the "
            f"folder of one, `results/<study>/models/<data set>` with {' and '.join(SCORED_BY)}; found {found}"
            f"{nearest(named, EXPORTED)}"
        )
    return ""


def files_of_model(wildcards):
    """Return the files of the model that scores; of another study's, whose dates say nothing."""
    dataset = own_model(wildcards.applied)
    if dataset:
        return [f"{MODEL.format(dataset=dataset)}/{name}" for name in SCORED_BY]
    return [local(ancient(f"{STUDY.applied[wildcards.applied].model}/{name}")) for name in SCORED_BY]


def model_folder(wildcards):
    """Return the folder of the model that scores."""
    dataset = own_model(wildcards.applied)
    return placed(MODEL.format(dataset=dataset)) if dataset else STUDY.applied[wildcards.applied].model


def model_digest(wildcards):
    """Return a digest of what another study tells of its model, the model's own digest included; "" for one of this study."""
    path = Path(model_folder(wildcards)) / "model.json"
    return "" if own_model(wildcards.applied) or not path.exists() else digest(path)


@cache
def slides_of(name):
    """Return the paths of the slides of a block by their names."""
    try:
        return applied.slides(STUDY.applied[name])
    except HistobenchError as error:
        raise WorkflowError(str(error)) from None


def slide_file(wildcards):
    """Return the file of a slide."""
    found = slides_of(wildcards.applied)
    if wildcards.slide not in found:
        raise WorkflowError(f"apply.{wildcards.applied} has no slide {wildcards.slide}")
    path = found[wildcards.slide]
    return path if STUDY.applied[wildcards.applied].simulated is not None else local(path)


def slide_bytes(wildcards):
    """Return the size of a slide's file, which tells of another one whose date is older; 0 of one that is simulated here."""
    path = Path(slides_of(wildcards.applied)[wildcards.slide])
    return 0 if STUDY.applied[wildcards.applied].simulated is not None else path.stat().st_size


def patches_of(name):
    """Return the folder, archive or HDF5 file of the patches of a block."""
    source = STUDY.applied[name].source
    if not source.exists():
        raise WorkflowError(f"configuration: apply.{name}.patches: there is no {source}")
    return source


def patches_to_score(wildcards):
    """Return where the patches lie, whose date says nothing."""
    return local(ancient(str(patches_of(wildcards.applied))))


@cache
def content_of_applied(name):
    """Return a digest of the files of the patches of a block, looked at once."""
    source = STUDY.applied[name].source
    folder, names = (source.parent, [source.name]) if source.is_file() else (source, None)
    try:
        return source_files.content(folder, Path(placed(f"{RESULTS}/apply/{name}/.digests.json")), logger.info, names)
    except HistobenchError as error:
        raise WorkflowError(str(error)) from None


def content_of_patches(wildcards):
    """Return a digest of the files of the patches."""
    return content_of_applied(wildcards.applied)


@cache
def labels_of(name):
    """Return the table with labels of a block, if there is one; refuse one that cannot be right before hours of scoring."""
    block = STUDY.applied[name]
    if block.simulated is not None:
        return [str(Path(slides_of(block.name)[name]).with_suffix(".csv")) for name in slides_of(block.name)]
    if block.labels and not Path(block.labels).is_file():
        raise WorkflowError(f"configuration: apply.{block.name}.labels: there is no {block.labels}")
    if block.labels:
        try:
            labels.read(Path(block.labels), of_patches=bool(block.patches))
        except HistobenchError as error:
            raise WorkflowError(f"configuration: apply.{block.name}.labels: {error}") from None
    return [local(block.labels)] if block.labels else []


def labels_of_applied(wildcards):
    """Return the table with labels, if there is one."""
    return labels_of(wildcards.applied)


def scored_names(wildcards):
    """Return the names of the slides of a block; of patches that of the block."""
    block = STUDY.applied[wildcards.applied]
    return [block.name] if block.patches else list(slides_of(block.name))


def of_scored(block, file):
    """Return the paths of a file of each slide, or of the patches."""
    known = {"applied": block.name, "device": block.device}
    if block.patches:
        return [f"{APPLIED}/{file}".format(**known)]
    return [f"{SLIDE}/{file}".format(slide=name, **known) for name in slides_of(block.name)]


def scored_files(wildcards):
    """Return the scores of each slide, or of the patches."""
    return of_scored(STUDY.applied[wildcards.applied], "scores.parquet")


def scored_maps(wildcards):
    """Return the maps of slides."""
    block = STUDY.applied[wildcards.applied]
    return [] if block.patches else of_scored(block, "map.png")


def pages_of_applied(wildcards):
    """Return the pages of all blocks."""
    if not STUDY.applied:
        raise WorkflowError("configuration: apply: nothing to score; name slides or patches, see config/README.md")
    for name, block in STUDY.applied.items():
        # Here, since Snakemake does not mind that nobody can make a page that is there.
        own_model(name)
        patches_of(name) if block.patches else slides_of(name)
        labels_of(name)
    return [STUDY.paths.page.format(applied=name) for name in STUDY.applied]
