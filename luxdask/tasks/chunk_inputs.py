"""What each chunk is made of, as a checksum: what has changed is what is done again.

The checksum of a chunk covers the files of the views that touch it (place below the experiment,
size, date), how they lie on the chunk's image and are blurred, the settings of fusion and the
image's levels; not the machine, the number of workers, or CPU or GPU.
"""

from __future__ import annotations

import os
from dataclasses import replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np

from luxdask.deconv.psf import GaussianPsf
from luxdask.io.foreign_places import is_url
from luxdask.io.source_state import source_state

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from luxdask.graph.placement import Placement
    from luxdask.graph.planned import PlannedOutput
    from luxdask.graph.registration import PairJob
    from luxdask.model.view import Source
    from luxdask.tasks.images import ImageFiles

DIGEST_BYTES = 8
_DIGITS = 7
"""Decimals of a voxel that count: fewer than two machines may round differently."""


class ChunkInputs:
    """Checksums of all chunks of a plan; dates and sizes of files are those of this moment.

    root : the experiment's folder. Paths count from here, so that an experiment may be moved.
    """

    def __init__(self, files: ImageFiles, root: str) -> None:
        self._outputs = files.plan.outputs
        self._states = _states((v.source for p in self._outputs for v in p.output.views), root)
        self._settings = [
            _digest(_settings_text(planned, files.stored_as(number)))
            for number, planned in enumerate(self._outputs)
        ]
        self._views: dict[tuple[int, int], bytes] = {}
        self._known: dict[int, NDArray[np.void]] = {}

    def settings(self, output: int) -> str:
        """Checksum of all that holds for a whole image."""
        return self._settings[output].hex()

    def view(self, output: int, view: int) -> tuple[str, str]:
        """Checksums of how a view lies on an image, and of its file."""
        planned = self._outputs[output]
        source = planned.output.views[view].source
        place = _digest(_place_text(planned.placement(view)) + _psf_text(planned, view))
        state = _digest(f"{self._states[source.path]} {source.inside}")
        return place.hex(), state.hex()

    def digest(self, output: int, stage: int, chunk: int) -> str:
        """Checksum of what a write task works with."""
        if stage == 0:
            return self._chunk(output, chunk).hex()
        planned = self._outputs[output]
        box, chunks = planned.region(stage, chunk), planned.chunks
        ranges = [
            range(a // c, -(-b // c))
            for a, b, c in zip(box.start, box.stop, chunks.chunk, strict=True)
        ]
        parts = [chunks.number(z, y, x) for z in ranges[0] for y in ranges[1] for x in ranges[2]]
        made_of = b"".join(self._chunk(output, part) for part in parts)
        return _digest(b"%d " % stage + made_of).hex()

    def _chunk(self, output: int, chunk: int) -> bytes:
        """Checksum of a chunk of the full resolution; kept, since coarser levels ask again."""
        planned = self._outputs[output]
        if output not in self._known:
            self._known[output] = np.zeros(len(planned.chunks), dtype=f"V{DIGEST_BYTES}")
        known = self._known[output]
        found = bytes(known[chunk].tobytes())
        if not any(found):
            views = [self._view(output, view) for view in planned.candidates(chunk)]
            found = _digest(self._settings[output] + b"%d " % chunk + b"".join(views))
            known[chunk] = np.void(found)
        return found

    def _view(self, output: int, view: int) -> bytes:
        key = (output, view)
        if key not in self._views:
            self._views[key] = bytes.fromhex("".join(self.view(output, view)))
        return self._views[key]


def _settings_text(planned: PlannedOutput, stored_as: object) -> str:
    params = replace(planned.params, device="cpu")
    grid = planned.output.grid
    chunk = planned.chunks.chunk
    return repr(
        (planned.name, grid.shape, grid.spacing_um, chunk, planned.levels, params, stored_as)
    )


def _place_text(placement: Placement) -> str:
    lies = placement.out_to_bin.to_array(), placement.lower, placement.upper, placement.blend_width
    numbers = [(np.round(part, _DIGITS) + 0.0).tolist() for part in lies]
    p = placement
    return repr((p.shape, p.factor, p.phase, p.whole, p.bins, numbers))


def _psf_text(planned: PlannedOutput, view: int) -> str:
    """How a view is blurred, where views are deconvolved."""
    if not planned.psfs:
        return ""
    psf = planned.psfs[view]
    if isinstance(psf, GaussianPsf):
        return repr((np.round(psf.covariance_um2, _DIGITS) + 0.0).tolist())
    return repr((psf.digest, psf.spacing_um, (np.round(psf.axes, _DIGITS) + 0.0).tolist()))


def pair_inputs(jobs: Iterable[PairJob], root: str) -> dict[str, str]:
    """Checksum of what each pair is measured with, by the pair in words."""
    jobs = list(jobs)
    states = _states((side.source for job in jobs for side in (job.fixed, job.moving)), root)
    return {str(job.pair): _digest(_pair_text(job, states)).hex() for job in jobs}


def _pair_text(job: PairJob, states: Mapping[str, tuple[Any, ...]]) -> str:
    sides = [
        (states[p.source.path], p.source.inside, p.shape, p.factor, p.bins, p.bin_to_world)
        for p in (job.fixed, job.moving)
    ]
    return repr((job.pair, sides, job.params))


def _states(sources: Iterable[Source], root: str) -> dict[str, tuple[Any, ...]]:
    """Where each file lies in the experiment, its size and date."""
    by_path = {source.path: source for source in sources}
    return {
        path: (path if is_url(path) else os.path.relpath(path, root), *source_state(source))
        for path, source in by_path.items()
    }


def _digest(content: str | bytes) -> bytes:
    data = content.encode() if isinstance(content, str) else content
    return blake2b(data, digest_size=DIGEST_BYTES).digest()
