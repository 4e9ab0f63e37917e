import pytest

import luxdask
from luxdask.errors import ConfigError, NotAvailableError
from luxdask.tasks.availability import require_available, unavailable
from luxdask.tasks.config import TaskConfig, set_values


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("fusion.deconvolution.enabled", True),
        ("input.flatfield.enabled", True),
        ("input.camera_pixels.enabled", True),
        ("input.roi.label", "A"),
        ("input.roi.file", "rois.roi.json"),
        ("compute.cluster", "cuda"),
        ("compute.cluster", "slurm"),
        ("compute.cluster", "pbs"),
        ("compute.cluster", "site/cluster.yaml"),
    ],
)
def test_later_settings_are_refused_by_name(key: str, value: object) -> None:
    with pytest.raises(NotAvailableError) as caught:
        require_available(set_values(TaskConfig(), {key: value}))
    text = str(caught.value)
    assert f"{key} is not available yet in luxdask {luxdask.__version__}; switch off" in text
    assert f"\n  {key} = " in text
    assert isinstance(caught.value, ConfigError)


def test_all_are_named_at_once() -> None:
    config = set_values(TaskConfig(), {"fusion.deconvolution": True, "input.flatfield": True})
    with pytest.raises(NotAvailableError) as caught:
        require_available(config)
    assert str(caught.value).startswith(
        "input.flatfield.enabled and fusion.deconvolution.enabled are not available yet"
    )
    assert "fusion.deconvolution.enabled = false" in str(caught.value)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"compute.cluster": "tcp://10.0.0.1:8786"},
        {"compute.cluster": "tls://head:8786"},
        # below a switch that is off nothing counts: automatic defaults set these
        {"input.flatfield.maximum_factor": 2},
        {"registration": True, "input.landmarks_file": "a.lmk.json"},
        {"input.metadata.multi_transform": True},
        {"fusion.blending": True, "fusion.image_quality_weighting": True},
    ],
)
def test_the_rest_is_available(values: dict[str, object]) -> None:
    config = set_values(TaskConfig(), values)
    assert unavailable(config) == ()
    require_available(config)
