"""Invasive ductal carcinoma: PNG patches by patient and class in one zip, with a published split of the patients."""

import logging
import re
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from histobench.core import splitting
from histobench.core.datasets import Patches, Tally, archives, chunk, images, upstream
from histobench.core.errors import HistobenchError
from histobench.core.formats import IDC_ARCHIVE, IDC_PATIENTS, Dataset
from histobench.core.prepared import SPLITS, WHOLE

log = logging.getLogger(__name__)

PATCH = re.compile(
    r"(?P<patient>[^/]+)/(?P<folder>[^/]+)/"
    r"(?P<stem>(?P<owner>[^_/]+)_idx\d+_x(?P<x>\d{1,9})_y(?P<y>\d{1,9})_class(?P<label>[^/]+))\.[^/.]+"
)

EDGE = "not {0}x{0} px, at the edge of the tissue"
UNLISTED = "patient not in the published split"


def read(dataset: Dataset, folder: Path, tally: Tally) -> Iterator[Patches]:
    """Yield the patches of the archive, split as the data set says; see :func:`histobench.core.datasets.read`."""
    source = dataset.source
    path = folder / IDC_ARCHIVE
    if not path.is_file():
        raise HistobenchError(f"{path}: not found; expected the upstream archive of IDC")
    with images.reading(str(path), "a zip archive that is whole", "Delete it and start again"):
        archive = zipfile.ZipFile(path)
    with archive:
        entries = _entries(path, archive.infolist(), tally)
        patients = {match["patient"] for _, match in entries}
        for what, found in (("patches", len(entries)), ("patients", len(patients))):
            if what in source.expected and found != source.expected[what]:
                raise HistobenchError(
                    f"{path}: expected {source.expected[what]} {what} (sources.{source.name}.expected.{what}), "
                    f"found {found}"
                )
        tally.total = len(entries)
        if isinstance(dataset.split, str):
            split_of = _published(folder, patients, tally, complete=source.patches == "published")
            splits = [split_of.get(match["patient"]) for _, match in entries]
        else:
            kept = [
                (entry, match) for entry, match in entries if _size(path, archive, entry) == 2 * (source.patch_size,)
            ]
            drawn = splitting.draw(
                dataset.split,
                [match["stem"] for _, match in kept],
                [match["patient"] for _, match in kept],
                [int(match["label"]) for _, match in kept],
            )
            by_name = {entry.filename: split for (entry, _), split in zip(kept, drawn, strict=True)}
            splits = [by_name.get(entry.filename, dataset.parts[0]) for entry, _ in entries]
        yield from _decode(path, archive, entries, splits, source.patch_size, tally)


def _entries(path: Path, infos: Iterable[zipfile.ZipInfo], tally: Tally) -> list[tuple[zipfile.ZipInfo, re.Match[str]]]:
    """Return the archive's patches, each once, in the archive's order."""
    seen: dict[str, zipfile.ZipInfo] = {}
    entries = []
    # A copy nested in a folder may stand before the patch itself: the shallowest counts.
    for info in sorted(infos, key=lambda info: (info.filename.count("/"), info.header_offset)):
        name = info.filename
        if name.startswith(("/", "\\")) or ":" in name or ".." in re.split(r"[/\\]", name):
            raise HistobenchError(f"{path}, entry {name!r}: leaves the archive's folder; this is not the upstream file")
        if info.is_dir():
            continue
        archives.check_packing(path, info)
        if upstream.is_litter(PurePosixPath(name).parts):
            tally.count(tally.ignored, upstream.LITTER_IN_WORDS, name)
            continue
        if PurePosixPath(name).suffix.lower() not in images.SUFFIXES:
            tally.count(tally.ignored, "not an image", name)
            continue
        match = PATCH.fullmatch("/".join(name.split("/")[-3:]))
        if match is None:
            raise HistobenchError(
                f"{path}, entry {name!r}: expected <patient>/<0|1>/<patient>_idx5_x<X>_y<Y>_class<0|1>.png, "
                "X and Y of at most nine digits"
            )
        if match["owner"] != match["patient"]:
            raise HistobenchError(
                f"{path}, entry {name!r}: unknown patient: {match['patient']} by folder, {match['owner']} by name"
            )
        if match["label"] != match["folder"] or match["label"] not in ("0", "1"):
            raise HistobenchError(
                f"{path}, entry {name!r}: expected class 0 or 1, the same in folder and file name, "
                f"found {match['folder']} and {match['label']}"
            )
        if (first := seen.get(match["stem"])) is not None:
            if (first.CRC, first.file_size) != (info.CRC, info.file_size):
                raise HistobenchError(
                    f"{path}, entry {name!r}: a second copy of {first.filename!r} with other content; which one holds?"
                )
            tally.count(tally.ignored, "second copy of a patch", name)
            continue
        seen[match["stem"]] = info
        entries.append((info, match))
    if "not an image" in tally.ignored:
        log.warning("%s: ignored %s", path, "; ".join(tally.in_words(tally.ignored)))
    return sorted(entries, key=lambda entry: entry[0].header_offset)


