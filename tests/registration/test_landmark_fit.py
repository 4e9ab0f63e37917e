import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from skimage.transform import AffineTransform, EuclideanTransform

from luxdask.errors import ConfigError
from luxdask.model.geometry import Affine
from luxdask.registration.landmark_fit import fit_landmarks
from luxdask.testing.strategies import near_rigid, translations


def points(n: int, seed: int = 0, size: float = 400.0) -> np.ndarray:
    around = np.array([5000.0, -3000.0, 800.0])
    return around + np.random.default_rng(seed).uniform(-size, size, (n, 3))


def flatness(points: np.ndarray) -> float:
    """Least relative to largest spread; a few random points may lie nearly in a plane."""
    spreads = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
    return float(spreads[-1] / spreads[0])


def distance(a: Affine, b: Affine, at: np.ndarray) -> float:
    return float(np.abs(a.apply(at) - b.apply(at)).max())


@given(translations(50.0), st.integers(1, 3), st.integers(0, 10**6))
def test_up_to_three_pairs_give_the_mean_shift(truth: Affine, n: int, seed: int) -> None:
    moving = points(n, seed)
    noise = np.random.default_rng(seed).normal(0, 0.1, (n, 3))
    fit = fit_landmarks(truth.apply(moving) + noise, moving)
    assert fit.model == "translation"
    expected = Affine.translation(np.array(truth.offset) + noise.mean(axis=0))
    assert distance(fit.transform, expected, moving) < 1e-9


@given(near_rigid(stretch=0.01), st.integers(4, 12), st.integers(0, 10**6))
def test_four_pairs_and_more_give_the_affine_transform(truth: Affine, n: int, seed: int) -> None:
    moving = points(n, seed)
    assume(flatness(moving) > 0.05)
    fit = fit_landmarks(truth.apply(moving), moving)
    assert fit.model == "affine"
    assert distance(fit.transform, truth, points(20, seed + 1)) < 1e-6
    assert fit.rms_um < 1e-7
    assert fit.notes == ()


@given(near_rigid(), st.integers(5, 30), st.integers(0, 10**6))
def test_the_affine_fit_is_that_of_least_squares(truth: Affine, n: int, seed: int) -> None:
    moving = points(n, seed)
    fixed = truth.apply(moving) + np.random.default_rng(seed + 1).normal(0, 2.0, (n, 3))
    fit = fit_landmarks(fixed, moving)
    homogeneous = np.column_stack([moving, np.ones(n)])
    solved = np.linalg.lstsq(homogeneous, fixed, rcond=None)[0]
    np.testing.assert_allclose(fit.transform.apply(moving), homogeneous @ solved, atol=1e-6)
    peer = AffineTransform.from_estimate(moving, fixed)
    # its normalised direct linear transform minimises nearly the same sum
    ours = np.linalg.norm(fit.transform.apply(moving) - fixed)
    assert ours <= np.linalg.norm(peer(moving) - fixed) * (1 + 1e-9)
    residuals = np.linalg.norm(homogeneous @ solved - fixed, axis=1)
    np.testing.assert_allclose(fit.residuals_um, residuals, atol=1e-6)
    assert fit.worst == int(residuals.argmax())
    assert fit.rms_um == pytest.approx(np.sqrt(np.mean(residuals**2)))


@pytest.mark.parametrize("seed", range(8))
def test_landmarks_in_a_plane_give_a_rigid_transform(seed: int) -> None:
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    moving = rng.uniform(-300, 300, (6, 2)) @ axes[:2] + rng.uniform(-0.5, 0.5, (6, 3))
    truth = EuclideanTransform(
        rotation=[0.02, -0.03, 0.05], translation=[5, -8, 3], dimensionality=3
    )
    fixed = truth(moving) + rng.normal(0, 0.2, (6, 3))
    fit = fit_landmarks(fixed, moving, accuracy_um=1.0)
    assert fit.model == "rigid"
    assert "in one plane" in fit.notes[0]
    assert "a rigid transform is used" in fit.notes[0]
    peer = EuclideanTransform.from_estimate(moving, fixed)
    np.testing.assert_allclose(fit.transform.to_array(), peer.params[:3], atol=1e-9)
    far = axes[2] * 50  # off the plane, where nothing was marked
    assert np.abs(fit.transform.apply(far) - truth(far[None])[0]).max() < 0.6


@pytest.mark.parametrize(
    ("spread", "where"), [((0.2, 0.2, 400.0), "on one line"), ((0.2, 0.2, 0.2), "in one point")]
)
def test_landmarks_on_a_line_or_in_a_point_give_a_shift(
    spread: tuple[float, ...], where: str
) -> None:
    moving = np.random.default_rng(3).uniform(-1, 1, (5, 3)) * spread
    fit = fit_landmarks(np.add(moving, (1.0, 2.0, 3.0)), moving, accuracy_um=0.65)
    assert fit.model == "translation"
    np.testing.assert_allclose(fit.transform.offset, (1.0, 2.0, 3.0))
    assert where in fit.notes[0]
    assert "a translation is used instead" in fit.notes[0]
    assert "set at least one more landmark" in fit.notes[0]


