"""Very many tiny tasks through a LocalCluster: memory over time, and speed beside plain dask.

Run ``python benchmarks/submission.py``; it prints tables and writes
``benchmarks/out/submission.json`` (and a picture beside it with ``--picture``). The scheduler and
its workers are a `distributed.LocalCluster` in a process of its own, so that the memory of the
client and of the scheduler can be told apart. First one long stream of tasks, with the memory of
both; then pieces by turns: luxdask's submission loop, and `client.map` with `client.gather` on the
same scheduler, so that both sides see the same machine.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import threading
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from dask.task_spec import Task

from luxdask.cluster import connect
from luxdask.cluster.execute import execute

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from luxdask.cluster.backend import Backend

    Seen = Callable[[int], None]

OUT = Path(__file__).parent / "out" / "submission.json"


@dataclass
class Speed:
    """Seconds and CPU seconds (all processes) that both sides took for as many tasks."""

    tasks: int = 0
    luxdask_s: float = 0.0
    plain_s: float = 0.0
    luxdask_cpu_s: float = 0.0
    plain_cpu_s: float = 0.0

    @property
    def ratio(self) -> float:
        """Throughput of luxdask as a part of that of plain dask."""
        return self.plain_s / self.luxdask_s

    @property
    def cpu_ratio(self) -> float:
        """The same in CPU seconds, which other programs disturb less."""
        return self.plain_cpu_s / self.luxdask_cpu_s


@dataclass(frozen=True)
class Memory:
    """Memory in MB when so many tasks were done."""

    done: int
    seconds: float
    client: float
    scheduler: float


def serve(address: Any, workers: int, end: Any) -> None:
    """Hold a LocalCluster until told to end."""
    import dask
    import distributed

    from luxdask.cluster.dask_backend import SETTINGS

    with (
        dask.config.set(SETTINGS),
        distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
        ) as cluster,
    ):
        address.put(cluster.scheduler_address)
        end.wait()


@contextmanager
def local_cluster(workers: int = 2) -> Iterator[tuple[str, psutil.Process]]:
    """Address of a scheduler in a process of its own, and that process."""
    context = multiprocessing.get_context("spawn")
    address, end = context.Queue(), context.Event()
    process = context.Process(target=serve, args=(address, workers, end))
    process.start()
    try:
        yield address.get(timeout=120), psutil.Process(process.pid)
    finally:
        end.set()
        process.join(60)
        process.kill()
        process.join()
        address.close()
        address.join_thread()


def stream(backend: Backend, tasks: int, every: int = 0, seen: Seen = lambda _: None) -> None:
    """Run so many tiny tasks; `seen(done)` after every so many of them."""
    done = 0

    def finished(_: Any) -> list[Task]:
        nonlocal done
        done += 1
        if every and done % every == 0:
            seen(done)
        return []

    source = (Task(("tiny", number), abs, number) for number in range(tasks))
    assert execute(source, backend, finished, threading.Event())
    assert done == tasks


def watch_memory(
    backend: Backend, scheduler: psutil.Process, tasks: int, samples: int = 40
) -> list[Memory]:
    """Memory of client and scheduler during one long stream."""
    client, began, found = psutil.Process(), time.perf_counter(), []

    def seen(done: int) -> None:
        mb = [process.memory_info().rss / 1e6 for process in (client, scheduler)]
        found.append(Memory(done, round(time.perf_counter() - began, 1), *mb))

    stream(backend, tasks, max(1, tasks // samples), seen)
    return found


def growth(memory: list[Memory], who: str, warm: float = 0.2) -> float:
    """Largest change of memory after warm-up, as a part of it."""
    values = [getattr(row, who) for row in memory]
    values = values[int(len(values) * warm) :]
    return float(max(abs(value / values[0] - 1) for value in values))


def compare(backend: Any, scheduler: psutil.Process, piece: int, turns: int) -> Speed:
    """Pieces of both sides by turns."""
    client, found = backend._client, Speed(piece * turns)

    def plain() -> None:
        futures = client.map(abs, range(piece), pure=False, batch_size=None)
        assert len(client.gather(futures)) == piece

    for _ in range(turns):
        for side, run in (("plain", plain), ("luxdask", lambda: stream(backend, piece))):
            began, cpu = time.perf_counter(), cpu_s(scheduler)
            run()
            spent = (time.perf_counter() - began, cpu_s(scheduler) - cpu)
            for name, value in zip((f"{side}_s", f"{side}_cpu_s"), spent, strict=True):
                setattr(found, name, getattr(found, name) + value)
    return found


def cpu_s(scheduler: psutil.Process) -> float:
    """CPU seconds so far of this process, the scheduler and its workers."""
    processes = [psutil.Process(), scheduler, *scheduler.children(recursive=True)]
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def draw(memory: list[Memory], path: Path) -> None:
    """Memory over the tasks done."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.subplots()
    for who in ("client", "scheduler"):
        axes.plot([row.done for row in memory], [getattr(row, who) for row in memory], label=who)
    most = max(max(row.client, row.scheduler) for row in memory)
    axes.set(xlabel="tasks done", ylabel="memory, MB", ylim=(0, 1.2 * most))
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=200_000, help="of the long stream")
    parser.add_argument("--piece", type=int, default=3_000, help="tasks of one turn")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--picture", action="store_true")
    given = parser.parse_args()
    with local_cluster() as (address, scheduler), connect(address) as backend:
        stream(backend, 500)
        speed = compare(backend, scheduler, given.piece, given.turns)
        print(
            f"{speed.tasks} tasks each: luxdask {speed.tasks / speed.luxdask_s:.0f}, plain dask "
            f"{speed.tasks / speed.plain_s:.0f} tasks/s, ratio {speed.ratio:.2f} "
            f"(in CPU seconds {speed.cpu_ratio:.2f})",
            flush=True,
        )
        memory = watch_memory(backend, scheduler, given.tasks)
    print(f"{'done':>8} {'seconds':>8} {'client MB':>10} {'scheduler MB':>13}")
    for row in memory[:: max(1, len(memory) // 10)]:
        print(f"{row.done:>8} {row.seconds:>8} {row.client:>10.1f} {row.scheduler:>13.1f}")
    changes = {who: round(growth(memory, who), 3) for who in ("client", "scheduler")}
    print(f"change after warm-up: {changes}")
    OUT.parent.mkdir(exist_ok=True)
    rows = [asdict(row) for row in memory]
    OUT.write_text(json.dumps({"speed": asdict(speed), "memory": rows}, indent=2) + "\n")
    if given.picture:
        draw(memory, OUT.with_suffix(".png"))


if __name__ == "__main__":
    main()
