"""A study of a few patches in every format that is read, for damage to its files: one folder, results included."""

import gzip
import io
import zipfile
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import yaml
from PIL import Image

from histobench.core.cells import Run
from histobench.core.files import digest
from histobench.core.formats import FORMATS, IDC_ARCHIVE, IDC_PATIENTS, pcam_file
from histobench.core.plan import SCHEMA
from histobench.core.prepared import SPLITS
from histobench.core.study import Study
from support import tiny
from support.rules import Jobs
from support.small import patches

CONFIGURATION = "config.yaml"
PCAM = {"train": 16, "valid": 6, "test": 8}
IDC = {"train": ["90001", "90002"], "valid": ["90003"], "test": ["90004"]}
OWN = {"train": 40, "valid": 20, "test": 24}
SIDE = 40
# How the HDF5 files of a source are stored: gzipped or not, in chunks or not.
LAYOUTS = {"stream": (True, False), "chunks": (True, True), "plain": (False, False), "plain-chunks": (False, True)}
# Of the images of one's own. What loses nothing gives the pixels back; JPEG and the like give others.
IMAGES: dict[str, dict[str, Any]] = {
    "png": {},
    "tif": {"compression": "tiff_lzw"},
    "bmp": {},
    "jpg": {"quality": 95},
    "webp": {"lossless": True},
    "gif": {},
    "jp2": {},
    "tiff": {},
}
# Files of pretrained weights, by the models that start from them.
WEIGHTS = {"saved": "saved.weights.h5", "legacy": "legacy.h5", "archive": "archive.keras"}

FULL = Run("own", "tiny", "full", "quick", "cpu", 1)
HEAD = Run("own", "saved", "tl", "quick", "cpu", 1)
TUNED = Run("own", "saved", "tl", "tuned", "cpu", 1)


def configuration() -> dict[str, Any]:
    """Return the configuration, which does not yet know the digests of the files that it is to find."""
    quick = {
        "epochs": 3,
        "batch_size": 16,
        "optimizer": {"name": "adam", "learning_rate": 0.001},
        "input_scaling": "paper",
        "best_epoch": "val_accuracy",
    }
    search = {
        "method": "hyperband",
        "objective": "val_auc",
        "max_epochs": 2,
        "factor": 2,
        "iterations": 1,
        "seed": 1,
        "space": {"learning_rate": {"min": 1e-5, "max": 1e-2, "sampling": "log"}, "dense_units": {"values": [16, 64]}},
    }
    simulated_pcam = {"patches": PCAM, "slides": dict.fromkeys(SPLITS, 2), "seed": 1}
    simulated_idc = {
        "patients": {split: len(names) for split, names in IDC.items()},
        "patches_per_patient": 6,
        "seed": 1,
    }
    sources: dict[str, Any] = {
        "pcam": {"format": "pcam", "expected": PCAM, "files": {}},
        "unpacked": {"format": "pcam", "expected": PCAM, "files": {}},
        "idc": {"format": "idc", "expected": {"patches": 24, "patients": 4}, "files": {}},
        "own": {"format": "folder", "path": "own", "patch_size": SIDE},
        "simulated-idc": {"format": "idc", "simulate": simulated_idc},
        **{f"simulated-{layout}": {"format": "pcam", "simulate": simulated_pcam} for layout in LAYOUTS},
    }
    own = {"application": "Tiny", "preprocessing": "unit", "smallest_input": 20}
    return {
        "study": "faults",
        "downloads": {"mirror": "mirror"},
        "sources": sources,
        "datasets": {name: {"source": name} for name in sources},
        "models": {
            "tiny": {**own, "name": "Tiny", "weights": "random"},
            **{key: {**own, "name": key, "weights": {"path": f"mirror/{file}"}} for key, file in WEIGHTS.items()},
        },
        "recipes": {"quick": quick, "tuned": quick | {"search": search, "tuned_from": "quick"}},
        "devices": {"cpu": {}},
        "matrix": [
            {"datasets": ["own"], "models": [run.model], "modes": [run.mode], "recipes": [run.recipe]}
            | {"devices": ["cpu"], "seeds": [1]}
            for run in (FULL, HEAD, TUNED)
        ],
    }


def jobs() -> Jobs:
    """Return the jobs of the study in the working folder."""
    config = yaml.safe_load(Path(CONFIGURATION).read_text())
    return Jobs(Study(config, SCHEMA), config)


