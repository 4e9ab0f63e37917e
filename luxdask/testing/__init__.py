"""Known truth for tests and demos: phantoms, made experiments, fake readers.

`luxdask.testing.strategies` needs hypothesis.
"""

from __future__ import annotations

from luxdask.testing.experiment_writer import small_experiment, write_experiment
from luxdask.testing.spec import DemoSpec
from luxdask.testing.truth import TrueView, Truth, model_view, read_truth

__all__ = [
    "DemoSpec",
    "TrueView",
    "Truth",
    "model_view",
    "read_truth",
    "small_experiment",
    "write_experiment",
]
