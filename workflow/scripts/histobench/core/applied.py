"""The `apply` of a configuration: which exported model scores which slides, or patches, of one's own.

Imported by the Snakefile, so it opens no slide and no image.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from histobench.core import averaged, devices, paths
from histobench.core.datasets import upstream
from histobench.core.errors import HistobenchError, named

# Formats of OpenSlide whose slide is one file, or has one that stands for it; DICOM is not: it has a file for each
# level.
SLIDES = frozenset((".svs", ".tif", ".tiff", ".ndpi", ".vms", ".vmu", ".scn", ".mrxs", ".svslide", ".bif", ".czi"))
# Plain images, which do not say how large their pixels are and are read as a whole.
PLAIN = frozenset((".png", ".jpg", ".jpeg", ".bmp", ".webp"))


@dataclass(frozen=True)
class Applied:
    """What a block of `apply` says.

    Attributes
    ----------
    name : of the block.
    model : the data set whose exported model scores, or the folder of one.
    slides : a slide, or a folder of slides; "" if something else is scored.
    patches : a folder of images, an archive of one, or an HDF5 file as of PCam; "" if slides are scored.
    simulated : seed of a slide that is simulated; None if something else is scored.
    stride : pixels of the model between neighbouring patches of a slide; None for the side of a patch.
    microns_per_pixel : of slides that do not say it; None if nobody does.
    d4 : whether scores are means over the eight flips and turns of a patch.
    labels : a CSV file with labels; "" for none.
    device : on which it runs.
    """

    name: str
    model: str
    slides: str = ""
    patches: str = ""
    simulated: int | None = None
    stride: int | None = None
    microns_per_pixel: float | None = None
    d4: bool = False
    labels: str = ""
    device: str = "cpu"

    @property
    def source(self) -> Path:
        """Where its slides, or patches, lie."""
        return Path(self.slides or self.patches)


def applied(name: str, block: Mapping[str, Any], known_devices: Mapping[str, Mapping[str, Any]]) -> Applied:
    """Return what a block of `apply` says; refuse one that contradicts itself."""
    where = f"configuration: apply.{name}"
    if len(given := [key for key in ("slides", "patches", "simulate") if key in block]) != 1:
        raise HistobenchError(
            f"{where}: expected either `slides` or `patches`, found {' and '.join(given) or 'neither'}"
        )
    if "patches" in block and (foreign := sorted({"stride", "microns_per_pixel"} & set(block))):
        raise HistobenchError(f"{where}: {' and '.join(foreign)} is for slides; patches are scored as they are")
    device = block.get("device", Applied.device)
    if devices.environment(named(f"apply.{name}.device", device, known_devices)) != "tensorflow":
        raise HistobenchError(
            f"{where}.device: {device} trains in an environment of its own, in which no exported model is opened; name "
            "another device"
        )
    places = {key: str(Path(block[key]).expanduser()) for key in ("slides", "patches", "labels") if key in block}
    return Applied(
        name,
        str(Path(block["model"]).expanduser()),
        simulated=block["simulate"]["seed"] if "simulate" in block else None,
        stride=block.get("stride"),
        microns_per_pixel=block.get("microns_per_pixel"),
        d4=averaged.D4 in block.get("average_scores", ()),
        device=device,
        **places,
    )


def slides(block: Applied) -> dict[str, str]:
    """Return the paths of the slides of a block by their names: those below the folder, without their suffixes.

    Raises
    ------
    HistobenchError
        if there is none, two have one name, or a name cannot stand in a path of the results.
    """
    if block.simulated is not None:
        path = paths.SIMULATED_SLIDE.format(seed=block.simulated)
        return {Path(path).stem: path}
    where, source = f"configuration: apply.{block.name}.slides", block.source
    if not source.exists():
        raise HistobenchError(f"{where}: there is no {source}; expected a slide, or a folder of slides")
    if source.is_file():
        folder, files = source.parent, [source.name]
    else:
        folder, files = source, upstream.walk(source)[0]
    found: dict[str, str] = {}
    for file in files:
        stem, suffix = os.path.splitext(file)  # noqa: PTH122  # a Path would lose what stands before
        if suffix.lower() not in SLIDES | PLAIN and not source.is_file():
            continue
        if set(stem) & set("{}<>*?\\\n") or stem.startswith("-"):
            raise HistobenchError(
                f"{where}: {folder / file}: its name has characters that Snakemake reads otherwise; rename it"
            )
        if stem in found:
            raise HistobenchError(
                f"{where}: {found[stem]} and {folder / file} have one name, {stem}, under which both would be written; "
                "rename one"
            )
        found[stem] = str(folder / file)
    if not found:
        raise HistobenchError(
            f"{where}: expected slides in {source}, found none; they end in {', '.join(sorted(SLIDES | PLAIN))}"
        )
    # A result of "a" would be a folder in which that of "a/b" lies.
    if within := next((name for name in found for other in found if other.startswith(f"{name}/")), None):
        raise HistobenchError(f"{where}: {found[within]} and a folder have one name; rename one")
    return found
