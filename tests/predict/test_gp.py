"""`gp_inference` against conditioning of the joint Gaussian over all outputs, through its precision matrix."""

from typing import Any, NamedTuple

import jax
import linear_models
import numpy as np
import pytest
from jax import numpy as jnp
from jax.test_util import check_grads

from neural_tangents import predict


class Kernels(NamedTuple):
    nngp: Any = None
    ntk: Any = None


def blocks(problem):
    return [Kernels(problem.nngp[block], problem.ntk[block]) for block in ("dd", "td", "tt")]


def conditioned(problem, get, diag_reg, absolute):
    """Mean and covariance of `get`, from dense joint covariances."""
    m = problem.y.size
    nngp, theta = problem.joint(problem.nngp), problem.joint(problem.ntk)
    used = (nngp if get == "nngp" else theta).copy()
    used[:m, :m] = linear_models.regularised(used[:m, :m], diag_reg, absolute)
    precision = np.linalg.inv(used + 1e-13 * np.eye(len(used)))
    covariance = np.linalg.inv(precision[m:, m:])
    weights = -covariance @ precision[m:, :m]
    if get == "ntk":
        difference = np.hstack([-weights, np.eye(len(weights))])
        covariance = difference @ nngp @ difference.T
    mean = (weights @ problem.y.ravel()).reshape(problem.f0_test.shape)
    shape = problem.f0_test.shape
    return mean, linear_models.undense(covariance, shape, shape, problem.trace_axes)


@pytest.mark.parametrize("get", ["nngp", "ntk", "ntkgp"])
@pytest.mark.parametrize("shape, trace_axes", linear_models.SHAPES_AND_TRACES[1::2])
def test_posterior(shape, trace_axes, get):
    problem = linear_models.problem(shape, trace_axes, [20, len(shape), len(trace_axes)])
    absolute = len(trace_axes) == 1
    with jax.enable_x64(True):
        k_dd, k_td, k_tt = blocks(problem)
        predict_fn = predict.gp_inference(k_dd, problem.y, 0.05, absolute, trace_axes)
        gaussian = predict_fn(get, k_td, k_tt)
        mean = predict_fn(get, k_td)
    assert isinstance(gaussian, predict.Gaussian)
    for got, want in zip(gaussian, conditioned(problem, get, 0.05, absolute), strict=True):
        assert got.shape == want.shape
        np.testing.assert_allclose(got, want, rtol=1e-8, atol=1e-9)
    np.testing.assert_array_equal(mean, gaussian.mean)


def test_selection_of_predictions():
    problem = linear_models.problem((4, 3), (-1,), 21)
    k_dd, k_td, k_tt = blocks(problem)
    predict_fn = predict.gp_inference(k_dd, problem.y, 0.1)
    both = predict_fn(None, k_td, k_tt)
    assert type(both).__name__ == "Gaussians" and both._fields == ("nngp", "ntk")
    everything = predict_fn(("ntkgp", "ntk", "nngp"), k_td, k_tt)
    assert everything._fields == ("ntkgp", "ntk", "nngp")
    for name in everything._fields:
        alone = predict_fn(name.upper(), k_td, k_tt)
        np.testing.assert_array_equal(getattr(everything, name).covariance, alone.covariance)
    assert predict_fn(["ntk"], k_td)._fields == ("ntk",)
    assert type(predict_fn(["ntk"], k_td)) is type(predict_fn(("ntk",), k_td))


def test_arrays_as_kernels():
    problem = linear_models.problem((4, 3), (-1,), 22)
    k_dd, k_td, k_tt = blocks(problem)
    for get, name in dict(nngp="nngp", ntkgp="ntk").items():
        want = predict.gp_inference(k_dd, problem.y, 0.1)(get, k_td, k_tt)
        got = predict.gp_inference(getattr(k_dd, name), problem.y, 0.1)(get, getattr(k_td, name), getattr(k_tt, name))
        np.testing.assert_array_equal(got.mean, want.mean)
        np.testing.assert_array_equal(got.covariance, want.covariance)
    predict_fn = predict.gp_inference(k_dd, problem.y, 0.1)
    want, got = predict_fn("ntk", k_td, k_tt), predict_fn("ntk", k_td, k_tt.nngp)
    np.testing.assert_array_equal(got.covariance, want.covariance)
    mean = predict.gp_inference(k_dd.ntk, problem.y, 0.1)("ntk", k_td.ntk)
    np.testing.assert_array_equal(mean, want.mean)


@pytest.mark.parametrize("shape, trace_axes", linear_models.SHAPES_AND_TRACES[2:4])
def test_training_set(shape, trace_axes):
    problem = linear_models.problem(shape, trace_axes, 23)
    predict_fn = predict.gp_inference(blocks(problem)[0], problem.y.astype(np.float32), 0.1, trace_axes=trace_axes)
    np.testing.assert_array_equal(predict_fn("ntk"), problem.y.astype(np.float32))
    gaussians = predict_fn(k_test_test=True)
    np.testing.assert_array_equal(gaussians.ntk.mean, problem.y.astype(np.float32))
    assert gaussians.nngp.covariance.shape == problem.nngp["dd"].shape and not gaussians.nngp.covariance.any()
    assert not isinstance(predict_fn("ntk", k_test_test=False), predict.Gaussian)