def write() -> None:
    """Write upstream files, patches of one's own, pretrained weights and the configuration into the working folder."""
    for source, layout in {"mirror/pcam": "stream", "mirror/unpacked": "plain"}.items():
        _write_pcam(Path(source), *LAYOUTS[layout])
    for path in Path("mirror/unpacked").glob("*.gz"):
        path.rename(path.with_suffix(""))
    for layout, how in LAYOUTS.items():
        _write_pcam(Path(f"results/simulated/simulated-{layout}"), *how)
    for folder in ("mirror/idc", "results/simulated/simulated-idc"):
        _write_idc(Path(folder))
    _write_own(Path("own"))
    _write_weights(Path("mirror"))
    config = configuration()
    # Of PCam's files the digests are told; of the others the first download is recorded.
    for source, kind in {"pcam": "pcam", "unpacked": "pcam", "idc": "idc"}.items():
        for file in FORMATS[kind].files:
            if (path := Path("mirror", source, file)).exists():
                known = {"sha256": digest(path)} if source == "pcam" else {"bytes": path.stat().st_size}
                config["sources"][source]["files"][file] = known
    Path(CONFIGURATION).write_text(yaml.safe_dump(config, sort_keys=False))


def _write_pcam(folder: Path, packed: bool, chunked: bool) -> None:
    folder.mkdir(parents=True)
    for seed, (split, n) in enumerate(PCAM.items()):
        some = patches(split, n, seed, (96, 96, 3))
        for part, values in (("x", some.images), ("y", some.labels.reshape(-1, 1, 1, 1))):
            buffer = io.BytesIO()
            with h5py.File(buffer, "w") as file:
                file.create_dataset(part, data=values, chunks=True if chunked else None)
            content = buffer.getvalue()
            (folder / pcam_file(split, part)).write_bytes(gzip.compress(content, 1, mtime=0) if packed else content)
        rows = [",coord_y,coord_x,tumor_patch,center_tumor_patch,wsi"]
        rows += [f"{i},{96 * i},{9 * i},{bool(y)},{bool(y)},{split}_{i % 3}" for i, y in enumerate(some.labels)]
        (folder / pcam_file(split, "meta")).write_text("\n".join(rows) + "\n")


def _write_idc(folder: Path) -> None:
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / IDC_ARCHIVE, "w") as archive:
        for seed, (split, names) in enumerate(IDC.items()):
            (folder / IDC_PATIENTS[split]).write_text("".join(f"{name}\n" for name in names))
            some = patches(split, 6 * len(names), seed, (50, 50, 3))
            for i, (image, label) in enumerate(zip(some.images, some.labels, strict=True)):
                patient = names[i // 6]
                entry = f"{patient}/{label}/{patient}_idx5_x{50 * i + 1}_y51_class{label}.png"
                method = zipfile.ZIP_DEFLATED if i % 2 else zipfile.ZIP_STORED
                archive.writestr(zipfile.ZipInfo(entry, (1980, 1, 1, 0, 0, 0)), _image(image, "png"), method)


def _write_own(folder: Path) -> None:
    for seed, (split, n) in enumerate(OWN.items()):
        some = patches(split, n, seed, (SIDE, SIDE, 3))
        for i, (image, label) in enumerate(zip(some.images, some.labels, strict=True)):
            suffix = list(IMAGES)[i // 2 % len(IMAGES)]
            path = folder / split / str(label) / f"slide{i % 5}__{i:02d}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(_image(image, suffix))


def _image(pixels: np.ndarray, suffix: str) -> bytes:
    buffer = io.BytesIO()
    kind = Image.registered_extensions()[f".{suffix}"]
    Image.fromarray(pixels).save(buffer, kind, **IMAGES[suffix])
    return buffer.getvalue()


def _write_weights(folder: Path) -> None:
    for seed, name in enumerate(WEIGHTS.values()):
        keras.backend.clear_session()
        keras.utils.set_random_seed(seed)
        model = tiny.tiny(include_top=False, weights=None, input_shape=(SIDE, SIDE, 3), pooling="avg")
        model.save_weights(folder / name) if name.endswith("weights.h5") else model.save(folder / name)


def run_all(study: Jobs) -> None:
    """Run what the stages of the campaign need."""
    for source in ("pcam", "unpacked", "idc"):
        study.download(source)
    for model in WEIGHTS:
        study.fetch_weights(model)
    for dataset in study.study.datasets:
        study.prepare(dataset)
    for model in ("tiny", *WEIGHTS):
        study.extract("own", model)
    study.tune(TUNED)
    for run in study.study.runs:
        study.train(run)
        study.predict(run)
        study.evaluate(run)
    study.controls("own")
    study.collect_runs(["own"])
