"""Whether `vmap_axes` fits a network is seen from outputs of two samples, together and alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from finite_networks import ATTENTION_PARAMS, IMAGE1, MLP_PARAMS, TOKENS1, X1, X2, attention_net, mlp
from sweeps import mostly_slow

import neural_tangents as nt
from neural_tangents import stax

KEY = jax.random.key(0)


def batch_norm(p, x):
    h = x @ p["w"]
    return jnp.tanh((h - h.mean(0, keepdims=True)) / (h.std(0, keepdims=True) + 0.1)) @ p["v"]


def noise(p, x, rng):
    return mlp(p, x) * jax.random.normal(rng, (x.shape[0], 1))


def noisy_norm(p, x, rng):
    return batch_norm(p, x) * jax.random.normal(rng, (x.shape[0], 1))


DEPENDENT = {
    "BatchNorm": (batch_norm, X1, {}),
    "attention between samples": (lambda p, x: jax.nn.softmax(x @ x.T) @ mlp(p, x), X1, {}),
    "a loss": (lambda p, x: jnp.sum(mlp(p, x), 0, keepdims=True) + 0 * mlp(p, x), X1, {}),
    "one of two outputs": (lambda p, x: (mlp(p, x), {"a": batch_norm(p, x)}), X1, {}),
    "divided by their number": (lambda p, x: mlp(p, x) / x.shape[0], X1, {}),
    "not a number for one sample": (lambda p, x: mlp(p, x) / jnp.var(x, axis=0, ddof=1).sum(), X1, {}),
    "complex": (lambda p, x: jnp.exp(1j * batch_norm(p, x)), X1, {}),
    "random, BatchNorm": (noisy_norm, X1, {"rng": KEY}),
    "large numbers": (lambda p, x: 1e6 + 1e7 * batch_norm(p, x), X1, {}),
    "samples along another axis": (lambda p, x: batch_norm(p, x.T).T, X1.T.copy(), {"axes": 1}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", mostly_slow(DEPENDENT, ["BatchNorm", "random, BatchNorm"]))
def test_samples_that_depend_on_each_other(name):
    f, x, options = DEPENDENT[name]
    axes, keywords = options.get("axes", 0), {k: v for k, v in options.items() if k == "rng"}
    for implementation in (0, 1, 2, 3):
        ntk_fn = nt.empirical_ntk_fn(f, (), (), axes, implementation)
        with pytest.raises(ValueError, match=rf"`vmap_axes={axes}` says .* differ by up to .* %"):
            ntk_fn(x, None, MLP_PARAMS, **keywords)
        with pytest.raises(ValueError, match="vmap_axes"):  # each time, not only the first
            ntk_fn(x, None, MLP_PARAMS, **keywords)
    with pytest.raises(ValueError, match="vmap_axes"):
        nt.empirical_kernel_fn(f, (), (), axes)(x, None, "ntk", MLP_PARAMS, **keywords)
    with pytest.raises(ValueError, match="vmap_axes"):
        nt.empirical_ntk_operator_fn(f, (), (), axes)(x, None, MLP_PARAMS, **keywords)
    nt.empirical_ntk_fn(f, (), (), None, 1)(x, None, MLP_PARAMS, **keywords)


def single_only(p, x):
    assert x.shape[0] == 1
    return mlp(p, x)


DROPOUT = stax.serial(stax.Dense(4), stax.Dropout(0.5), stax.Dense(2))
INDEPENDENT = {
    "mlp": (mlp, MLP_PARAMS, X1, {}),
    "attention within samples": (attention_net, ATTENTION_PARAMS, TOKENS1, {}),
    "random": (noise, MLP_PARAMS, X1, {"rng": KEY}),
    "dropout": (DROPOUT[1], DROPOUT[0](KEY, (1, 5))[1], X1, {"rng": KEY}),
    "takes one sample": (single_only, MLP_PARAMS, X1, {}),
    "large numbers": (lambda p, x: 1e6 + mlp(p, x), MLP_PARAMS, X1, {}),
    "not a number": (lambda p, x: mlp(p, x) * jnp.nan, MLP_PARAMS, X1, {}),
    "half precision": (lambda p, x: mlp(p, x).astype(jnp.bfloat16), MLP_PARAMS, X1, {}),
    "one sample of BatchNorm": (batch_norm, MLP_PARAMS, X1[:1], {}),
    "equal samples of BatchNorm": (batch_norm, MLP_PARAMS, X1[:1].repeat(3, 0), {}),
}


@pytest.mark.parametrize("name", INDEPENDENT)
def test_samples_that_do_not(name):
    """Or of which it cannot be known."""
    f, params, x, keywords = INDEPENDENT[name]
    nt.empirical_ntk_fn(f, vmap_axes=0)(x, None, params, **keywords)


def test_unknown_values_are_not_checked():
    """Under transformations; outputs may then be those of another network, as the documentation says."""
    ntk_fn = nt.empirical_ntk_fn(batch_norm, vmap_axes=0)
    assert jax.jit(ntk_fn)(X1, X2, MLP_PARAMS).shape == (3, 2)
    assert jax.jit(lambda: ntk_fn(X1, X2, MLP_PARAMS))().shape == (3, 2)
    with pytest.raises(ValueError, match="vmap_axes"):
        ntk_fn(X1, X2, MLP_PARAMS)


def test_random_networks():
    """Kernels of draws are compiled, but the first draw is looked at before."""
    for x2 in (None, X2):
        estimate = nt.monte_carlo_kernel_fn(lambda key, _: (None, MLP_PARAMS), batch_norm, KEY, 2, vmap_axes=0)
        with pytest.raises(ValueError, match="vmap_axes"):
            estimate(X1, x2, "ntk")
    network = DROPOUT[:2]
    assert nt.monte_carlo_kernel_fn(*network, KEY, 2, vmap_axes=0)(X1, X2, "ntk").shape == (3, 2)


@pytest.mark.slow
def test_each_shape_is_checked_once():
    calls = []

    def f(p, x):
        calls.append(x.shape)
        return mlp(p, x)

    ntk_fn = nt.empirical_ntk_fn(f, vmap_axes=0, implementation=1)
    for x in (X1, X1 + 1, X2, X1):
        ntk_fn(x, None, MLP_PARAMS)
    assert calls.count((2, 5)) == 2  # two shapes


def test_large_images():
    """Keyword arguments with axes of their own are cut too."""

    def f(p, x, mask):
        return (x * mask).mean((1, 2)) @ p

    params, mask = np.ones((4, 2), np.float32), np.ones((3, 1, 4, 4), np.float32)
    axes = (0, 0, {"mask": 0})
    assert nt.empirical_ntk_fn(f, vmap_axes=axes)(IMAGE1.astype(np.float32), None, params, mask=mask).shape == (3, 3)

    def shifted(p, x, mask):
        return f(p, x, mask - mask.sum(0, keepdims=True))

    with pytest.raises(ValueError, match="vmap_axes"):
        nt.empirical_ntk_fn(shifted, vmap_axes=axes)(IMAGE1.astype(np.float32), None, params, mask=mask)


@pytest.mark.slow
def test_a_network_less_itself_at_some_parameters():
    """Its outputs are rounding errors at these parameters, and its derivatives are those of the network."""
    init_fn, apply_fn, _ = stax.serial(stax.Dense(32), stax.Erf(), stax.Dense(1))
    x = np.random.RandomState(0).normal(size=(4, 6)).astype(np.float32)
    params = init_fn(jax.random.key(0), x.shape)[1]
    found = nt.empirical_ntk_fn(lambda p, x: apply_fn(p, x) - apply_fn(params, x), vmap_axes=0)(x, None, params)
    np.testing.assert_allclose(found, nt.empirical_ntk_fn(apply_fn)(x, None, params), rtol=1e-4)
