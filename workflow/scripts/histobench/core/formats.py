"""The formats of patches, what of them is published, and the sources and data sets that a configuration makes of them.

How the files of a format are read is a module of :mod:`histobench.core.datasets` that has the format's name.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from histobench.core.files import Remote
from histobench.core.own_patches import Own
from histobench.core.prepared import SPLITS, WHOLE
from histobench.core.selections import Selection


@dataclass(frozen=True)
class Format:
    """A format of patches, and the public data set that is published in it.

    Attributes
    ----------
    files : the published files by name; none where patches are one's own, in a folder that the configuration names.
    expected : counts that these files hold: patches by split where every split has files of its own; else "patches" and
        "patients".
    shares : where the files are not by split, the share of all patches in each published split, in so far as patients
        have equally many.
    patch_size : height and width of a patch in pixels; 0 where the configuration says it.
    split : the published split in print.
    can_be_split : whether the configuration can have another split drawn.
    slide_files : those of `files` that a source can do without (`slide_metadata: false`).
    centre : height and width in pixels of the central square that alone decides the label; 0 where the whole patch
        does.
    downsample : pixels of the slide, in which places are given, in a pixel of a patch. PCam's patches are of level 2 of
        a slide, their places in pixels of level 0; with IDC both are in pixels of the reduced image.
    distinct : patches of each published split that are distinct pixel for pixel, as published.
    simulate : the keys of a source's `simulate` beside its seed: dict for numbers by split, int for a number; none
        where the format cannot be simulated.
    simulated : returns `expected` and `shares` of the files that `simulate` makes.
    """

    split: str
    files: Mapping[str, Remote] = field(default_factory=dict)
    expected: Mapping[str, int] = field(default_factory=dict)
    shares: Mapping[str, float] = field(default_factory=dict)
    patch_size: int = 0
    can_be_split: bool = True
    slide_files: frozenset[str] = frozenset()
    centre: int = 0
    downsample: float = 1
    distinct: Mapping[str, int] = field(default_factory=dict)
    simulate: Mapping[str, type] = field(default_factory=dict)
    simulated: Callable[[Mapping[str, Any]], tuple[dict[str, int], dict[str, float]]] = lambda _: ({}, {})


def pcam_file(split: str, part: str) -> str:
    """Return the name of PCam's file with a part of a split: "x" (patches), "y" (labels) or "meta" (slides)."""
    return f"camelyonpatch_level_2_split_{split}_{part}.{'csv' if part == 'meta' else 'h5.gz'}"


# PCam: Veeling et al. 2018, arXiv:1806.03962, CC0. The md5 list in the authors' README swaps valid and test; these are
# the digests of the files themselves. Split, part, bytes, md5, sha256.
_PCAM = """
train x 6421353462 1571f514728f59376b705fc836ff4b63 d619e741468a7ab35c7e4a75e6821b7e7e6c9411705d45708f2a0efc8960656c
train y 21378 35c2d7259d906cfc8143347bb8e05be7 b74126d2c01b20d3661f9b46765d29cf4e4fba6faba29c8e0d09d406331ab75a
train meta - 5a3dd671e465cfd74b5b822125e65b0a -
valid x 805965320 d5b63470df7cfa627aeec8b9dc0c066e f82ee1670d027b4ec388048d9eabc2186b77c009655dae76d624c0ecb053ccb2
valid y 3038 2b85f58b927af9964a4c15b8f7e8f179 ce1ae30f08feb468447971cfd0472e7becd0ad96d877c64120c72571439ae48c
valid meta - 67589e00a4a37ec317f2d1932c7502ca -
test x 800875929 d8c2d60d490dbd479f8199bdfa0cf6ec 79174c2201ad521602a5888be8f36ee10875f37403dd3f2086caf2182ef87245
test y 3040 60a7035772fbdb7f34eb86d4420cf66a 0a522005fccc8bbd04c5a117bfaf81d8da2676f03a29d7499f71d0a0bd6068ef
test meta - 3455fd69135b66734e1008f3af684566 -
"""
_ZENODO = "https://zenodo.org/records/2546921/files"


def _pcam_files() -> dict[str, Remote]:
    files = {}
    for line in _PCAM.split("\n")[1:-1]:
        split, part, *facts = line.split()
        size, md5, sha256 = (None if fact == "-" else fact for fact in facts)
        name = pcam_file(split, part)
        files[name] = Remote(f"{_ZENODO}/{name}?download=1", int(size) if size else None, sha256, md5)
    return files


# IDC: Cruz-Roa et al. 2014; the split and the archive are those of Janowczyk and Madabhushi 2016. No digest of the
# archive is published.
IDC_ARCHIVE = "IDC_regular_ps50_idx5.zip"
IDC_PATIENTS = {"train": "cases_train.txt", "valid": "cases_val.txt", "test": "cases_test.txt"}
_IDC_SHA256 = {
    "train": "e20c87ea26a3b1b048ba09aa7b2188880c8797d1ea1add77f9fa4e4790b73409",
    "valid": "e68089ccef2e35e8a5b8b5b6200fa4f5440b87246aecf7daefcfce344aa6eb98",
    "test": "8a4d9910a0591cb5dcbc32317d3870433985d22105902cc739f4bf4c8e84e46f",
}
_CASES = "https://raw.githubusercontent.com/choosehappy/public/master/DL%20tutorial%20Code/6-idc"


def _simulated_idc(simulate: Mapping[str, Any]) -> tuple[dict[str, int], dict[str, float]]:
    patients = sum(simulate["patients"].values())
    shares = {split: number / patients for split, number in simulate["patients"].items()}
    return {"patches": patients * simulate["patches_per_patient"], "patients": patients}, shares


