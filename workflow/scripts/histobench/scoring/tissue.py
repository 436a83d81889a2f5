"""Where on a slide there is tissue."""

import numpy as np
import numpy.typing as npt
from skimage.filters import threshold_otsu

# Of 255: glass is less saturated than the first, tissue of H&E more than the second (the least that CLAM's presets
# take for tissue, Lu et al. 2021, Nature Biomedical Engineering 5:555, is 8 to 20). Otsu's threshold is taken between
# them: on a slide that is full of tissue it would part pale from dark.
LOWEST, HIGHEST = 8, 20
# Share of a patch that must be tissue.
SHARE = 0.1


def mask(overview: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Return which pixels of a slide are tissue, (height, width): those more saturated than Otsu's threshold.

    Parameters
    ----------
    overview : (height, width, 3) RGB.
    """
    brightest = overview.max(axis=2).astype(np.int32)
    saturation = (brightest - overview.min(axis=2)) * 255 // np.maximum(brightest, 1)
    found = threshold_otsu(saturation) if np.ptp(saturation) else 0
    return np.asarray(saturation > np.clip(found, LOWEST, HIGHEST))


def share(tissue: npt.NDArray[np.bool_], corners: npt.NDArray[np.float64], side: float) -> npt.NDArray[np.float64]:
    """Return the share of tissue in squares of a slide, (n,).

    Parameters
    ----------
    tissue : see :func:`mask`.
    corners : (n, 2) x and y of upper left corners, in pixels of the mask.
    side : of the squares in pixels of the mask.
    """
    # Sums over all pixels above and to the left.
    sums = np.zeros((tissue.shape[0] + 1, tissue.shape[1] + 1), np.int64)
    sums[1:, 1:] = tissue.cumsum(0).cumsum(1)
    limits = np.array(tissue.shape[::-1])
    first = np.clip(np.floor(corners).astype(np.int64), 0, limits - 1)
    last = np.clip(np.ceil(corners + side).astype(np.int64), first + 1, limits)
    (left, top), (right, bottom) = first.T, last.T
    inside = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
    return np.asarray(inside / ((right - left) * (bottom - top)), np.float64)
