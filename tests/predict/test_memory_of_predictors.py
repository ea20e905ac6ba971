"""What predictors leave behind, and the most that they take."""

import gc
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neural_tangents import predict, stax

_, _, KERNEL_FN = stax.serial(stax.Dense(1), stax.Erf(), stax.Dense(1))


def ensemble(x, y, x_test, t):
    predict_fn = predict.gradient_descent_mse_ensemble(KERNEL_FN, x, y, diag_reg=1e-3)
    return predict_fn, predict_fn(t, x_test, "ntk", True)


def inference(x, y, x_test, diag_reg=1e-3):
    predict_fn = predict.gp_inference(KERNEL_FN(x, None, "ntk"), y, diag_reg)
    kernels = KERNEL_FN(x_test, x, "ntk"), KERNEL_FN(x_test, None, "ntk")
    return predict_fn, jax.jit(lambda *kernels: predict_fn("ntkgp", *kernels))(*kernels), predict_fn("ntkgp", *kernels)


def mse(x, y, x_test):
    predict_fn = predict.gradient_descent_mse(KERNEL_FN(x, None, "ntk"), y, diag_reg=1e-3)
    return predict_fn, predict_fn(10.0, 0.0, 0.0, KERNEL_FN(x_test, x, "ntk"))


def judged(x, y, x_test):
    predict_fn = predict.gp_inference(KERNEL_FN(x, None, "ntk"), y, 1e-3)
    return predict_fn, predict_fn.diagnostics(), predict_fn.log_marginal_likelihood(), predict_fn.leave_one_out()


# With sizes of their own, since what is left might be shared; and how many kernels a predictor may hold. What a
# compiled function closes over, jax holds a second time.
USES = {
    "inference": (211, inference, 4),
    "with jitter": (223, lambda x, y, x_test: inference(np.concatenate([x[:-1], x[:1]]), y, x_test, 0.0), 4),
    "squared loss": (227, mse, 2),
    "ensemble": (229, lambda *data: ensemble(*data, 10.0), 3),
    "ensemble at the end": (233, lambda *data: ensemble(*data, None), 3),
    "judged": (239, judged, 2),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", USES)
def test_nothing_is_left_behind(name):
    n, use, most = USES[name]
    x = np.random.default_rng(n).normal(size=(n + 3, 4)).astype("float32")

    def kernels():
        gc.collect()
        return sum(a.size for a in jax.live_arrays() if a.size >= n**2) / n**2

    before = kernels()
    found = use(x[:n], np.sin(x[:n, :1]), x[n:])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found[1:]))
    assert kernels() - before <= most
    del found
    assert kernels() == before


PEAK = """
import pathlib, sys, gc
import jax, jax.numpy as jnp, numpy as np
from neural_tangents import predict

def status(key):
    return 1024 * int(pathlib.Path("/proc/self/status").read_text().split(key + ":")[1].split()[0])

for n in (64, 3500):
    i = np.arange(n, dtype="float32")
    k = jnp.array(np.exp(-50 / n * np.abs(i[:, None] - i)) + 0.1 * np.eye(n, dtype="float32"))
    y, k_td = jnp.sin(i / 100)[:, None], jax.block_until_ready(k[:50] * 1)
    del i
    gc.collect()
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    if sys.argv[1] == "gp_inference":
        out = predict.gp_inference(k, y)("nngp", k_td, k_td[:, :50])
    else:
        out = predict.gradient_descent_mse(k, y)(10.0, 0.0, 0.0, k_td)
    jax.block_until_ready(out)
print((status("VmHWM") - before) / k.nbytes)
"""


@pytest.mark.slow
@pytest.mark.skipif(not pathlib.Path("/proc/self/clear_refs").exists(), reason="Linux tells the peak of a process.")
@pytest.mark.parametrize(("kind", "most"), [("gp_inference", 3), ("gradient_descent_mse", 4)])
def test_peak(kind, most):
    """Beyond the kernel, with the compiler, which takes a part of a kernel of this size."""
    out = subprocess.run([sys.executable, "-c", PEAK, kind], capture_output=True, text=True, check=True).stdout
    assert 1 <= float(out) <= most


@pytest.mark.slow
def test_constants_of_a_trace_are_not_kept():
    """A predictor that is first used inside of `jit` computes its factors there and then, and leaves no mask behind."""
    n = 241
    kernel = jnp.eye(n) * 2 + 0.1
    predict_fn = predict.gp_inference(kernel, jnp.ones((n, 1)))
    jax.jit(lambda k, predict_fn=predict_fn: predict_fn("nngp", k))(kernel[:2])
    gc.collect()
    found = [a.dtype for a in jax.live_arrays() if a.shape == (n, n)]
    assert len(found) <= 4 and all(dtype == "float32" for dtype in found)  # the kernel and its factor, held twice
    del predict_fn, kernel
    gc.collect()
    assert not [a for a in jax.live_arrays() if a.shape == (n, n)]
