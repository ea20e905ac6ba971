"""NaN and infinity in any argument of any predictor: an error that names it, outside of `jit`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neural_tangents import predict, stax
from neural_tangents.predict._finite import not_finite

X, X_TEST = (np.random.default_rng(0).normal(size=(n, 3)).astype("float32") for n in (6, 2))
Y = np.sin(X[:, :1])
_, _, KERNEL_FN = stax.serial(stax.Dense(1), stax.Erf(), stax.Dense(1))
K_DD, K_TD, K_TT = (KERNEL_FN(a, b, "ntk") for a, b in ((X, None), (X_TEST, X), (X_TEST, None)))


def loss(f, y):
    return 0.5 * jnp.mean((f - y) ** 2)


def spoiled(a, value=np.nan):
    return np.where(np.arange(np.size(a)).reshape(np.shape(a)) == 1, value, a).astype("float32")


def gp(y=Y, k=K_DD, k_td=K_TD, k_tt=K_TT, **kwargs):
    return predict.gp_inference(k, y, **kwargs)("ntkgp", k_td, k_tt)


def mse(y=Y, k=K_DD, t=1.0, f0=0.0, f0_test=0.0, k_td=K_TD, **kwargs):
    return predict.gradient_descent_mse(k, y, **kwargs)(t, f0, f0_test, k_td)


def ode(y=Y, k=K_DD, f0=0.0, f0_test=0.0, k_td=K_TD, **kwargs):
    return predict.gradient_descent(loss, k, y, **kwargs)(1.0, f0, f0_test, k_td)


def resumed(**fields):
    return predict.gradient_descent(loss, K_DD, Y, momentum=0.9)(1.0, predict.ODEState(**fields), k_test_train=K_TD)


def ensemble(y=Y, x=X, x_test=X_TEST, **kwargs):
    predict_fn = predict.gradient_descent_mse_ensemble(KERNEL_FN, x, y, **kwargs)
    return predict_fn(x_test=x_test, get="ntk", compute_cov=True)


CALLS = {
    "gp y_train": ("y_train", lambda v: gp(y=spoiled(Y, v))),
    "gp k_train_train": ("k_train_train", lambda v: gp(k=spoiled(K_DD, v))),
    "gp k_test_train": ("k_test_train", lambda v: gp(k_td=spoiled(K_TD, v))),
    "gp k_test_test": ("k_test_test", lambda v: gp(k_tt=spoiled(K_TT, v))),
    "gp diag_reg": ("diag_reg", lambda v: gp(diag_reg=v)),
    "gp noise_variance": ("noise_variance", lambda v: gp(noise_variance=spoiled(Y[:, 0] ** 2, v))),
    "mse y_train": ("y_train", lambda v: mse(y=spoiled(Y, v))),
    "mse k_train_train": ("k_train_train", lambda v: mse(k=spoiled(K_DD, v))),
    "mse learning_rate": ("learning_rate", lambda v: mse(learning_rate=v)),
    "mse fx_train_0": ("fx_train_0", lambda v: mse(f0=spoiled(Y, v))),
    "mse fx_test_0": ("fx_test_0", lambda v: mse(f0_test=v)),
    "mse k_test_train": ("k_test_train", lambda v: mse(k_td=spoiled(K_TD, v))),
    "ode y_train": ("y_train", lambda v: ode(y=spoiled(Y, v))),
    "ode k_train_train": ("k_train_train", lambda v: ode(k=spoiled(K_DD, v))),
    "ode k_test_train": ("k_test_train", lambda v: ode(k_td=spoiled(K_TD, v))),
    "ode learning_rate": ("learning_rate", lambda v: ode(learning_rate=v)),
    "ode momentum": ("momentum", lambda v: ode(momentum=v)),
    "ode fx_train_or_state_0": ("fx_train_or_state_0", lambda v: ode(f0=spoiled(Y, v))),
    "ode fx_test_0": ("fx_test_0", lambda v: ode(f0_test=spoiled(K_TD[:, :1], v))),
    "ode state": ("fx_train", lambda v: resumed(fx_train=spoiled(Y, v))),
    "ode velocity": ("qx_train", lambda v: resumed(fx_train=Y, qx_train=spoiled(Y, v))),
    "ensemble y_train": ("y_train", lambda v: ensemble(y=spoiled(Y, v))),
    "ensemble x_train": ("x_train", lambda v: ensemble(x=spoiled(X, v))),
    "ensemble x_test": ("x_test", lambda v: ensemble(x_test=spoiled(X_TEST, v))),
    "ensemble learning_rate": ("learning_rate", lambda v: ensemble(learning_rate=v)),
    "max_learning_rate": ("ntk_train_train", lambda v: predict.max_learning_rate(spoiled(K_DD, v))),
    "conjugate_gradients y_train": ("y_train", lambda v: predict.conjugate_gradients(K_DD, spoiled(Y, v))),
    "conjugate_gradients kernel": ("kernel", lambda v: predict.conjugate_gradients(spoiled(K_DD, v), Y)),
}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("call", CALLS)
def test_errors_name_the_argument_and_count_entries(call, value):
    name, fails = CALLS[call]
    with pytest.raises(ValueError, match=rf"`{name}`, got 1 of \d+ entries that are NaN or infinite"):
        fails(value)


def test_names_of_kernels():
    kernels = KERNEL_FN(X, None, ("nngp", "ntk"))
    with pytest.raises(ValueError, match=r"`k_train_train\.nngp`, got 1 of 36 entries"):
        gp(k=kernels._replace(nngp=spoiled(kernels.nngp)))


def test_missing_values_behind_a_mask():
    masked = predict.gradient_descent_mse_ensemble(KERNEL_FN, spoiled(X), Y, mask_constant=np.nan)
    expected = masked(x_test=spoiled(X_TEST), get="ntk")
    assert np.isfinite(expected).all()
    wrapped = functools.partial(KERNEL_FN, mask_constant=np.nan)  # so that the predictor does not see the mask
    found = predict.gradient_descent_mse_ensemble(wrapped, spoiled(X), Y)(x_test=spoiled(X_TEST), get="ntk")
    np.testing.assert_array_equal(found, expected)


def test_inside_jit_not_a_number_stays_so():
    assert np.isnan(jax.jit(lambda y: gp(y=y).mean)(spoiled(Y))).all()
    assert np.isnan(jax.jit(lambda k: gp(k_td=k).mean)(spoiled(K_TD))[0]).all()
    assert np.isnan(jax.jit(lambda y: mse(y=y)[1])(spoiled(Y))).all()
    assert np.isnan(jax.jit(lambda x: ensemble(x_test=x).mean)(spoiled(X_TEST))[0]).all()
    assert np.isfinite(jax.vmap(lambda y: gp(y=y).mean)(np.stack([Y, spoiled(Y)]))[0]).all()


@pytest.mark.parametrize("nonlinearity", [stax.Relu, stax.Erf, stax.Gelu, stax.Sin, stax.Rbf, stax.Sign, stax.Exp])
def test_inputs_that_are_not_a_number_are_seen_in_kernels(nonlinearity):
    _, _, kernel_fn = stax.serial(stax.Dense(1), nonlinearity(), stax.Dense(1))
    predict_fn = predict.gradient_descent_mse_ensemble(kernel_fn, X, Y)
    with pytest.raises(ValueError, match="`x_test`, got 1 of 6 entries"):
        predict_fn(x_test=spoiled(X_TEST), get="nngp")


@pytest.mark.parametrize("x", [None, "text", 3, np.arange(3), np.array(["a"]), jax.random.key(0), jnp.zeros((0, 2))])
def test_what_cannot_be_wrong(x):
    assert not_finite(x) == 0


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "complex64"])
def test_counts(dtype):
    x = jnp.asarray([[1, np.nan, 2], [np.inf, -np.inf, 0]], dtype)
    assert not_finite(x) == 3 and not_finite(x, missing=True) == 2 and not_finite(x[0, 1]) == 1
    assert jax.jit(lambda: jnp.asarray(not_finite(x)))() == 3 and jax.jit(lambda x: jnp.asarray(not_finite(x)))(x) == 0
