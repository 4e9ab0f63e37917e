"""What people can ask of a registration: tables, residuals, pictures, corrected views."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

import luxdask
from luxdask.testing import small_experiment
from luxdask.testing.alignment import position_errors, worst_error_vx

if TYPE_CHECKING:
    from luxdask.tasks.registration_result import Registration
    from luxdask.testing import Truth


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Truth, Registration]:
    folder = tmp_path_factory.mktemp("result")
    truth = small_experiment(
        folder, shape=(24, 70, 120), tiles=(1, 3), overlap=0.35, stage_error_um=4.0, sub_voxel=True
    )
    return truth, luxdask.register(luxdask.open_experiment(folder))


def test_the_table_holds_what_the_links_and_transforms_say(
    found: tuple[Truth, Registration],
) -> None:
    _, registration = found
    table = registration.to_xarray()
    assert table.sizes["view"] == 3
    assert table.sizes["link"] == len(registration.links) >= 2
    for view, transform in registration.transforms.items():
        row = table["transform"].sel(view=str(view))
        np.testing.assert_array_equal(row, transform.to_array())
    for n, link in enumerate(registration.links):
        assert float(table["quality"][n]) == link.quality
        assert str(table["moving"][n].item()) == str(link.moving)
        np.testing.assert_array_equal(table["link_transform"][n], link.transform.to_array())
    assert table.attrs["reference"] == str(registration.reference)


def test_residuals_are_those_of_the_links_that_were_used(
    found: tuple[Truth, Registration],
) -> None:
    _, registration = found
    used = [link for link in registration.links if link.is_trusted]
    assert registration.residuals == {link: link.residual_um for link in used}
    assert max(registration.residuals.values()) < 0.1


def test_apply_moves_the_views_to_their_true_places(found: tuple[Truth, Registration]) -> None:
    truth, registration = found
    assert worst_error_vx(position_errors(truth, registration.transforms)) < 0.05
    experiment = registration.apply(luxdask.open_experiment(truth.folder))
    for before, after in zip(registration.views, experiment.views, strict=True):
        expected = registration.transforms[before.id] @ before.view_to_world
        assert after.view_to_world == expected
        assert after.source == before.source


def test_the_picture_and_the_words(found: tuple[Truth, Registration]) -> None:
    _, registration = found
    figure = registration.plot()
    assert len(figure.axes) >= 1
    assert len(registration.plot(kind="tiles").axes) == len(figure.axes)
    assert f"{len(registration.links)} links" in str(registration)
    with pytest.raises(luxdask.LuxdaskError, match="rotation"):
        registration.plot(kind="rotation")
