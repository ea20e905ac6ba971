"""Workers that are killed at random moments, again and again, while they fill one store; and what memory it takes.

Each worker notes in a file which tile it begins to compute, and when. No tile may be computed by a worker while another
one that has begun with it is alive.
"""

import itertools
import json
import os
import random
import subprocess
import sys
import time

import numpy as np
import pytest
from store_cases import environment, run, working

from neural_tangents.batching import open_store

KILLS = 20

# A kernel that takes a while, of inputs whose first feature numbers them.
COMMON = """
import json, os, random, sys, threading, time
import jax, jax.numpy as jnp, numpy as np
from store_cases import make, working

def make_store(target, log):
    noted = {"on": False}  # not while it is made: then a tile is computed to see whether the kernel is symmetric

    def note(i, j):
        if noted["on"]:
            file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(file, json.dumps([time.time(), os.getpid(), int(i) // 4, int(j) // 4]).encode() + b"\\n")
            os.close(file)
            time.sleep(0.1)

    def kernel_fn(x1, x2=None):
        x2 = x1 if x2 is None else x2
        jax.debug.callback(note, x1[0, 0], x2[0, 0])
        return {"nngp": x1 @ x2.T, "ntk": jnp.tanh(x1 @ x2.T)}

    x = np.random.RandomState(0).normal(size=(97, 5)).astype(np.float32)
    x[:, 0] = np.arange(97)
    store = make(target, x, kernel_fn=kernel_fn)
    noted["on"] = log != "none"
    return store
"""

SHARE = COMMON + "make_store(*sys.argv[1:3]).fill(share=json.loads(sys.argv[3]), progress=False)"

# The process that has the scheduler kills the workers.
DASK = """
import signal, dask
from distributed import Client, LocalCluster

def kill(cluster, log, killed, kills):
    while len(killed) < kills:
        time.sleep(random.uniform(0.1, 0.9))
        pids = sorted({getattr(worker, "pid", None) for worker in cluster.workers.values()} & working(log))
        if pids:
            pid = random.choice(pids)
            killed.append([time.time(), pid])
            os.kill(pid, signal.SIGKILL)

if __name__ == "__main__":
    random.seed(0)
    dask.config.set({"distributed.scheduler.allowed-failures": 1000})
    with LocalCluster(n_workers=3, threads_per_worker=1, dashboard_address=None, silence_logs=50) as cluster:
        cluster.adapt(minimum=3, maximum=3)  # without this, a worker that dies while it starts is never replaced
        with Client(cluster) as client:
            store, killed = make_store(*sys.argv[1:3]), []
            thread = threading.Thread(target=kill, args=(cluster, sys.argv[2], killed, int(sys.argv[3])))
            thread.start()
            store.fill(executor=client, progress=False)
            left = store.missing()
            thread.join()
    print(json.dumps({"killed": killed, "left": left}))
"""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    target = tmp_path_factory.mktemp("undisturbed") / "store"
    run(SHARE, target, "none", "[0, 1]")
    store = open_store(target)
    return {name: np.asarray(store[name]) for name in store.names}


def check(target, log, killed: list, undisturbed) -> None:
    """The store is complete and bit-equal, and no tile was computed by two workers of which the first was alive."""
    store = open_store(target)
    assert store.missing() == []
    for name, expected in undisturbed.items():
        np.testing.assert_array_equal(np.asarray(store[name]), expected)
    assert len(killed) == KILLS
    time_of_death = {pid: moment for moment, pid in killed}
    begun: dict[tuple, list] = {}
    for moment, pid, *tile in map(json.loads, log.read_text().splitlines()):
        begun.setdefault(tuple(tile), []).append((moment, pid))
    assert len(begun) == 325
    for entries in begun.values():
        for (_, first), (moment, _) in itertools.pairwise(sorted(entries)):
            assert first in time_of_death and time_of_death[first] < moment
    twice = sum(len(entries) - 1 for entries in begun.values())
    assert twice <= KILLS
    print(f"{twice} tiles were computed again after their worker had been killed")


@pytest.mark.slow
def test_killed_workers_with_shares(tmp_path, undisturbed):
    target, log, killed = tmp_path / "store", tmp_path / "log", []
    chance = random.Random(0)

    def start(k):
        command = [sys.executable, "-c", SHARE, str(target), str(log), json.dumps([k, 3])]
        return subprocess.Popen(command, env=environment())

    workers = {k: start(k) for k in range(3)}
    while len(killed) < KILLS:
        time.sleep(chance.uniform(0.1, 0.9))
        assert any(worker.poll() is None for worker in workers.values()), "the store was full before all kills"
        begun = [k for k, worker in workers.items() if worker.poll() is None and worker.pid in working(log)]
        if not begun:
            continue
        k = chance.choice(begun)
        killed.append((time.time(), workers[k].pid))
        workers[k].kill()
        workers[k].wait()
        workers[k] = start(k)
    assert [worker.wait(timeout=120) for worker in workers.values()] == [0, 0, 0]
    check(target, log, killed, undisturbed)


@pytest.mark.slow
def test_killed_workers_of_dask(tmp_path, undisturbed):
    pytest.importorskip("distributed")
    script, log = tmp_path / "script.py", tmp_path / "log"
    script.write_text(COMMON + DASK)
    command = [sys.executable, str(script), str(tmp_path / "store"), str(log), str(KILLS)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["left"] == []
    check(tmp_path / "store", log, found["killed"], undisturbed)


MEMORY = """
import resource, sys; import numpy as np; from store_cases import inputs, make
n = int(sys.argv[2])
store = make(sys.argv[1], inputs(n, 4), batch_size=500)
store.fill()
assert store.missing() == []
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_inputs(tmp_path):
    few, many = (float(run(MEMORY, tmp_path / str(n), n)) for n in (2000, 8000))
    print(f"{few:.0f} MB for 2,000 inputs, {many:.0f} MB for 8,000; one kernel of these takes 256 MB")
    assert many < few + 40
    assert sum(os.path.getsize(path) for path in (tmp_path / "8000" / "ntk").rglob("*") if path.is_file()) > 256e6
