"""Writing of a prepared data set: TFRecord shards of raw uint8 patches, an index and a manifest."""

import contextlib
import logging
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf
from tqdm import tqdm

from histobench.core.datasets import Patches, Tally
from histobench.core.errors import HistobenchError
from histobench.core.files import atomic, write_json
from histobench.core.prepared import INDEX, SPLITS, shard_names

log = logging.getLogger(__name__)

SCHEMA = pa.schema(
    [("split", pa.dictionary(pa.int8(), pa.string())), ("position", pa.int32()), ("patch_id", pa.string())]
    + [("group", pa.string()), ("label", pa.uint8()), ("x", pa.int32()), ("y", pa.int32())]
    + [(name, pa.float32()) for name in INDEX[7:]]
)

# Chunks of patches in a row group of the index.
ROW_GROUP = 128


def write(folder: Path, patches: Iterable[Patches], tally: Tally, about: dict[str, Any]) -> None:
    """Write shards, index and manifest of a data set.

    Files get their final names when all of them are complete, the manifest last. Only the patch ids are kept in memory.

    Parameters
    ----------
    folder : the data set's folder.
    patches : chunks of patches, each of one split.
    tally : counts for the manifest, filled while `patches` is consumed.
    about : further content of the manifest: data set, source, split, hashes.

    Raises
    ------
    HistobenchError
        if a split is empty or has only one class, shapes of patches differ, or a patch id occurs twice.
    """
    count: Counter[str] = Counter()
    tumour: Counter[str] = Counter()
    groups: dict[str, set[str]] = {split: set() for split in SPLITS}
    seen: set[str] = set()
    shape: tuple[int, ...] = ()
    with contextlib.ExitStack() as final:
        shards = {
            split: [final.enter_context(atomic(folder / name)) for name in shard_names(split)] for split in SPLITS
        }
        index = final.enter_context(atomic(folder / "index.parquet"))
        with contextlib.ExitStack() as stack:
            writers = {
                split: [stack.enter_context(tf.io.TFRecordWriter(str(path))) for path in paths]
                for split, paths in shards.items()
            }
            rows = stack.enter_context(pq.ParquetWriter(index, SCHEMA))
            pending: list[pa.RecordBatch] = []
            progress = stack.enter_context(tqdm(unit=" patches", mininterval=5, desc="prepare"))
            for some in patches:
                if shape and some.images.shape[1:] != shape:
                    raise HistobenchError(
                        f"patch {some.ids[0]}: expected patches of shape {shape}, found {some.images.shape[1:]}"
                    )
                if twice := seen.intersection(some.ids):
                    raise HistobenchError(f"patch {min(twice)} comes twice in {about['dataset']}")
                seen.update(some.ids)
                progress.total, shape = tally.total, some.images.shape[1:]
                start = count[some.split]
                for position, image in enumerate(some.images, start):
                    writers[some.split][position % len(writers[some.split])].write(image.tobytes())
                pending.append(_rows(some, start))
                if len(pending) == ROW_GROUP:
                    rows.write_table(pa.Table.from_batches(pending))
                    pending.clear()
                count[some.split] += len(some.ids)
                tumour[some.split] += int(some.labels.sum())
                groups[some.split].update(some.groups)
                progress.update(len(some.ids))
            rows.write_table(pa.Table.from_batches(pending, SCHEMA))
        for split in SPLITS:
            if not 0 < tumour[split] < count[split]:
                raise HistobenchError(
                    f"{about['dataset']}: expected patches of both classes in the {split} part, found {count[split]} "
                    f"patches, {tumour[split]} of them tumour; excluded: "
                    f"{'; '.join(tally.in_words(tally.excluded)) or 'none'}; ignored: "
                    f"{'; '.join(tally.in_words(tally.ignored)) or 'nothing'}"
                )
    named = {split: groups[split] - {""} for split in SPLITS}
    write_json(
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
                for split in SPLITS
            },
            "groups_on_both_sides": len(set().union(*named.values())) < sum(map(len, named.values())),
            "excluded": dict(sorted(tally.excluded.items())),
            "ignored": dict(sorted(tally.ignored.items())),
            "notes": dict(sorted(tally.notes.items())),
            "examples": dict(sorted(tally.examples.items())),
        },
    )
    for what in ("excluded", "ignored", "notes"):
        for words in tally.in_words(getattr(tally, what)):
            log.info("%s: %s", what, words)
    log.info("wrote %s: %s patches", folder, ", ".join(f"{count[split]} {split}" for split in SPLITS))


def _rows(some: Patches, start: int) -> pa.RecordBatch:
    n = len(some.ids)
    # Contiguous planes: twenty times as fast as interleaved pixels.
    planes = some.images.reshape(n, -1, 3).transpose(0, 2, 1).astype(np.float32, order="C")
    means = planes.mean(axis=2)
    planes -= means[..., None]
    deviations = np.sqrt(np.einsum("ncp,ncp->nc", planes, planes) / planes.shape[2])
    columns: list[Any] = [
        pa.array([some.split] * n, pa.string()).dictionary_encode(),
        np.arange(start, start + n, dtype=np.int32),
        some.ids,
        some.groups,
        some.labels,
        *some.places.T,
        *means.T,
        *deviations.T,
    ]
    return pa.RecordBatch.from_arrays(
        [pa.array(column).cast(field.type) for column, field in zip(columns, SCHEMA, strict=True)], schema=SCHEMA
    )
