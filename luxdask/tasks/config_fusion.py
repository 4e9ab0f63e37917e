"""Settings below `fusion`: how the views become one image."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from luxdask.tasks.config_base import (
    ADVANCED,
    BASIC,
    INTERMEDIATE,
    FilePath,
    Settings,
    option,
    section,
)

Positive = Annotated[float, Field(gt=0)]
Width = Positive | dict[str, Positive] | None


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


_WIDTH = 'number > 0 | object with one per objective {"left": …} | null'


class DeconvolutionConfig(Settings):
    """Richardson-Lucy deconvolution, multi-view where views overlap."""

    enabled: bool = option(False, BASIC, "Whether the views are deconvolved instead of averaged.")
    psf_lateral_um: Width = option(
        None,
        BASIC,
        "Width of the Gaussian point-spread function across the detection axis in µm "
        "(full width at half maximum); null means by numerical aperture and wavelength of the "
        "metadata.",
        allowed=_WIDTH,
    )
    psf_axial_um: Width = option(
        None,
        BASIC,
        "Length of the Gaussian point-spread function along the detection axis in µm "
        "(full width at half maximum); null means by numerical aperture and wavelength of the "
        "metadata.",
        allowed=_WIDTH,
    )
    psf_file: FilePath | None = option(
        None,
        INTERMEDIATE,
        "Path of a measured point-spread function (TIFF or .npy; z is the detection axis), used "
        "instead of the Gaussian; null means none.",
    )
    psf_spacing_um: tuple[Positive, Positive, Positive] | None = option(
        None,
        INTERMEDIATE,
        "Voxel size (z, y, x) of psf_file in µm; null means that the file tells it.",
        allowed="list of three numbers > 0 (z, y, x) | null",
    )
    iterations: int = option(10, BASIC, "Number of iterations.", ge=1, le=1000)
    background: float | None = option(
        None,
        INTERMEDIATE,
        "Grey value of the dark in all views, which is no light and not sharpened; null means "
        "that it is estimated for each view.",
        ge=0,
        le=65535,
    )
    regularisation: float = option(
        0.0,
        ADVANCED,
        "Strength of the total-variation term, which holds noise down; 0 means none.",
        ge=0,
        le=0.1,
    )
    order: Literal["joint", "ordered_subsets"] = option(
        "joint",
        ADVANCED,
        "Whether an iteration takes all views at once or one after the other.",
    )
    back_projector: Literal["matched", "wiener_butterworth"] = option(
        "matched",
        ADVANCED,
        "What projects errors back: the point-spread function, or a sharper filter that needs "
        "fewer iterations.",
    )
    acceleration: bool = option(
        False, ADVANCED, "Whether each iteration goes further along the way of those before."
    )


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
