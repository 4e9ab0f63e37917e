"""A blur that is any array, by real Fourier transforms, on the CPU or a GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import fft

from luxdask.array.backend import is_device, namespace

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from luxdask.deconv.workspace import Workspace
    from luxdask.model.geometry import Shape

_AXES = (0, 1, 2)


class FourierBlur:
    """Convolution with an array of odd shape, whose origin is in its middle."""

    def __init__(self, psf: NDArray[np.float64]) -> None:
        """The sum of `psf` is made 1; values below 0 are left (back projectors have some)."""
        self._psf: NDArray[np.float64] = psf / psf.sum()
        self._spectra: dict[tuple[Any, ...], Any] = {}

    @property
    def radius_vx(self) -> Shape:
        """Half the size of the array."""
        z, y, x = (n // 2 for n in self._psf.shape)
        return z, y, x

    def kernel(self) -> NDArray[np.float64]:
        """The point-spread function."""
        return self._psf

    def scratch_bytes(self, shape: Shape) -> int:
        """Memory of one call; the transformed array, which is kept, is a sixth of it."""
        nz, ny, nx = self._transform_shape(shape)
        return 4 * 12 * nz * ny * (nx // 2 + 1)

    def forward(self, image: Any, out: Any, work: Workspace | None = None) -> None:
        """Convolution with the point-spread function."""
        self._convolve(image, out, work, adjoint=False)

    def backward(self, image: Any, out: Any, work: Workspace | None = None) -> None:
        """Convolution with the mirrored point-spread function."""
        self._convolve(image, out, work, adjoint=True)

    def _convolve(self, image: Any, out: Any, work: Workspace | None, *, adjoint: bool) -> None:
        xp = namespace(image)
        shape = self._transform_shape(image.shape)
        on_cpu: dict[str, Any] = {"workers": work.threads if work else 1, "overwrite_x": True}
        transforms, options = (xp.fft, {}) if is_device(image) else (fft, on_cpu)
        values = transforms.rfftn(image, shape, _AXES, **options)
        spectrum = self._spectrum(shape, xp)
        values *= spectrum.conj() if adjoint else spectrum
        nz, ny, nx = image.shape
        out[...] = transforms.irfftn(values, shape, _AXES, **options)[:nz, :ny, :nx]

    def _transform_shape(self, shape: Shape) -> Shape:
        """Large enough that light does not come around, and fast to transform."""
        z, y, x = (
            fft.next_fast_len(n + r, real=True) for n, r in zip(shape, self.radius_vx, strict=True)
        )
        return z, y, x

    def _spectrum(self, shape: Shape, xp: Any) -> Any:
        """Transform of the array with its origin at the first voxel; the latest one is kept."""
        key = (shape, xp.__name__)
        if key not in self._spectra:
            padded = np.zeros(np.maximum(shape, self._psf.shape), dtype=np.float32)
            padded[tuple(slice(n) for n in self._psf.shape)] = self._psf
            moved = np.roll(padded, [-r for r in self.radius_vx], _AXES)
            self._spectra = {key: xp.asarray(fft.rfftn(_wrapped(moved, shape), axes=_AXES))}
        return self._spectra[key]


def _wrapped(values: NDArray[np.float32], shape: Shape) -> NDArray[np.float32]:
    """A volume that repeats at the distances of `shape`, where the array is larger than that."""
    for axis, n in enumerate(shape):
        parts = range(0, values.shape[axis], n)
        total = np.zeros([*values.shape[:axis], n, *values.shape[axis + 1 :]], dtype=np.float32)
        for start in parts:
            part = np.take(values, range(start, min(start + n, values.shape[axis])), axis)
            total[(slice(None),) * axis + (slice(part.shape[axis]),)] += part
        values = total
    return values
