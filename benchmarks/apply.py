"""What scoring a slide costs, beside a plain script and beside the model alone, in one run.

    .venv/bin/python benchmarks/apply.py --width 24000 --height 18000 --model mobilenet

A simulated slide, pyramidal, of JPEG tiles, at 40x, is cut to patches of PCam's size and scale. `apply` is the job of
the workflow, reading, scoring and saving its state; the plain script reads all patches into memory and calls
`model.predict` once; `alone` is `model.predict` on patches in memory. Each runs in a process of its own on the same
patches: those that show tissue. Times leave out imports, and compilation, which a first call does.
"""

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import common
import numpy as np

SIDE, MICRONS = 96, 0.972


def export(folder: Path, model: str) -> None:
    """Write the folder of an exported model with random weights."""
    from histobench.core import catalogue
    from histobench.core.files import digest
    from histobench.core.recipes import PAPER
    from histobench.train import models
    from histobench.train.stock import stock

    spec = {"key": model, "application": catalogue.CATALOGUE[model].application}
    network = models.build(spec, "full", (SIDE, SIDE, 3), seed=1, dense=PAPER)
    folder.mkdir()
    stock(network, {"side": SIDE, "preprocessing": "unit"}, SIDE).save(folder / "model.keras")
    names = ("study", "dataset", "run", "model_name", "mode", "recipe")
    about = dict.fromkeys(names, model) | {"patch_size": SIDE, "microns_per_pixel": MICRONS, "threshold": 0.5}
    sha256 = {"model.keras": digest(folder / "model.keras")}
    about |= {"sha256": sha256, "data": {"patches_are": "simulated"}}
    (folder / "model.json").write_text(json.dumps(about))


def peak() -> float:
    """Return the most memory that this process has held, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def places(target: Path) -> list[tuple[int, int]]:
    """Return the upper left corners of the patches that `apply` has scored."""
    import pandas as pd

    return list(pd.read_parquet(target / "scores.parquet", columns=["x", "y"]).itertuples(index=False, name=None))


def warm(network: object) -> object:
    """Compile a model, and return it."""
    network.predict_on_batch(np.zeros((128, SIDE, SIDE, 3), np.uint8))
    return network


def applied(folder: Path, slide: Path, target: Path, threads: int) -> dict[str, float]:
    """Score a slide by the job of the workflow."""
    from histobench.scoring import models, score

    opened = models.opened
    network = opened(folder, d4=False)
    warm(network.network)
    models.opened = lambda *_, **__: network
    start = time.perf_counter()
    job = score.Job(folder, d4=False, code="", threads=threads, device="cpu")
    score.score_slide(job, slide, target, stride=None, microns_per_pixel=None)
    return {"seconds": time.perf_counter() - start, "memory": peak()}


def plain(folder: Path, slide: Path, target: Path) -> dict[str, float]:
    """Read all patches, then score them."""
    import keras
    import openslide
    from PIL import Image

    network = warm(keras.saving.load_model(folder / "model.keras"))
    start = time.perf_counter()
    opened = openslide.OpenSlide(slide)
    level = opened.get_best_level_for_downsample(MICRONS / 0.25)
    width = round(SIDE * MICRONS / 0.25 / opened.level_downsamples[level])
    patches = [
        np.asarray(opened.read_region(place, level, (width, width)).convert("RGB").resize((SIDE, SIDE), Image.BILINEAR))
        for place in places(target)
    ]
    network.predict(np.stack(patches), batch_size=128, verbose=0)
    return {"seconds": time.perf_counter() - start, "memory": peak()}


def alone(folder: Path, n: int) -> dict[str, float]:
    """Score patches in memory."""
    import keras

    network = warm(keras.saving.load_model(folder / "model.keras"))
    patches = np.random.default_rng(0).integers(0, 256, (min(n, 2048), SIDE, SIDE, 3), np.uint8)
    network.predict(patches[:256], batch_size=128, verbose=0)
    start = time.perf_counter()
    network.predict(patches, batch_size=128, verbose=0)
    return {"seconds": (time.perf_counter() - start) * n / len(patches), "memory": peak()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=24_000)
    parser.add_argument("--height", type=int, default=18_000)
    parser.add_argument("--model", default="mobilenet", help="of the catalogue")
    parser.add_argument("--threads", type=int, default=2, help="of the job, which reads with as many")
    given = parser.parse_args()
    from support import slides

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        slide = common.measure(slides.write_large, folder / "slide.tif", given.width, given.height)
        common.measure(export, folder / "model", given.model)
        results = {"apply": common.measure(applied, folder / "model", slide, folder / "out", given.threads)}
        n = len(places(folder / "out"))
        results["plain"] = common.measure(plain, folder / "model", slide, folder / "out")
        results["alone"] = common.measure(alone, folder / "model", n)
    print(f"{given.model}, {n:,} patches of a slide of {given.width:,} x {given.height:,} px")
    for how, found in results.items():
        print(f"{how}: {n / found['seconds']:,.0f} patches/s, peak memory {found['memory']:,.0f} MiB")
    ours, script, model = (results[how] for how in ("apply", "plain", "alone"))
    print(f"apply takes {ours['seconds'] / script['seconds']:.2f} of the plain script's time")
    print(f"apply reaches {model['seconds'] / ours['seconds']:.2f} of the patches/s of the model alone")
    print(f"apply takes {ours['memory'] / script['memory']:.2f} of the plain script's memory")


if __name__ == "__main__":
    main()
