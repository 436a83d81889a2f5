"""Import of features that others have computed: the same files as `extract_features` leaves for a frozen backbone."""

import logging
import math
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from histobench.core import embeddings, prepared, source_files
from histobench.core.embeddings import joining
from histobench.core.errors import HistobenchError
from histobench.core.features import ABOUT, file_name
from histobench.core.files import atomic, digest, write_sealed

log = logging.getLogger(__name__)


def write(folder: Path, data: Path, path: Path, spec: dict[str, Any], content: str, code: str) -> None:
    """Write the features of all patches of a data set; the same files and the same patches give the same bytes.

    Files get their final names when all of them are complete.

    Parameters
    ----------
    folder : for the features, see :mod:`histobench.core.features`.
    data : folder of the prepared data set.
    path : of the table of embeddings.
    spec : see :meth:`histobench.core.study.Study.features_specification`.
    content : digest of the table's files, as they were when the plan was made; "" where it was not looked at.
    code : digest of the code that the result depends on.

    Raises
    ------
    HistobenchError
        see :func:`histobench.core.embeddings.read` and :func:`histobench.core.embeddings.joining.join`; if files change
        meanwhile.
    """
    settings = spec["embeddings"]
    source, names = embeddings.files(settings["format"], path)
    files = source_files.read(source, names)
    if content not in ("", files.sha256):
        raise HistobenchError(
            f"{path}: has changed since Snakemake looked at it and made its plan; start again when nothing writes there"
        )
    index, tally = joining.Index(data), joining.Tally()
    with ExitStack() as final:
        rows = final.enter_context(closing(embeddings.read(settings["format"], source, names, settings)))
        parts = {split: final.enter_context(atomic(folder / file_name(split))) for split in index.splits}
        with ExitStack() as stack:
            targets: dict[str, _Target] = {}
            for numbers, values in joining.join(index, files.while_unchanged(rows), tally):
                for split, own in index.splits.items():
                    if split not in targets:
                        targets[split] = stack.enter_context(_Target(parts[split], (len(own), tally.width)))
                    here = np.isin(numbers, own)
                    targets[split].write(index.positions[numbers[here]], values[here])
        digests = {split: digest(part) for split, part in parts.items()}
    write_sealed(
        folder / ABOUT,
        {
            "specification": spec,
            "embeddings": {"files": len(names), "sha256": files.sha256, **joining.used(tally)},
            # Those of a backbone that nobody here has seen.
            "backbone_parameters": 0,
            "random_backbone_calibrated": False,
            "sha256": digests,
            "extraction_seconds": {},
            "code": code,
            "inputs_sha256": {"patches": prepared.manifest(data)["patches_sha256"]},
        },
    )
    log.info(
        "%s: imported %d features of %d patches; %d of %d rows belong to none of them. The files say: %s",
        *(path, tally.width, len(index), tally.unused, tally.rows, joining.in_words(tally.found)),
    )


class _Target:
    """A NumPy file with the features of a split, (patches, features) float32, written in pieces in any order.

    By writing, not by mapping it: what is written to a mapped file counts as memory of the process.
    """

    def __init__(self, path: Path, shape: tuple[int, int]) -> None:
        np.lib.format.open_memmap(path, "w+", np.float32, shape)  # its header, and its size
        self._start, self._row = path.stat().st_size - 4 * math.prod(shape), 4 * shape[1]
        self._file = path.open("r+b")

    def __enter__(self) -> "_Target":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, positions: npt.NDArray[np.int64], values: npt.NDArray[np.float32]) -> None:
        """Write the features of patches, (k, features), at their positions, (k,)."""
        order = np.argsort(positions)
        for run in np.split(order, np.flatnonzero(np.diff(positions[order]) != 1) + 1):
            if len(run):
                self._file.seek(self._start + int(positions[run[0]]) * self._row)
                self._file.write(values[run].tobytes())
