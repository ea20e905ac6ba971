"""The influence of training points on predictions and on their loss, compared with fitting again without them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_models import problem
from tile_stores import stored

from neural_tangents import predict, stax
from neural_tangents.predict import _arguments, _stored_algebra

TOLERANCE = {"float32": 1e-4, "float64": 1e-12}
OPTIONS = {"diag_reg": 0.2, "diag_reg_absolute_scale": True}
CASES = [((4,), ()), ((4, 3), (-1,)), ((3, 2, 3), (1,))]


def loss(f, y):
    return np.mean((f - y) ** 2) / 2


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "trace_axes"), CASES, ids=str)
def test_influence_is_the_difference_to_fitting_again(shape, trace_axes, dtype):
    given = problem(shape, trace_axes, seed=3)
    noise = np.linspace(0.1, 0.3, shape[0])
    matrix = given.dense(given.ntk, "dd")
    matrix = matrix + np.diag(0.2 + np.broadcast_to(noise.reshape(-1, *[1] * (len(shape) - 1)), shape).ravel())
    cross, numbers, y_test = given.dense(given.ntk, "td"), np.arange(given.y.size).reshape(shape), given.f0_test

    def fitted_without(group):
        kept = np.delete(numbers, list(group), axis=0).ravel()
        solution = np.linalg.solve(matrix[np.ix_(kept, kept)], given.y.ravel()[kept])
        return (cross[:, kept] @ solution).reshape(y_test.shape)

    predict_fn = predict.gp_inference(
        given.ntk["dd"].astype(dtype), given.y.astype(dtype), trace_axes=trace_axes, noise_variance=noise, **OPTIONS
    )
    k_td, groups = given.ntk["td"].astype(dtype), np.array([[[0, 2], [2, 1]]])
    everything = fitted_without([])
    for found, left_out in [
        (predict_fn.influence(k_td), {(i,): [i] for i in range(shape[0])}),
        (predict_fn.influence(k_td, groups=groups), {place: groups[place] for place in np.ndindex(1, 2)}),
    ]:
        changes, on_loss = found.on_predictions, found.on_loss(y_test)
        assert changes.dtype == on_loss.dtype == found.mean.dtype == dtype
        assert changes.shape == on_loss.shape + y_test.shape and on_loss.ndim == len(next(iter(left_out)))
        np.testing.assert_allclose(found.mean, everything, rtol=0, atol=TOLERANCE[dtype.name])
        for place, group in left_out.items():
            rest = fitted_without(group)
            np.testing.assert_allclose(changes[place], everything - rest, rtol=0, atol=TOLERANCE[dtype.name])
            change = loss(everything, y_test) - loss(rest, y_test)
            np.testing.assert_allclose(on_loss[place], change, rtol=0, atol=TOLERANCE[dtype.name])


@pytest.mark.slow
@pytest.mark.parametrize("get", ["nngp", "ntk"])
def test_ensembles_trained_to_convergence(get):
    rng = np.random.default_rng(0)
    x, x_test, y = rng.normal(size=(8, 3)), rng.normal(size=(3, 3)), rng.normal(size=(8, 2))
    _, _, kernel_fn = stax.serial(stax.Dense(1), stax.Erf(), stax.Dense(1))
    with jax.enable_x64(True):

        def trained(kept):
            return predict.gradient_descent_mse_ensemble(kernel_fn, x[kept], y[kept], **OPTIONS)

        found = trained(slice(None)).influence(x_test, get, groups=[[0, 5], [1, 2]])
        np.testing.assert_array_equal(found.mean, trained(slice(None))(x_test=x_test, get=get))
        for i, group in enumerate([[0, 5], [1, 2]]):
            rest = trained(np.delete(np.arange(8), group))(x_test=x_test, get=get)
            np.testing.assert_allclose(found.mean - found.on_predictions[i], rest, rtol=0, atol=1e-12)
        kernels = kernel_fn(x, None, ("nngp", "ntk")), kernel_fn(x_test, x, ("nngp", "ntk"))
        process = predict.gp_inference(kernels[0], y, **OPTIONS)
        each = trained(slice(None)).influence(x_test, get)
        np.testing.assert_allclose(each.on_predictions, process.influence(kernels[1], get).on_predictions, atol=1e-13)


def test_the_mean_of_the_ntk_is_that_of_its_process():
    given = problem((4, 3), (-1,), seed=5)
    kernels = stax.serial(stax.Dense(1))[2](jnp.ones((4, 2)), None)
    k_dd, k_td = (kernels.replace(nngp=given.nngp[part], ntk=given.ntk[part]) for part in ("dd", "td"))
    predict_fn = predict.gp_inference(k_dd, given.y, diag_reg=0.1)
    of_ntk, of_process, of_nngp = (predict_fn.influence(k_td, get).on_predictions for get in ("NTK", "ntkgp", "nngp"))
    np.testing.assert_array_equal(of_ntk, of_process)
    assert np.max(np.abs(of_ntk - of_nngp)) > 1e-3


@pytest.mark.slow
def test_kernels_in_stores(monkeypatch):
    monkeypatch.setattr(_arguments, "LOADED", 0)
    monkeypatch.setattr(_stored_algebra, "_SIDE", 1)
    points = np.random.default_rng(2).normal(size=(37, 5))
    kernel = np.exp(-np.sum((points[:, None] - points) ** 2, -1) / 4).astype("float32")
    k_dd, k_td, y, y_test = kernel[:30, :30], kernel[30:, :30], points[:30, :2], points[30:, :2].astype("float32")
    for groups in (None, [[3, 17], [28, 2]]):
        expected, found = (
            predict.gp_inference(train, y.astype("float32"), noise_variance=0.1).influence(test, groups=groups)
            for train, test in ((k_dd, k_td), (stored(k_dd), stored(k_td)))
        )
        for a, b in [
            (expected.on_predictions, found.on_predictions),
            (expected.on_loss(y_test), found.on_loss(y_test)),
        ]:
            assert a.shape == b.shape and a.dtype == b.dtype
            np.testing.assert_allclose(a, b, rtol=0, atol=TOLERANCE["float32"])


@pytest.mark.slow
def test_derivatives_and_compilation():
    """In a length scale, the noise and a target, against differences."""
    rng = np.random.default_rng(2)
    x, y, y_test = rng.normal(size=(8, 3)), rng.normal(size=(6, 1)), rng.normal(size=(2, 1))
    squares = np.sum((x[:, None] - x) ** 2, -1)

    def objectives(values):
        scale, noise, target = values
        kernel, targets = jnp.exp(-scale * squares), jnp.asarray(y).at[2].set(target)
        predict_fn = predict.gp_inference(kernel[:6, :6], targets, noise_variance=noise)
        found = predict_fn.influence(kernel[6:, :6], groups=[[0, 1], [2, 3]])
        return jnp.concatenate([found.on_predictions.ravel(), found.on_loss(y_test)])

    with jax.enable_x64(True):
        values, h = np.asarray([0.3, 0.1, 0.7]), 1e-5
        compiled = jax.jit(objectives)
        np.testing.assert_allclose(compiled(values), objectives(values), rtol=0, atol=1e-13)
        exact = jax.jit(jax.jacrev(objectives))(values)
        for i in range(3):
            step = h * np.eye(3)[i]
            numeric = (compiled(values + step) - compiled(values - step)) / (2 * h)
            np.testing.assert_allclose(exact[:, i], numeric, rtol=1e-6, atol=1e-9)


def test_it_passes_through_transformations_and_prints():
    found = jax.jit(lambda k: predict.gp_inference(jnp.eye(4), jnp.ones((4, 2)), 0.1).influence(k))(jnp.ones((3, 4)))
    assert found.on_predictions.shape == (4, 3, 2)
    assert repr(found) == "Influence(mean=float32[3, 2], groups=(4,))"


def test_errors():
    predict_fn = predict.gp_inference(np.eye(4), np.ones((4, 2)))
    with pytest.raises(ValueError, match="one of"):
        predict_fn.influence(np.ones((3, 4)), ("nngp", "ntk"))
    with pytest.raises(AttributeError, match="Expected `get`"):
        predict_fn.influence(np.ones((3, 4)), "other")
    with pytest.raises(ValueError, match="k_test_train"):
        predict_fn.influence(np.ones((3, 5)))
    with pytest.raises(ValueError, match="from 0 to 3"):
        predict_fn.influence(np.ones((3, 4)), groups=[7])
    found = predict_fn.influence(np.ones((3, 4)))
    with pytest.raises(ValueError, match=r"of shape \(3, 2\), that of predictions, got \(3,\)"):
        found.on_loss(np.ones(3))
    with pytest.raises(ValueError, match="finite numbers in `y_test`"):
        found.on_loss(np.full((3, 2), np.nan))
    averaged = predict.gp_inference(np.eye(2), np.ones((4, 2)), trace_axes=(0,))
    with pytest.raises(ValueError, match="axis 0 of `y_train`"):
        averaged.influence(np.ones((2, 2)))
