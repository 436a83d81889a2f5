"""Writing of a prepared data set: TFRecord shards of raw uint8 patches, an index and a manifest."""

import contextlib
import hashlib
import io
import logging
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
import tensorflow as tf
from isal import isal_zlib
from tqdm import tqdm

from histobench.core.datasets import Patches, Tally
from histobench.core.errors import HistobenchError
from histobench.core.files import atomic, digest, write_sealed
from histobench.core.prepared import INDEX, SPLITS, shard_names

log = logging.getLogger(__name__)

T = TypeVar("T")

SCHEMA = pa.schema(
    [("split", pa.dictionary(pa.int8(), pa.string())), ("position", pa.int32()), ("patch_id", pa.string())]
    + [("group", pa.string()), ("label", pa.uint8()), ("x", pa.int32()), ("y", pa.int32())]
    + [(name, pa.float32()) for name in INDEX[7:13]]
    + [("pixel_sha256", pa.string()), ("crc32", pa.uint32())]
)
# Columns of the index that a result depends on, directly or through the pixels.
IDENTITY = ["split", "position", "patch_id", "group", "label", "x", "y", "pixel_sha256"]

# Chunks of patches in a row group of the index.
ROW_GROUP = 128
# Patches whose colours are computed at a time: few enough for the processor's cache.
AT_A_TIME = 32


def write(
    folder: Path, patches: Iterable[Patches], tally: Tally, about: dict[str, Any], parts: Sequence[str] = SPLITS
) -> None:
    """Write shards, index and manifest of a data set, while a thread of its own reads the next patches.

    Files get their final names when all of them are complete, the manifest last. Of a patch no more than 8 bytes are
    kept in memory, by which patches with the same id are found.

    `patches_sha256` in the manifest is the digest of all that a result depends on, so that patches which are prepared
    anew and come out the same retrain nothing.

    Parameters
    ----------
    folder : the data set's folder.
    patches : chunks of patches, each of one split.
    tally : counts for the manifest, filled while `patches` is consumed.
    about : further content of the manifest: data set, source, split, hashes.
    parts : the splits of the patches.

    Raises
    ------
    HistobenchError
        if a split is empty or has only one class, shapes of patches differ, or a patch id occurs twice.
    """
    count: Counter[str] = Counter()  # its keys are in the order in which the splits begin
    tumour: Counter[str] = Counter()
    groups: dict[str, set[str]] = {split: set() for split in parts}
    id_keys: list[npt.NDArray[np.int64]] = []
    shape: tuple[int, ...] = ()
    with contextlib.ExitStack() as final:
        shards = {split: [final.enter_context(atomic(folder / name)) for name in shard_names(split)] for split in parts}
        index = final.enter_context(atomic(folder / "index.parquet"))
        with contextlib.ExitStack() as stack:
            writers = {
                split: [stack.enter_context(tf.io.TFRecordWriter(str(path))) for path in paths]
                for split, paths in shards.items()
            }
            rows = stack.enter_context(pq.ParquetWriter(index, SCHEMA))
            pending: list[pa.RecordBatch] = []
            progress = stack.enter_context(tqdm(unit=" patches", mininterval=5, desc="prepare"))
            for some in stack.enter_context(contextlib.closing(_ahead(iter(patches)))):
                if shape and some.images.shape[1:] != shape:
                    raise HistobenchError(
                        f"patch {some.ids[0]}: expected patches of shape {shape}, found {some.images.shape[1:]}"
                    )
                progress.total, shape = tally.total, some.images.shape[1:]
                start = count[some.split]
                for position, image in enumerate(some.images, start):
                    writers[some.split][position % len(writers[some.split])].write(image.tobytes())
                digests = [hashlib.sha256(image).digest()[:16] for image in some.images]
                pending.append(_rows(some, start, digests))
                if len(pending) == ROW_GROUP:
                    rows.write_table(pa.Table.from_batches(pending))
                    pending.clear()
                # Python's hash of a text differs from process to process, which does not matter within one.
                id_keys.append(np.fromiter(map(hash, some.ids), np.int64, len(some.ids)))
                count[some.split] += len(some.ids)
                tumour[some.split] += int(some.labels.sum())
                groups[some.split].update(some.groups)
                progress.update(len(some.ids))
            rows.write_table(pa.Table.from_batches(pending, SCHEMA))
        suspected = _rows_at(index, _repeated(id_keys), ["patch_id"])["patch_id"]
        if len(twice := suspected[suspected.duplicated()]):
            raise HistobenchError(f"patch {twice.min()} comes twice in {about['dataset']}")
        for split in parts:
            if not 0 < tumour[split] < count[split]:
                raise HistobenchError(
                    f"{about['dataset']}: expected patches of both classes in the {split} part, found {count[split]} "
                    f"patches, {tumour[split]} of them tumour; excluded: "
                    f"{'; '.join(tally.in_words(tally.excluded)) or 'none'}; ignored: "
                    f"{'; '.join(tally.in_words(tally.ignored)) or 'nothing'}"
                )
        digests_of_all = {"patches_sha256": _identity(index, shape, list(count)), "index_sha256": digest(index)}
    named = {split: groups[split] - {""} for split in parts}
    write_sealed(
        folder / "manifest.json",
        about
        | {
            "shape": list(shape),
            "patches": {
                split: {
                    "n": count[split],
                    "tumour": tumour[split],
                    "tumour_fraction": round(tumour[split] / count[split], 6),
                    "groups": len(named[split]),
                }
                for split in parts
            },
            "groups_on_both_sides": len(set().union(*named.values())) < sum(map(len, named.values())),
            "excluded": dict(sorted(tally.excluded.items())),
            "ignored": dict(sorted(tally.ignored.items())),
            "notes": dict(sorted(tally.notes.items())),
            "examples": dict(sorted(tally.examples.items())),
            **digests_of_all,
        },
    )
    for what in ("excluded", "ignored", "notes"):
        for words in tally.in_words(getattr(tally, what)):
            log.info("%s: %s", what, words)
    log.info("wrote %s: %s patches", folder, ", ".join(f"{count[split]} {split}" for split in parts))


