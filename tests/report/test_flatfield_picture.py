"""The picture of a flatfield correction."""

from pathlib import Path

import numpy as np

from luxdask.report.flatfield import MOST, Profile, draw_profiles


def test_all_profiles_up_to_a_number_are_drawn(tmp_path: Path) -> None:
    mean = np.linspace(50, 100, 40)
    canvas = draw_profiles([Profile(f"ch-{n}", mean, 100 / mean) for n in range(MOST + 2)])
    assert len(canvas.figure.axes) == 2 * MOST
    before, after = canvas.figure.axes[0].lines
    np.testing.assert_allclose(before.get_ydata(), mean)
    np.testing.assert_allclose(after.get_ydata(), 100)
    canvas.save(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 5000
