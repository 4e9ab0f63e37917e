"""An unmatched back projector that undoes the blur where it can: few iterations do then.

Source: Guo et al. 2020, doi:10.1038/s41587-020-0560-x.
"""

from __future__ import annotations

from math import log
from typing import TYPE_CHECKING

import numpy as np
from scipy import fft

from luxdask.deconv.fourier_blur import FourierBlur

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from luxdask.deconv.blur import Blur

_FWHM = 2 * np.sqrt(2 * log(2))
_STEEPNESS = 10
_WIDENING = 2
"""The back projector reaches this many times as far as the point-spread function."""


def wiener_butterworth(blur: Blur) -> FourierBlur:
    """A blur whose `forward` is the back projector of `blur`; its kernel has values below 0.

    A Wiener filter times a Butterworth filter that ends where the point-spread function resolves
    nothing any more: at one period per full width at half maximum, in every direction.
    """
    psf = blur.kernel()
    shape = [fft.next_fast_len(4 * _WIDENING * (n // 2) + 1, real=True) for n in psf.shape]
    padded = np.zeros(np.maximum(shape, psf.shape))
    padded[tuple(slice(n) for n in psf.shape)] = psf
    spectrum = fft.rfftn(np.roll(padded, [-(n // 2) for n in psf.shape], (0, 1, 2)))
    back = spectrum.conj() * _gain(np.abs(spectrum), _frequency(psf, padded.shape))
    return FourierBlur(
        _middle(fft.irfftn(back, padded.shape), [_WIDENING * (n // 2) for n in psf.shape])
    )


def _gain(strength: NDArray[np.float64], frequency: NDArray[np.float64]) -> NDArray[np.float64]:
    """Wiener times Butterworth, over the spectrum's own strength; `frequency` 1 is the cut-off."""
    at_cutoff = np.exp(-0.5 * (2 * np.pi / _FWHM) ** 2)  # a Gaussian's strength there
    wiener = 1 / (strength**2 + at_cutoff**2)
    steep = (wiener_at := 1 / (2 * at_cutoff)) / at_cutoff
    assert wiener_at > 1
    return np.asarray(wiener / np.sqrt(1 + steep**2 * frequency ** (2 * _STEEPNESS)))


def _frequency(psf: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Periods per full width at half maximum of the Gaussian that has the covariance of `psf`."""
    axes = [np.fft.fftfreq(n) for n in shape[:2]] + [np.fft.rfftfreq(shape[2])]
    at = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    return np.asarray(_FWHM * np.sqrt(np.einsum("...i,ij,...j", at, covariance_of(psf), at)))


def covariance_of(psf: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3, 3) in voxels², about the centre of mass."""
    axes = [np.arange(n) - n // 2 for n in psf.shape]
    at = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    share = psf.reshape(-1, 1) / psf.sum()
    centred = at - (at * share).sum(axis=0)
    return np.asarray((centred * share).T @ centred)


def _middle(values: NDArray[np.float64], radius: list[int]) -> NDArray[np.float64]:
    """The part around the first voxel, which becomes the middle."""
    radius = [min(r, (n - 1) // 2) for r, n in zip(radius, values.shape, strict=True)]
    moved = np.roll(values, radius, (0, 1, 2))
    return np.asarray(moved[tuple(slice(2 * r + 1) for r in radius)])
