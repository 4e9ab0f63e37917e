"""Pictures of point-spread functions."""

import numpy as np
from matplotlib.image import imread

from luxdask.deconv.blur import gaussian_blur
from luxdask.report.psf import PsfPicture, draw_psfs


def test_three_directions_per_psf_on_one_scale(tmp_path):
    spacing = (1.0, 0.4, 0.4)
    wide = gaussian_blur(np.diag([9.0, 2.0, 2.0])).kernel()
    turned = gaussian_blur(np.array([[6.0, 0, 5], [0, 2, 0], [5, 0, 9]])).kernel()
    pictures = [PsfPicture("one", wide, spacing), PsfPicture("two", turned, spacing)]
    canvas = draw_psfs("Point-spread functions", pictures)
    axes = canvas.figure.axes
    assert len(axes) == 6
    for picture in (axes[:3], axes[3:]):
        widths = [abs(np.subtract(*a.get_xlim())) for a in picture]
        heights = [abs(np.subtract(*a.get_ylim())) for a in picture]
        assert widths[0] == widths[1]  # x
        assert heights[1] == heights[2]  # z
        assert heights[0] == widths[2]  # y
    per_um = {round(a.get_window_extent().width / abs(np.subtract(*a.get_xlim())), 1) for a in axes}
    assert max(per_um) - min(per_um) < 0.1 * max(per_um)
    canvas.save(tmp_path / "psf.png")
    image = imread(tmp_path / "psf.png")
    assert image.shape[0] > 300
    assert image[..., :3].max() > 0.9


def test_a_point_is_drawn():
    psf = np.zeros((3, 3, 3))
    psf[1, 1, 1] = 1
    assert len(draw_psfs("a", [PsfPicture("b", psf, (1, 1, 1))]).figure.axes) == 3
