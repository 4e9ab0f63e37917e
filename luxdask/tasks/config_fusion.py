"""Settings below `fusion`: how the views become one image."""

from __future__ import annotations

from typing import Literal

from luxdask.tasks.config_base import (
    ADVANCED,
    BASIC,
    INTERMEDIATE,
    FilePath,
    Settings,
    option,
    section,
)


class ImageQualityWeightingConfig(Settings):
    """Weights by the local image quality of each view."""

    enabled: bool = option(
        False, INTERMEDIATE, "Whether views are weighted by their local image quality."
    )
    strength: float = option(
        1.0,
        ADVANCED,
        "How much better quality counts (exponent of the weight); 0 weights all views alike.",
        ge=0,
        le=4,
    )


class BlendingConfig(Settings):
    """Smooth transitions at the borders of views."""

    enabled: bool = option(False, BASIC, "Whether views fade out towards their borders.")
    width_um: float | None = option(
        None,
        INTERMEDIATE,
        "Width in µm over which a view fades out; null means automatic.",
        gt=0,
    )


class DeconvolutionConfig(Settings):
    """Richardson-Lucy deconvolution, multi-view where views overlap."""

    enabled: bool = option(False, BASIC, "Whether the views are deconvolved instead of averaged.")
    psf_lateral_um: float | None = option(
        None,
        BASIC,
        "Width of the Gaussian point-spread function across the detection axis in µm "
        "(full width at half maximum).",
        gt=0,
    )
    psf_axial_um: float | None = option(
        None,
        BASIC,
        "Length of the Gaussian point-spread function along the detection axis in µm "
        "(full width at half maximum).",
        gt=0,
    )
    psf_file: FilePath | None = option(
        None,
        INTERMEDIATE,
        "Path of a measured point-spread function, used instead of the Gaussian; null means none.",
    )
    iterations: int = option(10, BASIC, "Number of iterations.", ge=1, le=1000)


class FusionConfig(Settings):
    """How the views become one image."""

    enabled: bool = option(
        True, BASIC, "Whether images are written; otherwise registrations are all that is kept."
    )
    fuse_different_cams: bool = option(
        False, BASIC, "Whether views of different objectives and cameras are fused into one image."
    )
    merge_all_channels: bool = option(
        False, BASIC, "Whether all channels are fused into one image."
    )
    image_quality_weighting: ImageQualityWeightingConfig = section(
        ImageQualityWeightingConfig, "Weights by image quality."
    )
    blending: BlendingConfig = section(BlendingConfig, "Smooth borders.")
    half_intensity: bool = option(
        False, BASIC, "Whether intensities are divided by two (for viewers with signed numbers)."
    )
    load_only_full_chunks: bool = option(
        False,
        INTERMEDIATE,
        "Whether incomplete chunks at the border of the input images are left out.",
    )
    interpolation: Literal["linear", "cubic"] = option(
        "linear", ADVANCED, "How values between voxels are computed."
    )
    deconvolution: DeconvolutionConfig = section(DeconvolutionConfig, "Deconvolution.")
