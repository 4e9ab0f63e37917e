"""Settings below `registration`: how the views are aligned beyond their metadata."""

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


class ObjectiveCameraConfig(Settings):
    """Registration of objectives and cameras against each other."""

    enabled: bool = option(
        False, BASIC, "Whether views of different objectives and cameras are registered."
    )
    different_cameras: bool = option(
        False, BASIC, "Whether different cameras are registered against each other as well."
    )
    different_objectives: bool = option(
        False, BASIC, "Whether different objectives are registered against each other as well."
    )


class RemoveOutliersConfig(Settings):
    """Removal of pairs that contradict the others."""

    mode: Literal["Off", "AutomaticWithCostThreshold"] = option(
        "Off",
        INTERMEDIATE,
        "Whether tile pairs of high cost are left out of the global optimisation.",
    )
    cost_threshold: float = option(
        10.0, INTERMEDIATE, "Cost from which on a tile pair counts as an outlier.", gt=0
    )


class TilesConfig(Settings):
    """Registration of overlapping tiles, pair by pair, then all together."""

    enabled: bool = option(False, BASIC, "Whether overlapping tiles are registered.")
    register_channels: Literal["SameChannel", "RegisterDifferentChannels"] = option(
        "SameChannel", INTERMEDIATE, "Which channels may form a pair."
    )
    maximum_translation_um: float | None = option(
        None,
        INTERMEDIATE,
        "Largest shift of a tile pair in µm; null means twice what the overlap is thick.",
        gt=0,
    )
    remove_outliers: RemoveOutliersConfig = section(RemoveOutliersConfig, "Outlier pairs.")


class RotationConfig(Settings):
    """Registration of rotated views."""

    enabled: bool = option(False, BASIC, "Whether rotated views are registered.")
    views_are_prealigned: bool = option(
        False,
        INTERMEDIATE,
        "Whether only the volume common to the rotated views is compared; needs a calibrated "
        "rotation axis.",
    )


class LandmarksConfig(Settings):
    """Registration by landmarks of the same label."""

    enabled: bool = option(
        False, BASIC, "Whether landmarks, where there are any, replace content registration."
    )


class TimePointsConfig(Settings):
    """Registration of time points."""

    enabled: bool = option(
        False, INTERMEDIATE, "Whether each time point is registered against the one before."
    )


class ReuseConfig(Settings):
    """Registrations taken from another task."""

    task_folder: FilePath | None = option(
        None, BASIC, "Task folder whose registrations are used again; null means none."
    )
    match_channel: bool = option(
        True, INTERMEDIATE, "Whether a registration is used again for the same channel only."
    )


class RegistrationConfig(Settings):
    """Alignment of the views beyond their metadata."""

    enabled: bool = option(False, BASIC, "Whether anything is registered.")
    objective_camera: ObjectiveCameraConfig = section(
        ObjectiveCameraConfig, "Objectives and cameras."
    )
    tiles: TilesConfig = section(TilesConfig, "Tiles.")
    rotation: RotationConfig = section(RotationConfig, "Rotated views.")
    landmarks: LandmarksConfig = section(LandmarksConfig, "Landmarks.")
    time_points: TimePointsConfig = section(TimePointsConfig, "Time points.")
    use_reference_time_point_for_all: bool = option(
        False,
        INTERMEDIATE,
        "Whether the registration of the reference time point holds for all time points.",
    )
    fine_alignment: bool = option(
        True, ADVANCED, "Whether a second, finer step follows the first alignment."
    )
    transform_model: Literal["auto", "translation", "rigid", "affine"] = option(
        "auto",
        ADVANCED,
        "Which transforms content registration may find; auto: shifts between tiles and time "
        "points, rigid ones between objectives, cameras and rotated views.",
    )
    subtract_background: float = option(
        0.0,
        INTERMEDIATE,
        "Constant background in grey values that is subtracted before images are compared.",
        ge=0,
        le=65535,
    )
    reuse: ReuseConfig = section(ReuseConfig, "Registrations of another task.")