def _ahead(items: Iterator[T]) -> Generator[T]:
    """Yield what an iterator gives, while a thread waits for its next item; what it raises is raised here."""
    end = object()
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = thread.submit(next, items, end)
            yield cast(T, item)


def _repeated(keys: Sequence[npt.NDArray[np.int64]]) -> npt.NDArray[np.int64]:
    """Return, in order, the numbers of the rows whose key another row has as well."""
    whole = np.concatenate([np.empty(0, np.int64), *keys])
    order = np.argsort(whole)
    same = np.diff(whole[order]) == 0
    return np.sort(order[np.append(same, False) | np.insert(same, 0, False)]) if len(whole) else order


def _rows_at(index: Path, numbers: npt.NDArray[np.int64], columns: list[str]) -> pd.DataFrame:
    """Return the rows of an index with these numbers, which are in order."""
    with pq.ParquetFile(index) as file:
        found = [file.schema_arrow.empty_table().select(columns)]
        end = 0
        for group in range(file.num_row_groups):
            start, end = end, end + file.metadata.row_group(group).num_rows
            here = numbers[slice(*np.searchsorted(numbers, (start, end)))] - start
            if len(here):
                found.append(file.read_row_group(group, columns).take(here))
    rows: pd.DataFrame = pa.concat_tables(found).to_pandas()
    return rows


def _identity(index: Path, shape: tuple[int, ...], splits: Sequence[str]) -> str:
    """Return the digest of the shape of the patches and of the columns `IDENTITY` as CSV, by split and position.

    Parameters
    ----------
    splits : in the order in which they begin in the index.
    """
    whole = hashlib.sha256(f"{shape}\n{','.join(IDENTITY)}\n".encode())
    for split in splits:
        with pq.ParquetFile(index) as file:
            for batch in file.iter_batches(columns=IDENTITY):
                whole.update(_csv(batch.filter(pc.equal(batch["split"].cast(pa.string()), split))))
    return whole.hexdigest()


def _csv(rows: pa.RecordBatch) -> bytes:
    """Return rows as pandas writes them, nine times as fast where no text needs quotes."""
    text = io.BytesIO()
    try:
        plain = rows.set_column(0, "split", rows["split"].cast(pa.string()))
        options = pa.csv.WriteOptions(include_header=False, quoting_style="none")
        pa.csv.write_csv(plain, text, options)
    except pa.ArrowInvalid:
        as_pandas: pd.DataFrame = rows.to_pandas()
        return as_pandas.to_csv(index=False, header=False, lineterminator="\n").encode()
    return text.getvalue()


def _rows(some: Patches, start: int, digests: list[bytes]) -> pa.RecordBatch:
    n = len(some.ids)
    means, deviations = _colours(some.images)
    columns: list[Any] = [
        pa.array([some.split] * n, pa.string()).dictionary_encode(),
        np.arange(start, start + n, dtype=np.int32),
        some.ids,
        some.groups,
        some.labels,
        *some.places.T,
        *means.T,
        *deviations.T,
        [each.hex() for each in digests],
        [isal_zlib.crc32(image) for image in some.images],
    ]
    return pa.RecordBatch.from_arrays(
        [pa.array(column).cast(field.type) for column, field in zip(columns, SCHEMA, strict=True)], schema=SCHEMA
    )


def _colours(images: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return mean and standard deviation of red, green and blue of each patch, both (n, 3)."""
    pixels = images.reshape(len(images), -1, 3).transpose(0, 2, 1)
    means, deviations = (np.empty((len(images), 3), np.float32) for _ in range(2))
    memory = np.empty((AT_A_TIME, *pixels.shape[1:]), np.float32)
    for start in range(0, len(images), AT_A_TIME):
        part = slice(start, start + AT_A_TIME)
        # Contiguous planes: twenty times as fast as interleaved pixels.
        planes = memory[: len(pixels[part])]
        planes[:] = pixels[part]
        means[part] = planes.mean(axis=2)
        planes -= means[part, :, None]
        deviations[part] = np.sqrt(np.einsum("ncp,ncp->nc", planes, planes) / planes.shape[2])
    return means, deviations
