"""Who computes which tile: this process, shares, engines; and what several of them do to one store."""

import concurrent.futures
import functools
import multiprocessing
import threading

import jax
import numpy as np
import pytest
import zarr
from store_cases import inputs, make, run

import neural_tangents as nt
from neural_tangents import stax
from neural_tangents.batching import KernelStore, fill_tile

X = inputs(23)


@pytest.fixture
def target(tmp_path):
    return tmp_path / "kernels"


def counting(counts: list):
    """A kernel function that notes which tiles it computes; the first feature numbers inputs."""

    def note(i, j):
        counts.append((int(i) // 4, int(j) // 4))

    def kernel_fn(x1, x2=None):
        x2 = x1 if x2 is None else x2
        jax.debug.callback(note, x1[0, 0], x2[0, 0])
        return x1 @ x2.T

    return kernel_fn


NUMBERED = np.arange(23, dtype=np.float32)[:, None] * np.ones((1, 2), np.float32)


def test_shares_are_a_partition(target):
    counts = []
    store = make(target, NUMBERED, kernel_fn=counting(counts))
    counts.clear()  # one tile tells whether the kernel is symmetric
    for k in range(4):
        store.fill(share=(k, 4))
    assert len(counts) == len(set(counts)) == 21
    assert store.missing() == []
    fill_tile(store, 3, 1)
    assert len(counts) == 21  # it looks first


class Inline:
    """An engine that runs tasks at once, and counts."""

    def __init__(self, failing: int = -1) -> None:
        self.number, self.failing, self.cancelled = 0, failing, 0

    def submit(self, task, *args):
        future = concurrent.futures.Future()
        future.cancel = lambda: setattr(self, "cancelled", self.cancelled + 1)
        self.number += 1
        if self.number < self.failing or self.failing < 0:
            future.set_result(task(*args))
        elif self.number == self.failing:
            future.set_exception(OSError("no"))
        return future  # those after the failure never end


def test_engines(target):
    store = make(target, X)
    engine = Inline()
    store.fill(executor=engine)
    assert engine.number == 21 and store.missing() == []
    store.fill(executor=engine)
    assert engine.number == 21


def test_the_first_failure_cancels_the_rest(target):
    store = make(target, X)
    engine = Inline(failing=5)
    with pytest.raises(OSError, match="no"):
        store.fill(executor=engine)
    assert engine.number == 21 and engine.cancelled == 16
    assert len(store.missing()) == 17


def test_few_tasks_are_submitted_at_a_time(target, monkeypatch):
    monkeypatch.setattr("neural_tangents.batching._store.drivers._IN_FLIGHT", 3)
    running, most = set(), []
    with concurrent.futures.ThreadPoolExecutor(2) as pool:

        class Engine:
            def submit(self, task, *args):
                future = pool.submit(task, *args)
                running.add(future)
                future.add_done_callback(running.discard)
                most.append(len(running))
                return future

        store = make(target, X)
        store.fill(executor=Engine(), share=(0, 2))
    assert max(most) <= 3 and len(store.missing()) == 10


def test_progress(target, capsys):
    store = make(target, X)
    store.fill(share=(0, 2), progress=False)
    assert capsys.readouterr().err == ""
    store.fill(progress=True)
    shown = capsys.readouterr().err
    assert "52%" in shown and "11/21" in shown and "21/21" in shown
    store.fill()  # no terminal, no bar
    assert capsys.readouterr().err == ""


def test_an_error_of_the_kernel_function_keeps_finished_tiles(target):
    def fail(i, j):
        if int(i) == 4 and int(j) == 20:
            raise RuntimeError("no such tile")

    def kernel_fn(x1, x2=None):
        x2 = x1 if x2 is None else x2
        jax.debug.callback(fail, x1[0, 0], x2[0, 0], ordered=True)
        return x1 @ x2.T

    store = make(target, NUMBERED, kernel_fn=kernel_fn)
    with pytest.raises(Exception, match="no such tile"):
        store.fill()
    assert 9 < len(store.missing()) < 13


def test_threads_that_write_the_same_store(target):
    stores = [make(target, X) for _ in range(3)]
    threads = [threading.Thread(target=store.fill) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert stores[0].missing() == []
    np.testing.assert_allclose(np.asarray(stores[1].nngp), X @ X.T, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["folder", "memory"])
def test_threads_that_make_the_same_store(target, kind):
    """All of them get it. In a folder, those whose call is another one are told so; a remote store has no such lock."""
    target = target if kind == "folder" else zarr.storage.MemoryStore()
    others = 1 if kind == "folder" else 0

    def attempt(number):
        try:
            return make(target, X + number % 2 * others)
        except ValueError as error:
            return error

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        found = list(pool.map(attempt, range(8)))
    winner = next(k for k, store in enumerate(found) if isinstance(store, KernelStore)) % 2
    assert [isinstance(store, KernelStore) for store in found] == [not others or k % 2 == winner for k in range(8)]
    assert all("values of inputs" in str(error) for error in found if not isinstance(error, KernelStore))
    found[winner].fill()
    x = X + winner * others
    np.testing.assert_allclose(np.asarray(found[winner].nngp), x @ x.T, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_processes_that_make_and_fill_the_same_store(target):
    script = "import sys; from store_cases import inputs, make; make(sys.argv[1], inputs(23)).fill()"
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: run(script, target), range(2)))
    store = make(target, X)
    assert store.missing() == [] and [path.name for path in target.parent.iterdir()] == ["kernels"]
    np.testing.assert_allclose(np.asarray(store.nngp), X @ X.T, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_process_pool_and_kernels_of_networks(target):
    init_fn, apply_fn, kernel_fn = stax.serial(stax.Dense(8), stax.Relu(), stax.Dense(1))
    _, params = init_fn(jax.random.key(0), X.shape)
    empirical = functools.partial(nt.empirical_ntk_fn(apply_fn, vmap_axes=0), params=params)
    with concurrent.futures.ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        for name, fn, args in [("infinite", kernel_fn, ("ntk",)), ("empirical", empirical, ())]:
            store = make(target / name, X, None, *args, kernel_fn=fn, batch_size=12)
            store.fill(executor=pool)
            assert store.missing() == []
            found = np.asarray(store[store.names[0]])
            np.testing.assert_allclose(found, fn(X, None, *args), rtol=1e-4, atol=1e-5)
