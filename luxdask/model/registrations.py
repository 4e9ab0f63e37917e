"""What a task has found out about how its images lie: measured links and final corrections."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from luxdask.model.geometry import Affine
    from luxdask.model.links import Kind, Link
    from luxdask.model.view import ViewId


@dataclass(frozen=True, slots=True)
class Correction:
    """The outcome of registration for a group of images: those that have all parts that are given.

    Attributes
    ----------
    transform
        Sample space to sample space in µm, applied after the metadata's transform.
    kind
        The stage that it stems from; None where it is all stages together.
    time_point, channel, stack, objective, camera, pm
        Parts of the identity that the images of the group share; None where they may differ.
    """

    transform: Affine
    kind: Kind | None = None
    time_point: int | None = None
    channel: str | None = None
    stack: str | None = None
    objective: str | None = None
    camera: str | None = None
    pm: str | None = None

    @classmethod
    def of_view(cls, view: ViewId, transform: Affine) -> Correction:
        """The whole correction of one image; without PM id also that of its other PM ids."""
        return cls(
            transform,
            None,
            view.time_point,
            view.channel,
            view.stack,
            view.objective,
            view.camera,
            view.pm,
        )

    @property
    def parts(self) -> dict[str, int | str]:
        """The given parts of the identity, in a fixed order."""
        names = ("time_point", "channel", "pm", "stack", "objective", "camera")
        return {name: part for name in names if (part := getattr(self, name)) is not None}

    def holds_for(self, view: ViewId) -> bool:
        """Whether the image belongs to the group."""
        return all(getattr(view, name) == part for name, part in self.parts.items())


@dataclass(frozen=True, slots=True)
class StoredRegistration:
    """The registrations that lie in a task folder.

    `path` is the folder as it was found; `notes` names files in it that could not be used.
    """

    path: str
    links: tuple[Link, ...] = ()
    globals: tuple[Correction, ...] = ()
    notes: tuple[str, ...] = field(default=())
