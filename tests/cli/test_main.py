import os
import subprocess
import sys
import time

import pytest

import luxdask
from luxdask.cli import app, code_of, main
from luxdask.errors import (
    ClusterError,
    ConfigError,
    ExperimentNotFoundError,
    ImageFileError,
    LuxdaskError,
    MetadataError,
    OutputError,
    SelectionError,
    TaskFailedError,
    TaskStopped,
)

COMMANDS = ("info", "demo-data", "new", "check", "run", "schema", "defaults")
PROGRAM = [sys.executable, "-c", "from luxdask.cli import main; main()"]


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert isinstance(caught.value.code, int)
    return caught.value.code


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """`luxdask defaults reset` raises what is put into this list."""
    errors: list[BaseException] = []

    def fail() -> bool:
        raise errors[0]

    monkeypatch.setattr("luxdask.tasks.template.reset_template", fail)
    monkeypatch.delenv("LUXDASK_DEBUG", raising=False)
    return errors


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out == f"luxdask {luxdask.__version__}\n"


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    out = capsys.readouterr().out
    for command in COMMANDS:
        assert f" {command} " in out


def test_help_is_quick_and_loads_nothing_heavy() -> None:
    code = (
        "import sys, luxdask.cli\n"
        "try: luxdask.cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'pydantic', 'h5py', 'zarr', 'dask', 'distributed', 'numba', 'scipy'}\n"
        "print('LOADED', sorted(heavy & set(sys.modules)))"
    )
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "LOADED []" in done.stdout
    # 0.2 s on an idle machine; the limit only catches an import that takes seconds
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError, 2),
        (MetadataError, 2),
        (SelectionError, 2),
        (ExperimentNotFoundError, 2),
        (ImageFileError, 1),
        (OutputError, 1),
        (ClusterError, 1),
        (TaskFailedError, 1),
        (LuxdaskError, 1),
        (TaskStopped, 130),
    ],
)
def test_errors_have_exit_codes(error: type[LuxdaskError], code: int) -> None:
    assert code_of(error("x")) == code


def test_an_error_is_one_message_without_traceback(
    failing: list[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    failing.append(ConfigError("fusion.x [bold]: unknown setting"))
    assert run("defaults", "reset") == 2
    captured = capsys.readouterr()
    assert captured.err == "Error: fusion.x [bold]: unknown setting\n"
    assert captured.out == ""


@pytest.mark.parametrize("how", ["before", "after", "environment"])
def test_debug_shows_the_traceback(
    how: str,
    failing: list[BaseException],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    failing.append(OutputError("disk full"))
    if how == "environment":
        monkeypatch.setenv("LUXDASK_DEBUG", "1")
    arguments = {
        "before": ["--debug", "defaults", "reset"],
        "after": ["defaults", "reset", "--debug"],
        "environment": ["defaults", "reset"],
    }[how]
    assert run(*arguments) == 1
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.endswith("Error: disk full\n")


def test_interrupt_is_130(failing: list[BaseException]) -> None:
    failing.append(KeyboardInterrupt())
    assert run("defaults", "reset") == 130


def test_wrong_use_is_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("no-such-command") == 2
    assert run("schema", "--level", "expert") == 2
    assert "advanced" in capsys.readouterr().err


def test_bugs_are_not_hidden(failing: list[BaseException]) -> None:
    failing.append(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        main(["defaults", "reset"])


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX pipes")
@pytest.mark.parametrize("arguments", [["schema"], ["schema", "--table"], ["--help"]])
def test_a_closed_pipe_ends_quietly(arguments: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [*PROGRAM, *arguments], stdout=write, stderr=subprocess.PIPE, text=True, check=False
        )
    finally:
        os.close(write)
    assert done.returncode == 141
    assert done.stderr == ""


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    for command in COMMANDS:
        assert run(command, "--help") == 0
    assert app.info.name == "luxdask"
    capsys.readouterr()