def test_missing_kernels():
    problem = linear_models.problem((4, 3), (-1,), 24)
    k_dd, k_td, k_tt = blocks(problem)
    predict_fn = predict.gp_inference(k_dd._replace(nngp=None), problem.y)
    predict_fn("ntk", k_td)
    with pytest.raises(ValueError, match=r"need the kernels \('nngp', 'ntk'\) in `k_train_train`, got \('ntk',\)"):
        predict_fn("ntk", k_td, k_tt)
    with pytest.raises(ValueError, match=r"\('nngp',\) in `k_train_train`"):
        predict_fn("nngp", k_td)
    predict_fn = predict.gp_inference(k_dd, problem.y)
    with pytest.raises(ValueError, match=r"in `k_test_train`, got one array"):
        predict_fn(None, k_td.nngp)
    with pytest.raises(ValueError, match=r"in `k_test_test`, got \('nngp',\)"):
        predict_fn("ntkgp", k_td, k_tt._replace(ntk=None))
    with pytest.raises(ValueError, match=r"in `k_train_train`, got one array"):
        predict.gp_inference(k_dd.nngp, problem.y)("ntk", k_td, k_tt)


def test_errors():
    problem = linear_models.problem((4, 3), (-1,), 25)
    k_dd, k_td, k_tt = blocks(problem)
    with pytest.raises(ValueError, match=r"`k_train_train.nngp` of shape \(5, 5\)"):
        predict.gp_inference(k_dd, np.ones((5, 3)))
    with pytest.raises(ValueError, match="diag_reg"):
        predict.gp_inference(k_dd, problem.y, -1.0)
    predict_fn = predict.gp_inference(k_dd, problem.y)
    with pytest.raises(AttributeError, match="'ntkgp'.*got 'cov1'"):
        predict_fn("cov1", k_td)
    with pytest.raises(ValueError, match="get"):
        predict_fn((), k_td)
    with pytest.raises(ValueError, match=r"`k_test_train.ntk` of shape \(test0, 4\)"):
        predict_fn("ntk", Kernels(ntk=problem.ntk["tt"]))
    with pytest.raises(ValueError, match=r"`k_test_test.nngp` of shape \(2, 2\).*got shape \(4, 4\)"):
        predict_fn("nngp", k_td, k_dd)
    with pytest.raises(ValueError, match="of the same data, got different shapes"):
        predict_fn(None, Kernels(problem.nngp["td"], problem.ntk["td"][:1]))
    for compute_cov in (True, "diag"):
        with pytest.raises(ValueError, match="needs kernels of the test set. Pass `k_test_test`"):
            predict_fn("ntk", k_td, compute_cov=compute_cov)
    with pytest.raises(ValueError, match="True, False or 'diag', got 'full'"):
        predict_fn("ntk", k_td, k_tt, compute_cov="full")
    with pytest.raises(TypeError, match="True, False or 'diag', got int"):
        predict_fn("ntk", k_td, k_tt, compute_cov=2)


def test_transformations(monkeypatch):
    from neural_tangents.predict import _solve

    calls = []
    original = _solve.factorise
    monkeypatch.setattr(_solve, "factorise", lambda m, t: calls.append(m.kernel.shape) or original(m, t))
    problem = linear_models.problem((4, 3), (-1,), 26)
    k_dd, k_td, k_tt = jax.tree.map(lambda a: a.astype(np.float32), blocks(problem))
    predict_fn = predict.gp_inference(k_dd, problem.y, 0.1)
    first = jax.jit(lambda *kernels: predict_fn(None, *kernels))(k_td, k_tt)
    second = jax.jit(lambda *kernels: predict_fn(None, *kernels))(k_td, k_tt)
    mapped = jax.vmap(lambda *kernels: predict_fn(None, *kernels))(*jax.tree.map(lambda a: a[None], (k_td, k_tt)))
    eager = predict_fn(None, k_td, k_tt)
    assert calls == [(4, 4)] * 2
    for tree in (first, second, jax.tree.map(lambda a: a[0], mapped)):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), tree, eager)
    built_inside = jax.jit(lambda k, y, r: predict.gp_inference(k, y, r)(None, k_td, k_tt))(k_dd, problem.y, 0.1)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), built_inside, eager)


@pytest.mark.slow
def test_gradients():
    problem = linear_models.problem((3, 2), (-1,), 27)

    def loss(diag_reg, y, k_dd, k_td, k_tt):
        k_dd = jax.tree.map(lambda k: (k + k.T) / 2, k_dd)
        return [jnp.sum(leaf**2) for leaf in jax.tree.leaves(predict.gp_inference(k_dd, y, diag_reg)(None, k_td, k_tt))]

    with jax.enable_x64(True):
        arguments = jax.tree.map(jnp.asarray, (0.1, problem.y, *blocks(problem)))
        check_grads(jax.jit(loss), arguments, 1, modes=["fwd", "rev"], rtol=1e-4, atol=1e-4)


def test_types(dtype):
    problem = linear_models.problem((4, 3), (-1,), 28)
    k_dd, k_td, k_tt = jax.tree.map(lambda a: a.astype(dtype), blocks(problem))
    out = predict.gp_inference(k_dd, problem.y.astype(dtype))(None, k_td, k_tt)
    assert {leaf.dtype for leaf in jax.tree.leaves(out)} == {dtype}
