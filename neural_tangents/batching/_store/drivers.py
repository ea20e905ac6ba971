"""How tiles that are independent of one another are driven: by an engine, in shares, with a bar that tells how many."""

import contextlib
import importlib
import itertools
import queue
from collections.abc import Callable, Iterable, Iterator
from operator import index
from typing import Any

from neural_tangents.batching._store.target import import_extra

# Tasks that an engine has at a time: enough for all workers, and few enough to be kept and to be cancelled.
_IN_FLIGHT = 256


def run_tasks(
    executor: Any, task: Callable[..., None], arguments: Iterable[tuple[Any, ...]], advance: Callable[[], Any]
) -> None:
    """Has an engine run a task with each of some arguments. The first failure cancels all that wait, and is raised.

    Args:
      executor: whatever has a method `submit` that returns futures; of dask, also its `Client`.
      task: what to run.
      arguments: the arguments of each run.
      advance: called whenever a run has ended.

    Raises:
      TypeError: it is no engine.
    """
    if hasattr(executor, "get_executor"):
        executor = executor.get_executor(pure=False)  # dask would not run a task again that it has run before
    if not hasattr(executor, "submit"):
        raise TypeError(
            f"Expected `executor` to have a method `submit`, such as `concurrent.futures.ProcessPoolExecutor` or a "
            f"client of dask, got {type(executor).__name__}."
        )
    finished: queue.SimpleQueue[Any] = queue.SimpleQueue()
    running: set[Any] = set()
    waiting = iter(arguments)
    try:
        while True:
            for given in itertools.islice(waiting, _IN_FLIGHT - len(running)):
                future = executor.submit(task, *given)
                running.add(future)
                future.add_done_callback(finished.put)
            if not running:
                return
            future = finished.get()
            running.remove(future)
            future.result()
            advance()
    finally:
        for future in running:
            future.cancel()


def share_of(tiles: list[tuple[int, int]], share: tuple[int, int] | None) -> list[tuple[int, int]]:
    """The tiles of one of several processes.

    Raises:
      ValueError: there is no such share.
    """
    if share is None:
        return tiles
    try:
        k, n = map(index, share)
    except (TypeError, ValueError):
        k, n = 0, 0
    if not 0 <= k < n:
        raise ValueError(
            f"Expected `share` to be a pair (k, n), for the share k = 0, ..., n - 1 of n processes, got {share!r}. "
            "Where processes are numbered from 1, subtract 1."
        )
    return tiles[k::n]


@contextlib.contextmanager
def progress_bar(wanted: bool | None, label: str, total: int, done: int) -> Iterator[Callable[[], Any]]:
    """A function to be called after each tile, which moves a bar of tqdm.

    Args:
      wanted: whether there is a bar; by None if tqdm is installed and there is a terminal.
      label: what the bar is for.
      total: number of tiles.
      done: how many have been computed before.

    Raises:
      ImportError: a bar is wanted, but tqdm is not installed.
    """
    try:
        tqdm = None if wanted is False else importlib.import_module("tqdm")
    except ImportError:
        tqdm = import_extra("tqdm", "a bar of progress") if wanted else None
    if tqdm is None:
        yield lambda: None
        return
    with tqdm.tqdm(
        desc=label, total=total, initial=done, unit="tile", disable=None if wanted is None else False
    ) as bar:
        yield bar.update
