"""Point-spread functions as operators: what a view does to the sample, and its adjoint.

Beyond the array there is no light: `forward` and `backward` are convolutions with zeros outside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from luxdask.deconv.fourier_blur import FourierBlur
from luxdask.deconv.lattice import gaussian_lines
from luxdask.deconv.line_blur import LineBlur
from luxdask.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from luxdask.deconv.workspace import Workspace
    from luxdask.model.geometry import Shape


class Blur(Protocol):
    """One view's point-spread function on the voxels of the output."""

    @property
    def radius_vx(self) -> Shape:
        """Voxels (z, y, x) that light is carried along each axis, at most."""

    def kernel(self) -> NDArray[np.float64]:
        """The point-spread function: odd shape, its origin in the middle, sum 1."""

    def scratch_bytes(self, shape: Shape) -> int:
        """Memory that `forward` or `backward` takes besides its arguments, at most."""

    def forward(self, image: Any, out: Any, work: Workspace | None = None) -> None:
        """`image` as the view sees it, into `out`; both (Z, Y, X) float32, not the same array."""

    def backward(self, image: Any, out: Any, work: Workspace | None = None) -> None:
        """The adjoint of `forward`."""


def gaussian_blur(covariance_vx: NDArray[np.float64]) -> Blur:
    """A Gaussian of any orientation, for voxels of any shape.

    covariance_vx : (3, 3) in voxels², axes (z, y, x); the covariance of the result is exactly this.
    Where its widths are below about 3 voxels (full width at half maximum) and it is oblique, the
    shape differs a little from a Gaussian's. On a GPU it is applied by Fourier transforms.
    Raises `ConfigError` where the covariance is not symmetric and positive definite.
    """
    covariance = np.asarray(covariance_vx, dtype=np.float64)
    if not _is_covariance(covariance):
        raise ConfigError(
            f"a point-spread function has the covariance {covariance.tolist()} voxels²; it must "
            "be a symmetric, positive definite 3 x 3 matrix: check the widths and the voxel size"
        )
    return LineBlur(gaussian_lines(covariance))


def sampled_blur(psf: NDArray[Any]) -> Blur:
    """A measured point-spread function (Z, Y, X) in output voxels.

    Its origin is voxel ``n // 2`` of each axis. Values below 0 count as 0, the sum is made 1.
    Raises `ConfigError` where there is no light in it, or a value is not finite.
    """
    values = np.asarray(psf, dtype=np.float64)
    if values.ndim != 3 or not np.isfinite(values).all() or not (values > 0).any():
        raise ConfigError(
            f"a measured point-spread function of shape {values.shape} must be a volume (z, y, x) "
            "of finite values, some of them above 0"
        )
    return FourierBlur(_odd(values.clip(min=0)))


def _is_covariance(matrix: NDArray[np.float64]) -> bool:
    if matrix.shape != (3, 3) or not np.isfinite(matrix).all():
        return False
    if not np.allclose(matrix, matrix.T, rtol=0, atol=1e-9 * np.abs(matrix).max()):
        return False
    values = np.linalg.eigvalsh(matrix)
    return bool(values[0] > 1e-9 * values[-1])


def _odd(psf: NDArray[np.float64]) -> NDArray[np.float64]:
    """With a plane of zeros behind each axis of even length, so that voxel n // 2 is the middle."""
    return np.pad(psf, [(0, 1 - n % 2) for n in psf.shape])
