"""Invasive ductal carcinoma: PNG patches by patient and class in one zip, with a published split of the patients."""

import io
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt
from PIL import Image

from histobench.core import splitting
from histobench.core.datasets import Patches, Tally, chunk
from histobench.core.errors import HistobenchError
from histobench.core.formats import IDC_ARCHIVE, IDC_PATIENTS, Dataset
from histobench.core.prepared import SPLITS

PATCH = re.compile(
    r"(?P<patient>[^/]+)/(?P<folder>[^/]+)/(?P<stem>(?P<owner>[^_/]+)_idx\d+_x(?P<x>\d+)_y(?P<y>\d+)_class(?P<label>[^/]+))\.png"
)
# What an operating system leaves in an archive.
LITTER = {"__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini"}

EDGE = "not {0}x{0} px, at the edge of the tissue"
UNLISTED = "patient not in the published split"


def read(dataset: Dataset, folder: Path, tally: Tally) -> Iterator[Patches]:
    """Yield the patches of the archive, split as the data set says; see :func:`histobench.core.datasets.read`."""
    source = dataset.source
    path = folder / IDC_ARCHIVE
    try:
        archive = zipfile.ZipFile(path)
    except FileNotFoundError:
        raise HistobenchError(f"{path}: not found; expected the upstream archive of IDC") from None
    except zipfile.BadZipFile as error:
        raise HistobenchError(
            f"{path}: expected a zip archive that is whole, found: {error}. Delete it and start again"
        ) from error
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
                dataset.split, [match["stem"] for _, match in kept], [match["patient"] for _, match in kept]
            )
            by_name = {entry.filename: split for (entry, _), split in zip(kept, drawn, strict=True)}
            splits = [by_name.get(entry.filename, "train") for entry, _ in entries]
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
        if LITTER & set(PurePosixPath(name).parts) or PurePosixPath(name).name.startswith("._"):
            tally.ignored["left by an operating system"] += 1
            continue
        match = PATCH.fullmatch("/".join(name.split("/")[-3:]))
        if match is None:
            if name.endswith(".png"):
                raise HistobenchError(
                    f"{path}, entry {name!r}: expected <patient>/<0|1>/<patient>_idx5_x<X>_y<Y>_class<0|1>.png"
                )
            tally.ignored["not a PNG"] += 1
            continue
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
            tally.ignored["second copy of a patch"] += 1
            continue
        seen[match["stem"]] = info
        entries.append((info, match))
    return sorted(entries, key=lambda entry: entry[0].header_offset)


def _published(folder: Path, patients: set[str], tally: Tally, *, complete: bool) -> dict[str, str]:
    """Return the split of each patient by the published lists."""
    split_of: dict[str, str] = {}
    for split, name in IDC_PATIENTS.items():
        path = folder / name
        if not path.is_file():
            raise HistobenchError(f"{path}: not found; expected the published list of {split} patients")
        for line, text in enumerate(path.read_text(encoding="utf-8").split(), start=1):
            patient = text.removesuffix(".png").split("_")[0]
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
    tally.notes["listed patients without patches"] = len(absent)
    tally.notes["patients in the split"] = len(split_of) - len(absent)
    tally.notes["patients not in the published split"] = len(patients - set(split_of))
    return split_of


def _size(path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> tuple[int, int]:
    """Return (width, height) from the PNG's header."""
    try:
        with archive.open(entry) as file, Image.open(file) as image:
            return image.size
    except (OSError, SyntaxError, zipfile.BadZipFile, zlib.error) as error:
        raise HistobenchError(f"{path}, entry {entry.filename!r}: expected a PNG, found: {error}") from error


def _decode(
    path: Path,
    archive: zipfile.ZipFile,
    entries: list[tuple[zipfile.ZipInfo, re.Match[str]]],
    splits: list[str | None],
    size: int,
    tally: Tally,
) -> Iterator[Patches]:
    waiting: dict[str, list[tuple[npt.NDArray[np.uint8], re.Match[str]]]] = {split: [] for split in SPLITS}
    for (entry, match), split in zip(entries, splits, strict=True):
        if split is None:
            tally.excluded[UNLISTED] += 1
            continue
        try:
            with Image.open(io.BytesIO(archive.read(entry))) as image:
                pixels = np.asarray(image.convert("RGB"))
        except (OSError, SyntaxError, ValueError, zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise HistobenchError(
                f"{path}, entry {entry.filename!r}: expected a PNG that is whole, found: {error}. "
                "Delete the archive and start again: it is downloaded anew"
            ) from error
        if pixels.shape != (size, size, 3):
            tally.excluded[EDGE.format(size)] += 1
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
