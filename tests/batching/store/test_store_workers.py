"""Workers that are killed at random moments, again and again, while they fill one store; and what memory it takes.

Each worker notes in a file which tile it begins to compute, and when. No tile may be computed by a worker while another
one that has begun with it is alive.
"""

import itertools
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from simulated_devices import environment
from store_cases import run

from neural_tangents.batching import open_store

KILLS = 20

# Fills a store by three workers. A fork server imports what they need, so that they start fast.
SCRIPT = """
import dask, json, multiprocessing, os, random, signal, sys, threading, time
import jax, jax.numpy as jnp, numpy as np
from distributed import Client, LocalCluster
from distributed.utils import get_mp_context
from store_cases import make

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
    x[:, 0] = np.arange(97)  # numbers of inputs
    store = make(target, x, kernel_fn=kernel_fn)
    noted["on"] = log != "none"
    return store

def fill_share(target, log, *share):
    make_store(target, log).fill(share=share, progress=False)

def by_shares(target, log, context, killing):
    alive = {}

    def keep_filling(k):
        while k not in alive or alive[k].exitcode:
            alive[k] = context.Process(target=fill_share, args=(target, log, k, 3))
            alive[k].start()
            alive[k].join()

    threads = [threading.Thread(target=keep_filling, args=(k,)) for k in range(3)]
    for thread in threads:
        thread.start()
    killing.start(lambda: [process.pid for process in alive.values() if process.is_alive()])
    for thread in threads:
        thread.join()

def by_dask(target, log, context, killing):
    dask.config.set({"distributed.scheduler.allowed-failures": 1000})
    with LocalCluster(n_workers=3, threads_per_worker=1, dashboard_address=None, silence_logs=50) as cluster:
        cluster.adapt(minimum=3, maximum=3)  # without this, a worker that dies while it starts is never replaced
        with Client(cluster) as client:
            store = make_store(target, log)
            killing.start(lambda: [nanny.pid for nanny in cluster.workers.values() if getattr(nanny, "pid", None)])
            store.fill(executor=client, progress=False)

class Killing:
    # Kills workers at random moments: now any, now one that has begun to compute a tile.

    def __init__(self, log, number):
        self.log, self.number, self.killed, self.ended = log, number, [], threading.Event()

    def start(self, alive):
        self.thread = threading.Thread(target=self.run, args=(alive,), daemon=True)
        self.thread.start()

    def run(self, alive):
        chance = random.Random(0)
        while len(self.killed) < self.number and not self.ended.wait(chance.uniform(0.1, 0.9)):
            lines = open(self.log).readlines() if os.path.exists(self.log) else []
            working = {json.loads(line)[1] for line in lines}
            pids = [pid for pid in alive() if len(self.killed) % 4 == 0 or pid in working]
            if pids:
                pid = chance.choice(pids)
                self.killed.append([time.time(), pid])
                os.kill(pid, signal.SIGKILL)

    def end(self):
        self.ended.set()
        self.thread.join()
        return self.killed

if __name__ == "__main__":
    dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"})
    context = get_mp_context()
    context.set_forkserver_preload(["distributed", "jax", "zarr", "neural_tangents.batching"])
    engine, target, log, kills = sys.argv[1:]
    killing = Killing(log, int(kills))
    if engine == "none":
        fill_share(target, log, 0, 1)
    else:
        {"shares": by_shares, "dask": by_dask}[engine](target, log, context, killing)
        print(json.dumps(killing.end()))
"""


def fill(engine: str, folder, log="none") -> list:
    """Fills a store, and returns which processes were killed, and when."""
    pytest.importorskip("distributed")
    script = folder / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, script, engine, folder / "store", log, str(KILLS)]
    done = subprocess.run(command, env=environment(1), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1]) if done.stdout else []


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    fill("none", folder)
    store = open_store(folder / "store")
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
    assert twice <= 2 * KILLS  # while a tile is computed, the one before is written
    print(f"{twice} tiles were computed again after their worker had been killed")


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["shares", "dask"])
def test_killed_workers(engine, tmp_path, undisturbed):
    killed = fill(engine, tmp_path, tmp_path / "log")
    check(tmp_path / "store", tmp_path / "log", killed, undisturbed)


MEMORY = """
import re, sys; from store_cases import inputs, make
n = int(sys.argv[2])
store = make(sys.argv[1], inputs(n, 4), batch_size=500)
store.fill()
assert store.missing() == []
print(int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) / 1024)
"""


# What `getrusage` tells is at least the memory of the process that started this one.
@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="the system does not tell the peak of memory")
def test_memory_does_not_grow_with_the_number_of_inputs(tmp_path):
    few, many = (float(run(MEMORY, tmp_path / str(n), n)) for n in (2000, 8000))
    print(f"{few:.0f} MB for 2,000 inputs, {many:.0f} MB for 8,000; one kernel of these takes 256 MB")
    assert many < few + 40
    assert sum(os.path.getsize(path) for path in (tmp_path / "8000" / "ntk").rglob("*") if path.is_file()) > 256e6
