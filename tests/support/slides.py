"""Small slides, and an exported model whose scores are known without it."""

import io
import json
from pathlib import Path

import keras
import numpy as np
import tifffile
from PIL import Image

from histobench.core.files import digest

SIDE = 32
TILE = 256
GLASS = 245


def score(patches: np.ndarray) -> np.ndarray:
    """Return what the model of :func:`export` gives: the logistic function of a difference of mean colours."""
    means = patches.astype(np.float64).mean(axis=(1, 2))
    return 1 / (1 + np.exp(-(means[:, 1] - means[:, 0] + 90) / 16))


def export(folder: Path, *, microns_per_pixel: float | None = 1.0, side: int = SIDE, **about: object) -> Path:
    """Write the folder of an exported model."""
    folder.mkdir(parents=True)
    patches = keras.Input((side, side, 3), name="patches")
    means = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 16)(patches))
    dense = keras.layers.Dense(1, "sigmoid")
    model = keras.Model(patches, dense(means))
    dense.set_weights([np.array([[-1.0], [1.0], [0.0]], np.float32), np.array([90 / 16], np.float32)])
    model.save(folder / "model.keras")
    told = {
        "study": "tiny", "dataset": "pcam", "run": "results/tiny/runs/x", "model_name": "Colours", "mode": "full",
        "recipe": "paper", "patch_size": side, "microns_per_pixel": microns_per_pixel, "threshold": 0.4,
        "sha256": {"model.keras": digest(folder / "model.keras")}, "data": {"patches_are": "simulated"},
    }  # fmt: skip
    (folder / "model.json").write_text(json.dumps(told | about))
    return folder


def tissue(width: int, height: int, seed: int = 0) -> np.ndarray:
    """Return a slide, (height, width, 3): glass, and on its left half tissue that differs from place to place."""
    rng = np.random.default_rng(seed)
    image = np.full((height, width, 3), GLASS, np.uint8)
    coarse = rng.integers(0, 120, (-(-height // 16), -(-width // 32), 3)) + np.array([120, 30, 110])
    coloured = np.repeat(np.repeat(coarse, 16, 0), 16, 1)[:height, : width // 2]
    noise = rng.integers(-8, 9, coloured.shape)
    image[:, : width // 2] = np.clip(coloured + noise, 0, 255)
    return image


def write(path: Path, image: np.ndarray, *, microns_per_pixel: float | None = 1.0, levels: int = 3) -> Path:
    """Write a tiled TIFF with levels of half the size each, which says how large its pixels are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tifffile.TiffWriter(path) as file:
        for level in range(levels):
            told = {}
            if microns_per_pixel:
                told = {"resolution": (1e4 / microns_per_pixel / 2**level,) * 2, "resolutionunit": "CENTIMETER"}
            file.write(
                image, tile=(64, 64), photometric="rgb", compression="deflate", metadata=None,
                subfiletype=1 if level else 0, **told,
            )  # fmt: skip
            rows, columns = (side // 2 for side in image.shape[:2])
            halves = image[: 2 * rows, : 2 * columns].reshape(rows, 2, columns, 2, 3)
            image = halves.mean(axis=(1, 3)).round().astype(np.uint8)
    return path


def write_large(path: Path, width: int, height: int, *, microns_per_pixel: float = 0.25, levels: int = 5) -> Path:
    """Write a pyramidal TIFF with JPEG tiles, as scanners write them: simulated tissue, over and over.

    It is made of as many different tiles as there are in a square of 4,096 px, and is never in memory as a whole.
    """
    from histobench.core.simulated_slide import simulated

    drawn = simulated(seed=1)[0]
    rows, columns = (np.arange(TILE * 2 ** (levels - 1)) % side for side in drawn.shape[:2])
    base = Image.fromarray(drawn[rows][:, columns])
    path.parent.mkdir(parents=True, exist_ok=True)
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        for level in range(levels):
            page = np.asarray(base.reduce(2**level))
            tiles = {
                (row, column): _jpeg(page[row : row + TILE, column : column + TILE])
                for row in range(0, page.shape[0], TILE)
                for column in range(0, page.shape[1], TILE)
            }
            shape = (height // 2**level, width // 2**level, 3)
            places = [
                (row % page.shape[0], column % page.shape[1])
                for row in range(0, shape[0], TILE)
                for column in range(0, shape[1], TILE)
            ]
            resolution = 1e4 / microns_per_pixel / 2**level
            file.write(
                (tiles[place] for place in places), shape=shape, dtype=np.uint8, tile=(TILE, TILE),
                photometric="ycbcr", subsampling=(2, 2), compression="jpeg", metadata=None,
                subfiletype=1 if level else 0, resolution=(resolution, resolution), resolutionunit="CENTIMETER",
            )  # fmt: skip
    return path


def _jpeg(tile: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(tile).save(buffer, "JPEG", quality=85, subsampling="4:2:0")
    return buffer.getvalue()
