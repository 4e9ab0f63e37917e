"""The settings of fusion as a plain value that tokenises and pickles small."""

from __future__ import annotations

from dataclasses import dataclass


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
    """

    interpolation: str = "linear"
    blend: bool = False
    blend_width_um: float | None = None
    quality_strength: float | None = None
    half_intensity: bool = False
    device: str = "cpu"

    @property
    def scale(self) -> float:
        """Factor on the fused value."""
        return 0.5 if self.half_intensity else 1.0
