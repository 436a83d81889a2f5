"""Tables of embeddings as their writers leave them, by what stands in the code of each; of torch's files, too."""

import csv
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd

# Of a pixel, in which the places of these patches are counted.
MICRONS = 0.24312
THEIRS = {"train": "train", "valid": "val", "test": "test"}
STORAGES = {"float32": "FloatStorage", "float16": "HalfStorage", "float64": "DoubleStorage"}


def cached(folder: Path, index: pd.DataFrame) -> np.ndarray:
    """Return cached features in the order of the index, in which splits may alternate."""
    whole = {split: np.load(folder / f"{split}.npy") for split in index["split"].unique()}
    return np.stack([whole[row.split][row.position] for row in index.itertuples()])


def by_slide(index: pd.DataFrame) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the rows of each slide in the order of a scan, each place once, and the places."""
    slides = {}
    for slide, rows in index.groupby("group"):
        ordered = rows.sort_values(["y", "x"]).drop_duplicates(["x", "y"])
        slides[str(slide)] = (ordered.index.to_numpy(), ordered[["x", "y"]].to_numpy(np.int64))
    return slides


def trident(folder: Path, index: pd.DataFrame, features: np.ndarray, **changes: Any) -> Path:
    """Write `features_<encoder>/<slide>.h5`."""
    attributes = {"patch_size": 256, "patch_size_level0": 512, "level0_magnification": 40, "target_magnification": 20}
    attributes |= {"overlap": 0, "name": "x", "savetodir": "y", "level0_width": 9, "level0_height": 9} | changes
    folder.mkdir(parents=True)
    for slide, (rows, places) in by_slide(index).items():
        with h5py.File(folder / f"{slide}.h5", "w") as file:
            for name, values in (("features", features[rows]), ("coords", places)):
                chunks, most = (1, *values.shape[1:]), (None, *values.shape[1:])
                file.create_dataset(name, values.shape, values.dtype, values, chunks=chunks, maxshape=most)
            file["features"].attrs.update({"name": slide, "savetodir": "y", "encoder": "tiny"})
            file["coords"].attrs.update(attributes)
    return folder


def clam(folder: Path, index: pd.DataFrame, features: np.ndarray) -> Path:
    """Write `h5_files/<slide>.h5`, in batches that are appended, and the tensors that lie beside these."""
    for slide, (rows, places) in by_slide(index).items():
        (folder / "h5_files").mkdir(parents=True, exist_ok=True)
        with h5py.File(folder / "h5_files" / f"{slide}.h5", "w") as file:
            for name, values in (("features", features[rows]), ("coords", places.astype(np.int32))):
                data = file.create_dataset(
                    name,
                    (0, *values.shape[1:]),
                    values.dtype,
                    maxshape=(None, *values.shape[1:]),
                    chunks=(1, *values.shape[1:]),
                )
                for start in range(0, len(values), 4):
                    batch = values[start : start + 4]
                    data.resize(len(data) + len(batch), axis=0)
                    data[-len(batch) :] = batch
        torch_file(folder / "pt_files" / f"{slide}.pt", [features[rows]])
    return folder / "h5_files"


def stamp(folder: Path, index: pd.DataFrame, features: np.ndarray) -> Path:
    """Write `<slide>.h5`, in float16 and micrometres."""
    folder.mkdir(parents=True)
    for slide, (rows, places) in by_slide(index).items():
        with h5py.File(folder / f"{slide}.h5", "w") as file:
            file["coords"] = (places * MICRONS).astype(np.float32)
            file["feats"] = features[rows].astype(np.float16)
            file.attrs.update({"stamp_version": "2.4.0", "extractor": "tiny", "unit": "um", "tile_size_um": 256.0})
            file.attrs.update({"tile_size_px": 224, "code_hash": "c", "feat_type": "tile"})
        (folder / f"{slide}.jpg").write_bytes(b"a thumbnail")
    return folder


def eva(folder: Path, index: pd.DataFrame, features: np.ndarray, *, pcam: bool = False) -> Path:
    """Write `manifest.csv` and a file for each image; of PCam by positions."""
    folder.mkdir(parents=True)
    with (folder / "manifest.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["origin", "embeddings", "target", "split"])
        for number, row in enumerate(index.itertuples()):
            split = THEIRS[str(row.split)]
            origin = f"camelyonpatch_level_2_split_{split}_x_{row.position}" if pcam else row.patch_id
            saved = f"{origin.rpartition('.')[0] or origin}.pt"
            torch_file(folder / saved, [features[number]])
            rows.writerow([origin, saved, row.label, split])
    return folder


def thunder(folder: Path, index: pd.DataFrame, features: np.ndarray) -> Path:
    """Write `{train,val,test}/embeddings.h5` and the labels beside it."""
    for split, rows in index.groupby("split", observed=True):
        (folder / THEIRS[split]).mkdir(parents=True)
        with (
            h5py.File(folder / THEIRS[split] / "embeddings.h5", "a", libver="latest") as vectors,
            h5py.File(folder / THEIRS[split] / "labels.h5", "a", libver="latest") as labels,
        ):
            for row in rows.itertuples():
                vectors.create_dataset(str(row.position), data=features[row.Index], dtype="float32")
                labels.create_dataset(str(row.position), data=row.label, dtype="int64")
    return folder


def npz(folder: Path, index: pd.DataFrame, features: np.ndarray) -> Path:
    """Write one archive, in another order than that of the index."""
    folder.mkdir(parents=True)
    order = np.random.default_rng(1).permutation(len(index))
    np.savez(folder / "all.npz", ids=index["patch_id"].to_numpy(str)[order], features=features[order])
    return folder / "all.npz"


def parquet(folder: Path, index: pd.DataFrame, features: np.ndarray, *, lists: bool = True) -> Path:
    """Write a file per split, with one column of lists or with columns of numbers."""
    folder.mkdir(parents=True)
    for split, rows in index.groupby("split", observed=True):
        known = {"patch_id": rows["patch_id"], "label": rows["label"]}
        values = features[rows.index]
        columns = {"features": list(values)} if lists else {f"f{n}": values[:, n] for n in range(values.shape[1])}
        pd.DataFrame(known | columns).to_parquet(folder / f"{split}.parquet")
    return folder


WRITERS = {writer.__name__: writer for writer in (trident, clam, stamp, eva, thunder, npz, parquet)}


def torch_file(path: Path, tensors: list[np.ndarray], program: bytes | None = None) -> None:
    """Write a file as `torch.save(tensors, path)` of torch 2 does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{path.stem}/data.pkl", program or _program(tensors))
        archive.writestr(f"{path.stem}/.format_version", "1")
        archive.writestr(f"{path.stem}/byteorder", "little")
        for number, tensor in enumerate(tensors):
            archive.writestr(f"{path.stem}/data/{number}", tensor.tobytes())
        archive.writestr(f"{path.stem}/version", "3\n")


def _program(tensors: list[np.ndarray]) -> bytes:
    """Return the pickle of a list of contiguous tensors, in protocol 2."""
    parts = [b"\x80\x02]("]
    for number, tensor in enumerate(tensors):
        strides = [stride // tensor.itemsize for stride in tensor.strides]
        parts += [
            b"ctorch._utils\n_rebuild_tensor_v2\n((",
            _text("storage"), f"ctorch\n{STORAGES[str(tensor.dtype)]}\n".encode(), _text(str(number)), _text("cpu"),
            _number(tensor.size), b"tQ", _number(0), _tuple(tensor.shape), _tuple(strides),
            b"\x89ccollections\nOrderedDict\n)RtR",
        ]  # fmt: skip
    return b"".join([*parts, b"e."])


def _text(value: str) -> bytes:
    return pickle.BINUNICODE + struct.pack("<i", len(value)) + value.encode()


def _number(value: int) -> bytes:
    return pickle.BININT + struct.pack("<i", value)


def _tuple(values: Any) -> bytes:
    return b"(" + b"".join(map(_number, values)) + b"t"
