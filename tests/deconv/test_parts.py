"""Views that come as the part of the array that they cover are as if they came whole."""

import numpy as np
import pytest

from luxdask.deconv.blur import gaussian_blur, sampled_blur
from luxdask.deconv.richardson_lucy import View, richardson_lucy

SHAPE = (20, 24, 90)
TURNED = np.array([[4, 1, 0], [1, 2, 0], [0, 0, 1.5]])
BLURS = {
    "lines": gaussian_blur(np.diag([4.0, 1.5, 1.5])),
    "sampled": sampled_blur(gaussian_blur(TURNED).kernel()),
}


def views_of(blur, *, as_parts):
    """Two overlapping halves along x."""
    rng = np.random.default_rng(0)
    image = rng.poisson(100, SHAPE).astype(np.float32)
    image[8, 12, 40:50] += 5000
    weights = [np.zeros(SHAPE, np.float32) for _ in range(2)]
    weights[0][..., :50], weights[1][..., 40:] = 1, 1
    total = weights[0] + weights[1]
    r = blur.radius_vx[2]
    cuts = ((0, 50 + r), (40 - r, 90)) if as_parts else ((0, 90), (0, 90))
    return [
        View(image[..., a:b].copy(), (w / total)[..., a:b].copy(), blur, (0, 0, a))
        for w, (a, b) in zip(weights, cuts, strict=True)
    ]


@pytest.mark.parametrize("blur", BLURS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"order": "ordered_subsets"},
        {"acceleration": True},
        {"order": "ordered_subsets", "acceleration": True},
        {"regularisation": 0.003},
    ],
    ids=str,
)
def test_parts_are_as_the_whole(blur, options):
    whole = richardson_lucy(views_of(BLURS[blur], as_parts=False), iterations=4, **options)
    parts = views_of(BLURS[blur], as_parts=True)
    made = richardson_lucy(parts, iterations=4, shape=SHAPE, **options)
    # total variation looks at signs of slopes, where rounding may tip the scales
    near = 5e-3 if "regularisation" in options else 1e-4
    assert made == pytest.approx(whole, rel=near, abs=1e-2)


def test_where_no_view_is_there_is_nothing():
    blur = BLURS["lines"]
    image = np.full((20, 24, 30), 50, np.float32)
    made = richardson_lucy([View(image, None, blur, (0, 0, 10))], iterations=2, shape=SHAPE)
    assert (made[..., :10] == 0).all()
    assert (made[..., 40:] == 0).all()
    assert made[9:11, 10:14, 22:28] == pytest.approx(50, rel=0.2)
