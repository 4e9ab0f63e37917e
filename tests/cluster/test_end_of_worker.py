"""A worker that cannot end by itself does not keep its job."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

PROGRAM = """
import asyncio, sys
import luxdask.cluster.end_of_worker as end
from distributed import Scheduler, Worker

end.LONGEST_CLOSE_S, end._LOOK_EVERY_S = 0.5, 0.05

async def main():
    async with Scheduler(host="127.0.0.1", port=0, dashboard_address="127.0.0.1:0") as scheduler:
        worker = await Worker(
            scheduler.address, preload=sys.argv[2:], dashboard_address="127.0.0.1:0"
        )
        await asyncio.sleep(1.5)
        print("works", flush=True)
        if sys.argv[1] == "closed":
            await worker.close()
        await asyncio.sleep(6)
        print("still there", flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("what", "preload", "said"),
    [
        ("closed", True, ["works"]),
        ("closed", False, ["works", "still there"]),
        ("open", True, ["works", "still there"]),
    ],
)
def test_a_closed_worker_ends_its_process(what: str, preload: bool, said: list[str]) -> None:
    arguments = ["luxdask.cluster.end_of_worker"] if preload else []
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, what, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.split("\n")[:-1] == said, done.stderr
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - began < 60