FORMATS = {
    "pcam": Format(
        split="by slide",
        files=_pcam_files(),
        expected={"train": 262_144, "valid": 32_768, "test": 32_768},
        patch_size=96,
        can_be_split=False,
        slide_files=frozenset(pcam_file(split, "meta") for split in SPLITS),
        centre=32,
        downsample=4,
        distinct={"train": 220_025, "valid": 28_108, "test": 29_383},
        simulate={"patches": dict, "slides": dict},
        simulated=lambda simulate: (dict(simulate["patches"]), {}),
    ),
    "idc": Format(
        split="by patient",
        files={
            IDC_ARCHIVE: Remote(f"http://andrewjanowczyk.com/wp-static/{IDC_ARCHIVE}"),
            **{file: Remote(f"{_CASES}/{file}", sha256=_IDC_SHA256[split]) for split, file in IDC_PATIENTS.items()},
        },
        expected={"patches": 277_524, "patients": 279},
        shares={"train": 84 / 279, "valid": 29 / 279, "test": 49 / 279},  # the other patients are in no list
        patch_size=50,
        simulate={"patients": dict, "patches_per_patient": int},
        simulated=_simulated_idc,
    ),
    "folder": Format(split="given by folders"),
    "table": Format(split="given by the table"),
}


@dataclass(frozen=True)
class Source:
    """Where patches come from: upstream files, shared by the data sets that are made of them.

    Attributes
    ----------
    name, format : the configuration's name, and one of `FORMATS`.
    folder : where its files lie, relative to the working directory; of patches of one's own also the path of an archive
        or of a table.
    files : upstream files by name, with address, size and digests; empty for patches of one's own.
    expected, shares, patch_size : see :class:`Format`.
    patches : "published", "subset", "simulated" or "own": what tables call them.
    simulate : arguments of the simulation, or None.
    own : how patches of one's own are told apart, or None.
    """

    name: str
    format: str
    folder: str
    files: Mapping[str, Remote]
    expected: Mapping[str, int]
    shares: Mapping[str, float]
    patch_size: int
    patches: str
    simulate: Mapping[str, Any] | None = None
    own: Own | None = None

    def same_patches(self, other: "Source") -> bool:
        """Say whether two sources are of the same patches, whatever they are called."""
        return self == other or self._content() == other._content()

    def _content(self) -> Any:
        if self.simulate is not None:
            return self.format, dict(self.simulate)
        if self.files:
            return dict(self.files)
        root = self.own.root if self.own and self.own.root else self.folder
        return Path(root).expanduser().resolve()

    @property
    def downsample(self) -> float:
        """See :class:`Format`; of patches of one's own the configuration says it."""
        return self.own.downsample if self.own else FORMATS[self.format].downsample


@dataclass(frozen=True)
class Dataset:
    """A named data set: a source and how its patches are split.

    Attributes
    ----------
    split : "published", or a mapping: `by` ("patch" or "group"), the fractions `train`, `valid` and `test`, and `seed`;
        for a cross-validation `by`, `folds` and, unless each seed of a run draws its own, `seed`.
    selection : how it chooses from the patches of another data set, None if it has records of its own.
    """

    name: str
    source: Source
    split: str | dict[str, Any]
    selection: Selection | None = None

    @property
    def folds(self) -> int:
        """The number of folds of a cross-validation, 0 without."""
        return 0 if isinstance(self.split, str) else self.split.get("folds", 0)

    @property
    def subset_by(self) -> str:
        """The key by which a part of another's training patches is given, "" for all of them."""
        given = [key for key in ("train_fraction", "train_groups") if getattr(self.selection, key, None) is not None]
        return given[0] if given else ""

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts in which records of its own lie."""
        return (WHOLE,) if self.folds else SPLITS

    @property
    def leaky(self) -> bool:
        """Whether patches of one slide or patient may stand on both sides of the split."""
        return not isinstance(self.split, str) and self.split["by"] == "patch"

    def definition(self) -> dict[str, Any]:
        """Return what the prepared patches depend on besides the content of the files, in plain values.

        Snakemake notices changes of plain values alone, not those of an object.
        """
        found = asdict(self)
        found["source"]["files"] = list(self.source.files)  # their addresses and digests are the downloads'
        if self.source.own:
            del found["source"]["own"]["downsample"]  # the audit's
        if self.folds and not self.selection:
            found["split"] = WHOLE  # into which folds the patches come is said by each of these
        return {key: value for key, value in found.items() if key != "selection" or value}

    def differences(self, before: Mapping[str, Any] | None) -> dict[str, str]:
        """Return, by key and in words, what has another value now than in the definition that patches were prepared by.

        Nothing if that is not known.
        """
        if before is None:
            return {}
        written = json.loads(json.dumps(self.definition()))
        then, now = (
            {**each["source"], "split": each["split"], **(each.get("selection") or {})} for each in (before, written)
        )
        return {key: f"{key} {then.get(key)!r}, now {value!r}" for key, value in now.items() if then.get(key) != value}

    def counts(self) -> dict[str, int]:
        """Return about how many patches each split has; nothing where that is unknown until they are prepared."""
        counts = dict(self.source.expected)
        if "patches" in counts:
            if self.folds:
                counts = {WHOLE: counts["patches"]}
            else:
                shares = self.source.shares if isinstance(self.split, str) else self.split
                counts = {split: round(counts["patches"] * shares[split]) for split in SPLITS}
        return self.selection.counts(counts) if self.selection and counts else counts
