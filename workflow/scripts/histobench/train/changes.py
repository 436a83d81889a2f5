"""Changes of patches that leave a pathologist's diagnosis as it is, under which the scores of a network are looked at.

Each is a function from patches, (n, side, side, 3) uint8, to patches of the same shape and type. All patches change in
the same way, as if another laboratory had stained and scanned the whole test set.
"""

import io
from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from histobench.core.changes import FLIPS_AND_TURNS, UNCHANGED
from histobench.train.augmentation import KINDS, STAIN

Images = npt.NDArray[np.uint8]

QUALITIES = (90, 70, 50)
SIGMAS = (1, 2)  # pixels


def turned(images: Images, *, number: int) -> Images:
    """Return patches that are flipped and turned, one of the eight ways of the augmentation "d4" by its number."""
    draws = np.full(len(images), number)
    return np.asarray(KINDS["d4"].apply(images, draws))


def stained(images: Images, *, kind: str, direction: float) -> Images:
    """Return patches with more or less of each stain, by the scale of an augmentation of `STAIN`.

    Its shift stays out: it would tint glass without stain, which stays as bright as it is in any laboratory.

    Parameters
    ----------
    kind : one of `STAIN`.
    direction : 1 for the most stain that the augmentation gives a patch, -1 for the least, 0 for no change.
    """
    draws = np.array([3 * [direction] + 3 * [0.0]])
    mixes = KINDS[kind].prepare(draws, images.shape[1:]).astype(KINDS[kind].dtype)
    changed = np.asarray(KINDS[kind].apply(images, mixes))
    return np.clip(np.rint(changed), 0, 255).astype(np.uint8)  # type: ignore[no-any-return]


def compressed(images: Images, *, quality: int) -> Images:
    """Return patches as they come out of JPEG files of this quality, with half the resolution of colours (4:2:0)."""
    result = np.empty_like(images)
    for number, image in enumerate(images):
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=quality, subsampling="4:2:0")
        result[number] = np.asarray(Image.open(file))
    return result


def blurred(images: Images, *, sigma: float) -> Images:
    """Return patches out of focus, by Pillow's Gaussian blur with this standard deviation in pixels."""
    blur = ImageFilter.GaussianBlur(sigma)
    return np.stack([np.asarray(Image.fromarray(image).filter(blur)) for image in images])


def _as_they_are(images: Images) -> Images:
    return images


CHANGES: dict[str, Callable[[Images], Images]] = {
    UNCHANGED: _as_they_are,
    **{name: partial(turned, number=number) for number, name in enumerate(FLIPS_AND_TURNS, 1)},
    **{
        f"stain {100 * scale:.0f} % {way}": partial(stained, kind=kind, direction=direction)
        for kind, (scale, _) in STAIN.items()
        for direction, way in ((-1, "weaker"), (1, "stronger"))
    },
    **{f"JPEG, quality {quality}": partial(compressed, quality=quality) for quality in QUALITIES},
    **{f"blur of {sigma} px": partial(blurred, sigma=sigma) for sigma in SIGMAS},
}
"""By their names, in the order of the table."""