def test_a_plane_in_one_of_the_two_images_is_enough() -> None:
    moving = points(5)
    fixed = moving.copy()
    fixed[:, 0] = 0.0
    assert fit_landmarks(fixed, moving).model == "rigid"


def test_a_thin_stack_is_not_a_plane() -> None:
    rng = np.random.default_rng(5)
    moving = rng.uniform(0, 1, (8, 3)) * (26 * 5.0, 1300.0, 1300.0)
    truth = Affine.from_array(np.eye(3) + rng.normal(0, 0.01, (3, 3)), (3.0, -4.0, 5.0))
    fit = fit_landmarks(truth.apply(moving), moving, accuracy_um=5.0)
    assert fit.model == "affine"
    assert distance(fit.transform, truth, moving) < 1e-8


@pytest.mark.parametrize("n", [3, 4, 6, 12])
@pytest.mark.parametrize("seed", range(4))
def test_a_wrong_label_is_named(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    moving = points(n, seed)
    truth = Affine.translation((4.0, -7.0, 12.0))
    fixed = truth.apply(moving) + rng.normal(0, 0.3, (n, 3))
    wrong = int(rng.integers(n))
    fixed[wrong] += (60.0, -40.0, 50.0)
    fit = fit_landmarks(fixed, moving, labels="abcdefghijkl"[:n], accuracy_um=0.65)
    assert fit.suspect == wrong
    assert any(f"landmark {'abcdefghijkl'[wrong]!r} contradicts the others" in s for s in fit.notes)


@pytest.mark.parametrize("n", [3, 4, 5, 8, 20])
def test_right_labels_are_not_suspected(n: int) -> None:
    wrongly = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        moving = points(n, seed)
        bend = Affine.from_array(np.eye(3) + rng.normal(0, 0.01, (3, 3)), rng.uniform(-20, 20, 3))
        truth = bend if n > 3 else Affine.translation(bend.offset)
        fit = fit_landmarks(
            truth.apply(moving) + rng.normal(0, 0.4, (n, 3)), moving, accuracy_um=0.65
        )
        wrongly += bool(fit.notes)
    assert wrongly <= 1


def test_two_labels_that_were_swapped_do_not_turn_the_image_inside_out() -> None:
    moving = np.array([[0, 0, 0], [100, 0, 0], [0, 100, 0], [0, 0, 100.0]])
    fixed = moving[[0, 2, 1, 3]]  # an affine transform would fit this exactly, mirrored
    fit = fit_landmarks(fixed, moving, labels="abcd", accuracy_um=1.0)
    assert fit.model == "rigid"
    assert np.linalg.det(np.array(fit.transform.linear)) == pytest.approx(1)
    assert "would mirror the image" in fit.notes[0]
    assert "check the labels" in fit.notes[0]
    assert fit.rms_um > 5


@pytest.mark.parametrize(
    ("factor", "model", "words"),
    [(3.0, "rigid", "stretch or shrink the image 3 times"), (1.4, "affine", "1.40 times")],
)
def test_an_odd_stretch_is_told(factor: float, model: str, words: str) -> None:
    moving = points(6)
    fit = fit_landmarks(moving * (1.0, 1.0, factor), moving)
    assert fit.model == model
    assert words in fit.notes[0]


def test_landmarks_that_do_not_agree_are_told() -> None:
    fit = fit_landmarks([[0, 0, 0], [0, 0, 0]], [[0, 0, 40], [0, 0, -40]], accuracy_um=1.0)
    assert "fit to within 40 µm (rms) only" in fit.notes[0]


@pytest.mark.parametrize(("n", "model_free"), [(2, 3), (9, 15)])
def test_the_spread_allows_for_what_the_model_has_taken(n: int, model_free: int) -> None:
    rng = np.random.default_rng(0)
    squares = []
    for seed in range(300):
        moving = points(n, seed)
        fit = fit_landmarks(moving + rng.normal(0, 1.0, (n, 3)), moving)
        squares.append(fit.spread_um**2)
    assert np.mean(squares) == pytest.approx(3.0, rel=0.1)


@pytest.mark.parametrize(
    ("fixed", "moving", "message"),
    [
        (np.zeros((0, 3)), np.zeros((0, 3)), r"\(0, 3\)"),
        (np.zeros((4, 2)), np.zeros((4, 2)), r"\(4, 2\)"),
        (np.zeros((4, 3)), np.zeros((3, 3)), r"\(4, 3\) and \(3, 3\)"),
        (np.full((1, 3), np.inf), np.zeros((1, 3)), "not a finite number"),
    ],
)
def test_what_cannot_be_fitted(fixed: np.ndarray, moving: np.ndarray, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        fit_landmarks(fixed, moving)
