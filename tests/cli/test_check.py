import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner, Result

import luxdask.tasks
from luxdask.cli import app
from luxdask.cli.terminal import human_bytes
from luxdask.graph.plan import OutputSummary, PlanSummary

OUTPUT = OutputSummary(
    name="uni_tp-0_ch-0_st-1-x00-y00-1-x01-y00",
    shape=(100, 2000, 3000),
    spacing_um=(3.0, 0.4063, 0.4063),
    n_views=5,
    n_chunks=1234,
    size_bytes=1_200_000_000,
    view_names=tuple(f"tp:0 ch:0 st:{n} obj:left cam:left" for n in range(5)),
)
PLAN = PlanSummary(
    outputs=(OUTPUT,),
    n_tasks=1234,
    chunk_vx=(64, 256, 256),
    bytes_read=3 * 2**30,
    bytes_written=2 * 2**30,
    disk_needed_bytes=2 * 2**30,
    disk_free_bytes=2**40,
    peak_bytes_per_task=50 * 2**20,
    peak_bytes=400 * 2**20,
    folder="/data/a/processed",
    notes=("time point 3 has no image [left]",),
)


class FakeTask:
    """Stands for `luxdask.tasks.Task`; opens nothing."""

    plan = PLAN

    @classmethod
    def open(cls, path: str) -> "FakeTask":
        assert path == "task.json"
        return cls()

    def open_experiment(self) -> str:
        return "experiment"

    def compile(self, experiment: str) -> "FakeTask":
        assert experiment == "experiment"
        return self

    def summary(self) -> PlanSummary:
        return self.plan


def check(monkeypatch: pytest.MonkeyPatch, plan: PlanSummary, *arguments: str) -> Result:
    monkeypatch.setattr(luxdask.tasks, "Task", FakeTask, raising=False)
    monkeypatch.setattr(FakeTask, "plan", plan)
    return CliRunner().invoke(app, ["check", "task.json", *arguments])


def test_the_plan_is_shown_with_units(monkeypatch: pytest.MonkeyPatch) -> None:
    done = check(monkeypatch, PLAN)
    assert done.exit_code == 0, done.output
    for words in (
        "uni_tp-0_ch-0_st-1-x00-y00-1-x01-y00",
        "100 x 2000 x 3000",
        "3 x 0.4063 x 0.4063",
        "tp:0 ch:0 st:2 obj:left cam:left",
        "and 2 more",
        "1,234 (chunks of 64 x 256 x 256 voxels)",
        "1.12 GiB",
        "2.00 GiB needed, 1.00 TiB free",
        "400 MiB at most, 50.0 MiB per task",
        "/data/a/processed",
        "Note: time point 3 has no image [left]",
    ):
        assert words in done.stdout
    assert "st:3" not in done.stdout


def test_a_short_disk_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    done = check(monkeypatch, replace(PLAN, disk_free_bytes=2**30))
    assert done.exit_code == 1
    assert "Not enough free disk space in /data/a/processed: 1.00 GiB are missing" in done.stdout


def test_unknown_free_space_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    done = check(monkeypatch, replace(PLAN, disk_free_bytes=None))
    assert done.exit_code == 0
    assert "needed, unknown free" in done.stdout


def test_json(monkeypatch: pytest.MonkeyPatch) -> None:
    document = json.loads(check(monkeypatch, PLAN, "--json").stdout)
    assert document["outputs"][0]["shape"] == [100, 2000, 3000]
    assert document["peak_bytes"] == PLAN.peak_bytes
    assert document["missing_bytes"] == 0
    short = check(monkeypatch, replace(PLAN, disk_free_bytes=0), "--json")
    assert short.exit_code == 1
    assert json.loads(short.stdout)["missing_bytes"] == 2 * 2**30


def test_long_series_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    many = tuple(replace(OUTPUT, name=f"uni_tp-{n}") for n in range(500))
    done = check(monkeypatch, replace(PLAN, outputs=many))
    assert "uni_tp-29" in done.stdout
    assert "uni_tp-30" not in done.stdout
    assert "and 470 more outputs" in done.stdout


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1.00 KiB"),
        (15 * 2**20, "15.0 MiB"),
        (999 * 2**30, "999 GiB"),
        (5000 * 2**50, "5000 PiB"),
    ],
)
def test_sizes(size_bytes: int, text: str) -> None:
    assert human_bytes(size_bytes) == text
