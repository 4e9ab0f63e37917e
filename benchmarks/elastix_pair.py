"""luxdask beside elastix on rigid pairs: a rotated view and an opposing one, on two cores.

Run ``python benchmarks/elastix_pair.py`` where the program elastix is installed (Debian has it); it
prints one JSON line per case and side: seconds, what is left of the rotation in degrees, and the
error of the moving view's position in voxels, at its middle and at the worst of its corners.

The views are made from one sample, at their own angle, blurred along their own axes, with noise of
their own and with errors in their metadata; `--from` takes a TIFF file instead. elastix gets both
views as they are, with their place and direction in sample space, and a rigid transform, normalised
correlation, adaptive stochastic gradient descent and four resolutions, as its manual advises. The
time of both sides includes reading the two files.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from peer_fusion import CORES
from peer_registration import use_cores

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from luxdask.model.geometry import Affine
    from luxdask.testing import Truth
    from luxdask.testing.truth import TrueView

SHAPE = (100, 256, 256)
CASES: dict[str, dict[str, Any]] = {
    "rotated": {
        "rotations_deg": (0.0, 90.0),
        "rotation_error_deg": 3.0,
        "rotation_error_um": 20.0,
        "blur_um": 3.0,
        "noise": True,
    },
    "opposing": {
        "objectives": 2,
        "camera_error_um": 8.0,
        "blur_um": 3.0,
        "scatter": 0.5,
        "noise": True,
    },
}
LIMIT_DEG = 5.0
ITERATIONS = 500
SAMPLES = 5000
PARAMETERS = f"""
(FixedInternalImagePixelType "float")
(MovingInternalImagePixelType "float")
(UseDirectionCosines "true")
(Registration "MultiResolutionRegistration")
(FixedImagePyramid "FixedSmoothingImagePyramid")
(MovingImagePyramid "MovingSmoothingImagePyramid")
(Interpolator "BSplineInterpolator")
(BSplineInterpolationOrder 1)
(ResampleInterpolator "FinalBSplineInterpolator")
(Resampler "DefaultResampler")
(Metric "AdvancedNormalizedCorrelation")
(Optimizer "AdaptiveStochasticGradientDescent")
(Transform "EulerTransform")
(AutomaticScalesEstimation "true")
(AutomaticTransformInitialization "false")
(HowToCombineTransforms "Compose")
(NumberOfResolutions 4)
(MaximumNumberOfIterations {ITERATIONS})
(NumberOfSpatialSamples {SAMPLES})
(NewSamplesEveryIteration "true")
(ImageSampler "RandomCoordinate")
(RequiredRatioOfValidSamples 0.05)
(WriteResultImage "false")
"""


def make_pair(folder: Path, case: str, source: Path | None = None, shape: Any = SHAPE) -> Truth:
    """An experiment of two views."""
    from luxdask.testing import DemoSpec, write_experiment
    from luxdask.testing.phantoms import nuclei
    from luxdask.testing.tiff import load_volume

    volume = load_volume(source).volume if source else nuclei(shape, seed=1)
    return write_experiment(folder, volume, DemoSpec(**CASES[case]))


def compare(folder: Path, truth: Truth) -> list[dict[str, Any]]:
    """Both sides on one pair; elastix only where it is installed."""
    sides = [run_luxdask]
    if shutil.which("elastix"):
        sides.append(run_elastix)
    return [side(folder, truth) for side in sides]


def run_luxdask(folder: Path, truth: Truth) -> dict[str, Any]:
    """Median of three runs, the first after one that loads and compiles."""
    found, times = None, []
    for _ in range(4):
        start, cpu = time.perf_counter(), time.process_time()
        found = _match(truth)
        times.append((time.perf_counter() - start, time.process_time() - cpu))
    seconds, cpu_seconds = sorted(times[1:])[1]
    row = {"case": "luxdask", "seconds": round(seconds, 3), "cpu_seconds": round(cpu_seconds, 3)}
    return row | {"status": found.status} | _score(truth, found.transform)


def _match(truth: Truth) -> Any:
    from luxdask.registration.match import MatchParams
    from luxdask.registration.measure import match
    from luxdask.registration.patch import Patch

    fixed, moving = (
        Patch(_read(truth, view).astype(np.float32), view.view_to_world) for view in truth.views
    )
    return match(fixed, moving, MatchParams(model="rigid", maximum_rotation_deg=LIMIT_DEG))


def _read(truth: Truth, view: TrueView) -> NDArray[np.uint16]:
    from luxdask.io.lux_reader import read_box
    from luxdask.model.geometry import Box

    return read_box(str(truth.path(view)), "Data", Box.of_shape(view.shape))


def run_elastix(folder: Path, truth: Truth) -> dict[str, Any]:
    """From starting the program to its last line."""
    folder.mkdir(parents=True, exist_ok=True)
    names = ("fixed", "moving")
    for name, view in zip(names, truth.views, strict=True):
        _write_mhd(folder / f"{name}.mhd", _read(truth, view), view.view_to_world)
    (folder / "parameters.txt").write_text(PARAMETERS)
    command = ["elastix", "-f", "fixed.mhd", "-m", "moving.mhd", "-p", "parameters.txt"]
    command += ["-out", ".", "-threads", str(CORES)]
    start, cpu = time.perf_counter(), _children_s()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    seconds, cpu_seconds = time.perf_counter() - start, _children_s() - cpu
    if done.returncode:
        raise RuntimeError(f"elastix failed:\n{done.stdout[-4000:]}{done.stderr[-2000:]}")
    found = read_euler((folder / "TransformParameters.0.txt").read_text())
    row = {"case": "elastix", "seconds": round(seconds, 3), "cpu_seconds": round(cpu_seconds, 3)}
    return row | {"status": "ok"} | _score(truth, found.inverse())


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _write_mhd(path: Path, voxels: NDArray[np.uint16], to_world: Affine) -> None:
    """MetaImage; everything in x, y, z. Its matrix has the direction of each axis as a row."""
    spacing = np.array(to_world.column_norms)
    directions = (np.array(to_world.linear) / spacing).T[::-1, ::-1]
    header = {
        "ObjectType": "Image",
        "NDims": 3,
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "TransformMatrix": _row(directions.ravel()),
        "Offset": _row(to_world.offset[::-1]),
        "ElementSpacing": _row(spacing[::-1]),
        "DimSize": " ".join(str(n) for n in voxels.shape[::-1]),
        "ElementType": "MET_USHORT",
        "ElementDataFile": path.with_suffix(".raw").name,
    }
    path.write_text("".join(f"{key} = {value}\n" for key, value in header.items()))
    path.with_suffix(".raw").write_bytes(voxels.astype("<u2").tobytes())


def _row(numbers: Any) -> str:
    return " ".join(repr(float(number)) for number in numbers)


def read_euler(text: str) -> Affine:
    """The transform in an elastix file, from fixed to moving sample space (z, y, x), in µm."""
    from luxdask.model.geometry import Affine

    rx, ry, rz, *shift = _numbers(text, "TransformParameters")
    centre = np.array(_numbers(text, "CenterOfRotationPoint"))
    # the order of ITK's Euler transform, on columns (x, y, z)
    turn = _turn(rz, 0, 1) @ _turn(rx, 1, 2) @ _turn(ry, 2, 0)
    offset = centre + shift - turn @ centre
    return Affine.from_array(turn[::-1, ::-1], offset[::-1])


def _numbers(text: str, key: str) -> list[float]:
    found = re.search(rf"^\({key} ([^)]+)\)", text, flags=re.MULTILINE)
    if found is None:
        raise ValueError(f"no {key} in the result of elastix")
    return [float(number) for number in found[1].split()]


def _turn(angle: float, a: int, b: int) -> NDArray[np.float64]:
    """Rotation that takes axis `a` towards axis `b`."""
    matrix = np.eye(3)
    matrix[a, a] = matrix[b, b] = np.cos(angle)
    matrix[b, a] = np.sin(angle)
    matrix[a, b] = -matrix[b, a]
    return matrix


def _score(truth: Truth, moving_to_fixed: Affine) -> dict[str, float]:
    from luxdask.model.geometry import Affine
    from luxdask.testing.alignment import position_errors

    fixed, moving = (view.id for view in truth.views)
    errors = position_errors(truth, {fixed: Affine(), moving: moving_to_fixed}, fixed)
    return {
        "angle_deg": round(errors[moving].angle_deg, 4),
        "middle_vx": round(_at_middle(truth, moving_to_fixed), 4),
        "worst_vx": round(errors[moving].largest_vx, 4),
    }


def _at_middle(truth: Truth, moving_to_fixed: Affine) -> float:
    from luxdask.testing.alignment import true_link

    fixed, moving = truth.views
    middle = moving.view_to_world.apply((np.array(moving.shape) - 1) / 2)
    expected = true_link(truth, fixed.id, moving.id).apply(middle)
    return float(np.linalg.norm((moving_to_fixed.apply(middle) - expected) / moving.spacing_um))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shape", type=int, nargs=3, default=SHAPE, metavar=("Z", "Y", "X"))
    parser.add_argument("--from", dest="source", type=Path, help="a TIFF file with the sample")
    parser.add_argument("--only", choices=["luxdask", "elastix"])
    given = parser.parse_args()
    use_cores()
    side = {"luxdask": run_luxdask, "elastix": run_elastix}.get(given.only)
    with tempfile.TemporaryDirectory() as temporary:
        for case in CASES:
            folder = Path(temporary, case)
            truth = make_pair(folder / "experiment", case, given.source, tuple(given.shape))
            rows = [side(folder, truth)] if side else compare(folder, truth)
            for row in rows:
                print(json.dumps({"pair": case, **row}), flush=True)


if __name__ == "__main__":
    main()
