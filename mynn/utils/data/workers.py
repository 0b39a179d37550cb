"""Threads that fetch batches ahead; batches come in order."""

from __future__ import annotations

import collections
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from mynn.errors import UsageError

# What a worker answers when its part of an iterable data set is over.
END = object()


@dataclass(frozen=True)
class WorkerInfo:
    """What `get_worker_info` tells: which of how many workers this is, its seed, its data set."""

    id: int
    num_workers: int
    seed: int
    dataset: Any


_here = threading.local()


def get_worker_info() -> WorkerInfo | None:
    """In a worker of a loader, which one it is; None elsewhere.

    Example:
        >>> get_worker_info() is None
        True
    """
    info: WorkerInfo | None = getattr(_here, "info", None)
    return info


class Workers:
    """Threads, each with a queue of tasks and one of results.

    `start(info)` is called in each thread and gives the function that answers its tasks.
    """

    def __init__(
        self, infos: list[WorkerInfo], start: Callable[[WorkerInfo], Callable[[Any], Any]]
    ) -> None:
        self.tasks = [queue.SimpleQueue[Any]() for _ in infos]
        self.results = [queue.SimpleQueue[tuple[bool, Any]]() for _ in infos]
        for info in infos:
            threading.Thread(
                target=_work,
                args=(info, start, self.tasks[info.id], self.results[info.id]),
                daemon=True,
                name=f"DataLoader worker {info.id}",
            ).start()

    def result(self, worker: int, timeout: float) -> Any:
        """The next result of a worker; what it raised is raised here."""
        try:
            good, value = self.results[worker].get(timeout=timeout or None)
        except queue.Empty:
            raise UsageError(
                f"DataLoader timed out after {timeout} seconds: worker {worker} gave no batch; "
                "give a longer timeout, or 0 to wait for ever"
            ) from None
        if not good:
            raise value
        return value

    def ordered(self, tasks: Iterator[Any], ahead: int, timeout: float) -> Iterator[Any]:
        """Results in the order of the tasks, which are dealt out in turn, `ahead` of them at once.

        A worker that answers `END` gets no more of them.
        """
        pending: collections.deque[int] = collections.deque()

        def give(worker: int) -> None:
            for task in tasks:
                self.tasks[worker].put(task)
                pending.append(worker)
                return

        for number in range(ahead):
            give(number % len(self.tasks))
        while pending:
            worker = pending.popleft()
            value = self.result(worker, timeout)
            if value is not END:
                give(worker)
                yield value

    def close(self) -> None:
        """Each leaves when it has done what it is at."""
        for tasks in self.tasks:
            while True:
                try:
                    tasks.get_nowait()
                except queue.Empty:
                    break
            tasks.put(END)


def _work(
    info: WorkerInfo,
    start: Callable[[WorkerInfo], Callable[[Any], Any]],
    tasks: queue.SimpleQueue[Any],
    results: queue.SimpleQueue[tuple[bool, Any]],
) -> None:
    _here.info = info
    try:
        answer = start(info)
    except BaseException as error:
        results.put((False, error))
        return
    while (task := tasks.get()) is not END:
        try:
            results.put((True, answer(task)))
        except BaseException as error:
            results.put((False, error))
