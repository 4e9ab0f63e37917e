"""The settings of fusion as a plain value that tokenises and pickles small."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from luxdask.model.geometry import Vector

Width = float | tuple[tuple[str, float], ...] | None
"""One width in µm for all views, one per objective, or None: by the optics in the metadata."""


@dataclass(frozen=True, slots=True)
class PsfFile:
    """A measured point-spread function: its file, a checksum of its voxels, their size in µm."""

    path: str
    digest: str
    spacing_um: Vector


@dataclass(frozen=True, slots=True)
class DeconvolutionParams:
    """How views are deconvolved.

    Attributes
    ----------
    lateral_um, axial_um
        Full widths at half maximum of the Gaussian across and along the detection axis.
    file
        A measured point-spread function, which is used instead of the Gaussian.
    iterations, regularisation, order, back_projector, acceleration
        As `luxdask.deconv.richardson_lucy` takes them.
    background
        Grey value of the dark in all views; None: estimated for each view.
    """

    lateral_um: Width = None
    axial_um: Width = None
    file: PsfFile | None = None
    iterations: int = 10
    regularisation: float = 0.0
    order: str = "joint"
    back_projector: str = "matched"
    acceleration: bool = False
    background: float | None = None


@dataclass(frozen=True, slots=True)
class FusionParams:
    """How views are combined.

    Attributes
    ----------
    interpolation
        "linear" (trilinear) or "cubic" (Keys 1981).
    blend, blend_width_um
        Weigh views by the distance to their border; width None: a tenth of the view per axis.
    quality_strength
        Exponent on the image quality that weighs views per 64-voxel cell; None: not used.
    half_intensity
        Divide the result by two.
    device
        "cpu" or "cuda" (the GPU of the process that fuses); results agree within a grey value.
    deconvolution
        Views are deconvolved instead of averaged; None: they are not.
    """

    interpolation: str = "linear"
    blend: bool = False
    blend_width_um: float | None = None
    quality_strength: float | None = None
    half_intensity: bool = False
    device: str = "cpu"
    deconvolution: DeconvolutionParams | None = None

    @property
    def scale(self) -> float:
        """Factor on the fused value."""
        return 0.5 if self.half_intensity else 1.0