def _published(folder: Path, patients: set[str], tally: Tally, *, complete: bool) -> dict[str, str]:
    """Return the split of each patient by the published lists."""
    split_of: dict[str, str] = {}
    for split, name in IDC_PATIENTS.items():
        path = folder / name
        if not path.is_file():
            raise HistobenchError(f"{path}: not found; expected the published list of {split} patients")
        for line, text in enumerate(upstream.text(path).splitlines(), start=1):
            if not (patient := text.strip().removesuffix(".png").split("_")[0]):
                continue
            if split_of.setdefault(patient, split) != split:
                raise HistobenchError(
                    f"{path}, line {line}: patient {patient} stands in the {split_of[patient]} list, too"
                )
    absent = sorted(set(split_of) - patients)
    if absent and complete:
        raise HistobenchError(
            f"{folder / IDC_ARCHIVE}: unknown patient {absent[0]}: listed in {IDC_PATIENTS[split_of[absent[0]]]}, "
            f"but the archive has no patch of it ({len(absent)} such patients)"
        )
    for split, name in IDC_PATIENTS.items():
        if split not in (split_of.get(patient) for patient in patients):
            raise HistobenchError(
                f"{folder / name}: expected patients of {IDC_ARCHIVE}, such as {min(patients, default='none')}, "
                "found none"
            )
    tally.notes["patients in the split"] = len(split_of) - len(absent)
    for what, names in (
        ("listed patients without patches", absent),
        ("patients not in the published split", sorted(patients - set(split_of))),
    ):
        tally.count(tally.notes, what, *names)
        if names:
            log.warning("%s: %d %s: %s", folder, len(names), what, ", ".join(names[:10]) + ", ..." * (len(names) > 10))
    return split_of


def _reading(path: Path, entry: zipfile.ZipInfo) -> AbstractContextManager[None]:
    advice = "Delete the archive and start again: it is downloaded anew"
    return images.reading(f"{path}, entry {entry.filename!r}", advice=advice)


def _size(path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> tuple[int, int]:
    with _reading(path, entry), archive.open(entry) as file:
        return images.size(file)


def _decode(
    path: Path,
    archive: zipfile.ZipFile,
    entries: list[tuple[zipfile.ZipInfo, re.Match[str]]],
    splits: list[str | None],
    size: int,
    tally: Tally,
) -> Iterator[Patches]:
    waiting: dict[str, list[tuple[npt.NDArray[np.uint8], re.Match[str]]]] = {split: [] for split in (*SPLITS, WHOLE)}
    for (entry, match), split in zip(entries, splits, strict=True):
        if split is None:
            tally.count(tally.excluded, UNLISTED, entry.filename)
            continue
        try:
            with _reading(path, entry):
                pixels = images.decode(archive.read(entry), size, entry.filename, tally)
        except images.AnotherSizeError as found:
            tally.count(tally.excluded, EDGE.format(size), f"{entry.filename}, {found}")
            continue
        waiting[split].append((pixels, match))
        if len(waiting[split]) == chunk(size):
            yield _patches(split, waiting[split])
            waiting[split] = []
    for split, rest in waiting.items():
        if rest:
            yield _patches(split, rest)


def _patches(split: str, some: list[tuple[npt.NDArray[np.uint8], re.Match[str]]]) -> Patches:
    return Patches(
        split,
        np.stack([pixels for pixels, _ in some]),
        np.array([int(match["label"]) for _, match in some], np.uint8),
        [match["stem"] for _, match in some],
        [match["patient"] for _, match in some],
        np.array([(int(match["x"]), int(match["y"])) for _, match in some], np.int32),
    )
