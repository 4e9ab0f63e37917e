"""dask-jobqueue is loaded without its handler of Ctrl-C, and from any thread."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import signal, threading
from luxdask.cluster.spec import read_spec
from luxdask.cluster.options import cluster_class

def load():
    found.append(cluster_class("slurm").__name__)

found = []
before = signal.getsignal(signal.SIGINT)
{start}
assert found == ["SLURMCluster"], found
assert signal.getsignal(signal.SIGINT) is before
assert signal.signal(signal.SIGTERM, signal.SIG_IGN) is signal.SIG_DFL
print("as before")
"""


@pytest.mark.parametrize(
    "start",
    ["load()", "thread = threading.Thread(target=load); thread.start(); thread.join()"],
    ids=["main thread", "other thread"],
)
def test_ctrl_c_keeps_its_meaning(start: str) -> None:
    code = CODE.format(start=start)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout == "as before\n", done.stderr
