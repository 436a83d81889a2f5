"""Scores of a slide, or of a folder of patches, in parts that survive a kill."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from tqdm import tqdm

from histobench.core import devices
from histobench.core.errors import HistobenchError
from histobench.core.files import write_json
from histobench.core.job import device
from histobench.core.lease import held
from histobench.core.state import State
from histobench.scoring import models, patches, slides, tissue
from histobench.scoring.ahead import read_ahead
from histobench.scoring.models import Exported
from histobench.train import hardware
from histobench.train.batches import size_without_gradients, spans

log = logging.getLogger(__name__)

Pixels = npt.NDArray[np.uint8]
Places = npt.NDArray[np.int64]

SCORES, ABOUT, OVERVIEW = "scores.parquet", "about.json", "overview.jpg"
# Patches after which the state is saved.
CHUNK = 2048
PART = "scores.npy"
# Neighbouring patches are read one after another, in squares of so many by so many, since they share tiles.
BLOCK = 16
# Pixels of the overview that a patch covers, and limits of its longer side.
PIXELS_OF_PATCH, SHORTEST, LONGEST = 8, 1024, 4096


@dataclass(frozen=True)
class Job:
    """What a job that scores is to work with.

    Attributes
    ----------
    model : folder of the exported model.
    d4 : whether scores are means over the eight flips and turns of a patch.
    code : digest of the code that the scores depend on.
    threads : CPU threads of the job, on which the last bits of a score depend.
    card : the card that the job is for, "" for a CPU.
    device : its name in the configuration.
    """

    model: Path
    d4: bool
    code: str
    threads: int
    card: str = ""
    device: str = ""


def job_of(snakemake: Any) -> Job:
    """Return the job of a script."""
    return Job(
        Path(snakemake.params.model),
        d4=snakemake.params.d4,
        code=snakemake.params.code,
        threads=snakemake.threads,
        card=devices.card(device(snakemake)),
        device=snakemake.wildcards.device,
    )


def score_slide(job: Job, path: Path, folder: Path, *, stride: int | None, microns_per_pixel: float | None) -> None:
    """Score the patches of a slide that show tissue; continue after a killed job.

    Parameters
    ----------
    path : of the slide.
    folder : gets `SCORES`, a row per patch: its `column` and `row` in the grid, `x` and `y` of its upper left corner in
        pixels of level 0, `score`, the probability of tumour; `ABOUT`, what was scored by what; and `OVERVIEW`, the
        whole slide.
    stride : pixels of the model between patches; None for the side of a patch.
    microns_per_pixel : of slides that do not say it.

    Raises
    ------
    HistobenchError
        if the slide or the model cannot be read, does not go with the other, or shows no tissue.
    """
    told = models.about(job.model)
    side, needed = told["patch_size"], told["microns_per_pixel"]
    if needed is None:
        raise HistobenchError(
            f"{job.model / models.FILES[0]}: expected the micrometres per pixel of the patches that the model learned "
            "from, found none, so slides cannot be cut to such patches; write them there, or into `sources` of its "
            "study"
        )
    step = stride or side
    with held(folder / ".state") as lease, slides.opened(path, microns_per_pixel) as slide:
        scale, before = slide.scale(needed), slide.identity
        identity = _identity(job, told) | {"slide": before, "stride": step, "told": microns_per_pixel}
        state = State(folder / ".state", identity, lease)
        if not state.finished():
            places, about, overview = _places(slide, side, step, scale)

            def read(some: Places) -> Pixels:
                return np.stack([slide.square(int(x), int(y), side, side, scale) for _, _, x, y in some])

            scores = _scores(state, job, read, places)
            if slide.identity != before:
                raise HistobenchError(
                    f"{path}: expected a slide that stays as it is, found that it was written while it was scored; "
                    "start again when it is there as a whole"
                )
            order = np.lexsort((places[:, 0], places[:, 1]))
            columns = {
                name: places[order, number].astype(np.int32) for number, name in enumerate(("column", "row", "x", "y"))
            }
            with state.finish() as outputs:
                _write_scores(outputs / SCORES, columns | {"score": scores[order]})
                Image.fromarray(overview).save(outputs / OVERVIEW, quality=90)
                write_json(outputs / ABOUT, {"slide": path.name, **about, **_of_model(job, told)})
        state.publish(folder)


def score_patches(job: Job, path: Path, folder: Path, content: str) -> None:
    """Score patches of one's own as they are; continue after a killed job.

    Parameters
    ----------
    path : of a folder of images, an archive of one, or an HDF5 file as PCam's, gzipped or not.
    folder : gets `SCORES`, a row per patch: `patch`, its path, or its number in the HDF5 file, and `score`; and
    `ABOUT`. content : a digest of the files, by which what was scored before is known.

    Raises
    ------
    HistobenchError
        if the patches or the model cannot be read, or no patch is of the model's size.
    """
    told = models.about(job.model)
    with held(folder / ".state") as lease, patches.opened(path, told["patch_size"]) as found:
        state = State(folder / ".state", _identity(job, told) | {"content": content}, lease)
        if not state.finished():
            positions = np.arange(len(found.names))[:, None]
            scores = _scores(state, job, lambda some: found.read(some[:, 0]), positions, readers=found.readers)
            for converted in found.tally.in_words(found.tally.notes):
                log.warning("%s: %s", path, converted)
            with state.finish() as outputs:
                _write_scores(outputs / SCORES, {"patch": found.names, "score": scores})
                about = {"patches": path.name, "scored": len(found.names), "left_out": found.left_out}
                write_json(outputs / ABOUT, about | _of_model(job, told))
        state.publish(folder)


def _identity(job: Job, told: Mapping[str, Any]) -> dict[str, Any]:
    computed_by = {"code": job.code, "threads": job.threads, "card": job.card, "keras": keras.__version__}
    return computed_by | {"model": told["sha256"][models.FILES[1]], "d4": job.d4}


def _of_model(job: Job, told: Mapping[str, Any]) -> dict[str, Any]:
    """Return what results tell of the model."""
    facts = {name: told[name] for name in models.TOLD} | {"sha256": told["sha256"][models.FILES[1]]}
    return {"d4": job.d4, "model": facts | {"patches_are": told["data"]["patches_are"]}}


def _places(slide: slides.Slide, side: int, step: int, scale: float) -> tuple[Places, dict[str, Any], Pixels]:
    """Return the patches of a slide that show tissue, facts about it, and the slide as an image.

    Returns
    -------
    places : (n, 4) column, row, x and y of upper left corners in pixels of level 0, in the order of reading.
    """
    width = side * scale
    columns, rows = (int((length - width) / (step * scale) + 1e-6) + 1 for length in (slide.width, slide.height))
    if min(slide.width, slide.height) < width * (1 - 1e-6):
        raise HistobenchError(
            f"{slide.path}: expected at least a patch of {side} px at the model's scale, {width:.0f} px of the slide, "
            f"found {slide.width} x {slide.height} px; is its `microns_per_pixel`, {slide.microns_per_pixel:g}, right?"
        )
    most = max(slide.width, slide.height)
    longest = min(most, max(SHORTEST, min(LONGEST, round(PIXELS_OF_PATCH * most / width))))
    overview = slide.overview(longest)
    column, row = (each.ravel() for each in np.meshgrid(np.arange(columns), np.arange(rows)))
    corners = np.rint(np.stack([column, row], axis=1) * (step * scale)).astype(np.int64)
    reduced = np.array([overview.shape[1] / slide.width, overview.shape[0] / slide.height])
    tissue_mask = tissue.mask(overview)
    shown = tissue.share(tissue_mask, corners * reduced, width * float(reduced[0])) >= tissue.SHARE
    if not shown.any():
        raise HistobenchError(
            f"{slide.path}: expected tissue, found none: no patch is coloured on a tenth of its area; leave the slide "
            "out"
        )
    kept = np.concatenate([np.stack([column, row], axis=1), corners], axis=1)[shown]
    order = np.lexsort((kept[:, 0], kept[:, 1], kept[:, 0] // BLOCK, kept[:, 1] // BLOCK))
    facts = {
        "width": slide.width,
        "height": slide.height,
        "slide_microns_per_pixel": slide.microns_per_pixel,
        "patch_width_in_level_0": width,
        "stride_in_level_0": step * scale,
        "columns": columns,
        "rows": rows,
        "without_tissue": int((~shown).sum()),
        "scored": int(shown.sum()),
    }
    log.info(
        "%s: %d x %d px of %g µm; %d patches with tissue, %d without",
        *(slide.path, slide.width, slide.height, slide.microns_per_pixel, facts["scored"], facts["without_tissue"]),
    )
    return kept[order], facts, overview


def _scores(
    state: State, job: Job, read: Callable[[Places], Pixels], places: Places, readers: int | None = None
) -> npt.NDArray[np.float32]:
    """Return the score of each place, (n,) float32, as far as it can from what was saved before."""
    hardware.check(job.device, job.card)
    machine = hardware.machine(job.card)
    plan = [(state.folder / f"part-{number:06d}", span) for number, span in enumerate(spans(len(places), CHUNK))]
    left = [(path, span) for path, span in plan if not (path.exists() and state.whole(path, "computing it anew"))]
    there = f"{len(plan) - len(left)} of {len(plan)} parts are there; {len(left)} to go"
    state.event(there if left != plan else "starting")
    if left:
        model = models.opened(job.model, d4=job.d4)
        size = size_without_gradients(model.network, machine)
        # A part ends with a batch, so that a score has the same bits whatever was saved before.
        batches = [
            (path, places[start + first : start + last], last == end - start)
            for path, (start, end) in left
            for first, last in spans(end - start, size)
        ]
        done: list[npt.NDArray[np.float32]] = []
        total = sum(end - start for _, (start, end) in left)
        reading = read_ahead(read, [batch[1] for batch in batches], readers or max(2, job.threads))
        with tqdm(total=total, unit=" patches", mininterval=20) as progress:
            for (path, _, last_of_part), pixels in zip(batches, reading, strict=True):
                done.append(model.scores(pixels))
                progress.update(len(pixels))
                if last_of_part:
                    _save(state, path.name, np.concatenate(done), model)
                    done = []
    return np.concatenate([np.load(path / PART) for path, _ in plan])


def _save(state: State, name: str, scores: npt.NDArray[np.float32], model: Exported) -> None:
    wrong = ~((scores >= 0) & (scores <= 1))
    if wrong.any():
        raise HistobenchError(
            f"{model.folder}: expected probabilities, found {scores[wrong][0]:g}, the first of {int(wrong.sum())} of "
            f"{len(scores)} patches: the model is no classifier of two classes, or of a training that diverged; export "
            "another run"
        )
    with state.step(name) as folder:
        np.save(folder / PART, scores)


def _write_scores(path: Path, columns: Mapping[str, Any]) -> None:
    pq.write_table(pa.table({name: pa.array(values) for name, values in columns.items()}), path)
