"""Monte Carlo estimates of kernels: their averages, errors, tiles, and what they are compared with in closed form."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import simulated_devices

import neural_tangents as nt
from neural_tangents import stax
from neural_tangents.empirical._monte_carlo import Average, Estimate

KEY = jax.random.key(0)
INIT_FN, APPLY_FN, KERNEL_FN = stax.serial(stax.Dense(64), stax.Relu(), stax.Dense(3))


def inputs(n, seed=1):
    return jax.random.normal(jax.random.key(seed), (n, 4))


def draws(key, n, x1, x2, get):
    """Kernels of single draws, by the rules for random keys that the documentation states."""
    for _ in range(n):
        key, this = jax.random.split(key)
        _, params = INIT_FN(jax.random.split(this)[0], x1.shape)
        yield nt.empirical_kernel_fn(APPLY_FN)(x1, x2, get, params)


@pytest.mark.slow
@pytest.mark.parametrize("one_batch", [False, True])
def test_mean_and_standard_error_are_those_of_the_draws(one_batch):
    x1, x2 = inputs(3), None if one_batch else inputs(2, 2)
    found = nt.monte_carlo_kernel_fn(INIT_FN, APPLY_FN, KEY, 4, standard_error=True)(x1, x2)
    assert type(found).__name__ == "EmpiricalKernel" and found._fields == ("nngp", "ntk")
    for name in ("nngp", "ntk"):
        each = np.stack([*draws(KEY, 4, x1, x2, name)])
        estimate = getattr(found, name)
        assert isinstance(estimate, Estimate)
        np.testing.assert_allclose(estimate.mean, each.mean(0), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(estimate.standard_error, each.std(0, ddof=1) / 2, rtol=1e-3, atol=1e-6)


@pytest.mark.slow
def test_estimates_approach_the_closed_form():
    x1, x2 = inputs(3), inputs(2, 2)
    found = nt.monte_carlo_kernel_fn(INIT_FN, APPLY_FN, KEY, 200, standard_error=True)(x1, x2)
    exact = KERNEL_FN(x1, x2, ("nngp", "ntk"))
    for estimate, kernel in zip(found, exact, strict=True):
        assert jnp.all(jnp.abs(estimate.mean - kernel) < 4 * estimate.standard_error)
        assert jnp.mean(estimate.standard_error) < 0.2 * jnp.mean(jnp.abs(kernel))


def test_types_of_results_follow_get():
    x = inputs(2)

    def kernel(get):
        return nt.monte_carlo_kernel_fn(INIT_FN, APPLY_FN, KEY, 1)(x, None, get)

    both = kernel(("ntk", "nngp"))
    assert type(both).__name__ == "MonteCarloKernel" and both._fields == ("ntk", "nngp")
    np.testing.assert_array_equal(kernel("ntk"), both.ntk)
    np.testing.assert_array_equal(kernel(None).nngp, both.nngp)
    with pytest.raises(KeyError, match="Unknown `get`"):
        kernel("cov")


def test_generator_yields_running_means_in_increasing_order():
    x = inputs(2)
    found = nt.monte_carlo_kernel_fn(INIT_FN, APPLY_FN, KEY, (3, 1, 2))(x, None, "nngp")
    each = np.stack([*draws(KEY, 3, x, None, "nngp")])
    for n, mean in zip((1, 2, 3), found, strict=True):
        np.testing.assert_allclose(mean, each[:n].mean(0), rtol=1e-4, atol=1e-6)


def test_error_of_one_draw_is_unknown():
    found = nt.monte_carlo_kernel_fn(INIT_FN, APPLY_FN, KEY, 1, standard_error=True)(inputs(2), None, "ntk")
    assert np.all(np.isinf(found.standard_error))


@pytest.mark.parametrize("one_batch", [False, True])
@pytest.mark.parametrize("store_on_device", [False, True])
def test_tiles_of_any_size_give_the_same(one_batch, store_on_device):
    x1, x2 = inputs(5), None if one_batch else inputs(3, 2)
    options = {"trace_axes": (), "diagonal_axes": (1,)}
    whole = nt.monte_carlo_kernel_fn(INIT_FN, APPLY_FN, KEY, 2, **options)(x1, x2)
    tiles = nt.monte_carlo_kernel_fn(INIT_FN, APPLY_FN, KEY, 2, 2, -1, store_on_device, **options)(x1, x2)
    assert isinstance(tiles.ntk, jax.Array if store_on_device else np.ndarray)
    for a, b in zip(whole, tiles, strict=True):
        assert a.shape == b.shape == (5, 5 if one_batch else 3, 3)
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [0, 2])
def test_dropout_of_equal_inputs_is_the_same_and_of_others_is_not(batch_size):
    """With width one the kernel shows which units were dropped."""
    init_fn, apply_fn, _ = stax.serial(stax.Dense(1), stax.Dropout(0.5))
    x = jnp.ones((4, 1))

    def diagonal(x2):
        kernel = nt.monte_carlo_kernel_fn(init_fn, apply_fn, KEY, 1, batch_size)(x, x2, "nngp")
        return np.diag(kernel) != 0

    np.testing.assert_array_equal(diagonal(None), diagonal(x + 0))
    kernel = np.asarray(nt.monte_carlo_kernel_fn(init_fn, apply_fn, KEY, 1, batch_size)(x, None, "nngp"))
    kept = np.diag(kernel) != 0
    np.testing.assert_array_equal(kernel != 0, kept[:, None] & kept)  # a unit is dropped for both copies of an input


def test_keywords_reach_the_network_and_pairs_are_cut_into_blocks():
    def apply_fn(params, x, rng, scale=1.0, double=False):
        return x * params * scale * (2 if double else 1)

    def init_fn(rng, shape):
        return shape, jnp.ones(())

    x1, x2, scale1, scale2 = inputs(3), inputs(2, 2), inputs(3, 3)[:, :1], inputs(2, 4)[:, :1]
    want = (x1 * scale1) @ (x2 * scale2).T  # 4 inputs and outputs, 2 * 2 / 4 = 1
    for batch_size in (0, 2):
        kernel_fn = nt.monte_carlo_kernel_fn(init_fn, apply_fn, KEY, 1, batch_size)
        np.testing.assert_allclose(kernel_fn(x1, x2, "nngp", scale=(scale1, scale2), double=True), want, rtol=1e-5)


def test_several_outputs_and_inputs():
    init_fn, apply_fn, _ = stax.serial(stax.parallel(stax.Dense(2), stax.Dense(3)))
    x = [inputs(3), inputs(3, 2)]
    for batch_size in (0, 2):
        found = nt.monte_carlo_kernel_fn(init_fn, apply_fn, KEY, 1, batch_size)(x, None, ("nngp",))
        assert [type(k).__name__ for k in found] == ["MonteCarloKernel"] * 2
        assert [k.nngp.shape for k in found] == [(3, 3)] * 2


def test_draws_are_compiled_once():
    traces = []

    def apply_fn(params, x, rng):
        traces.append(x.shape)
        return APPLY_FN(params, x)

    kernel_fn = nt.monte_carlo_kernel_fn(INIT_FN, apply_fn, KEY, 3)
    kernel_fn(inputs(2), inputs(3, 2), "ntk")
    count = len(traces)
    kernel_fn(inputs(2, 5), inputs(3, 6), "ntk")
    assert len(traces) == count > 0


def test_average_of_complex_numbers():
    values = np.asarray([1 + 1j, 2 - 1j, 4 + 3j])
    average = Average()
    for value in values:
        average.add({"x": jnp.asarray(value)})
    mean, error = average.estimates()["x"]
    np.testing.assert_allclose(mean, values.mean(), rtol=1e-6)
    np.testing.assert_allclose(error, values.std(ddof=1) / 3**0.5, rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"n_samples": 0}, ValueError, "positive integers"),
        ({"n_samples": (1, -2)}, ValueError, "positive integers"),
        ({"n_samples": (1, 2.5)}, ValueError, "positive integers"),
        ({"n_samples": ()}, ValueError, "positive integers"),
        ({"n_samples": 1.5}, TypeError, "integer or several"),
        ({"batch_size": -1}, ValueError, "`batch_size`"),
        ({"device_count": 1000}, ValueError, "`device_count`"),
        ({"device_count": -2}, ValueError, "`device_count`"),
        ({"implementation": 9}, KeyError, "`implementation`"),
        ({"typo": 9}, TypeError, "typo"),
    ],
)
def test_errors_in_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        nt.monte_carlo_kernel_fn(INIT_FN, APPLY_FN, KEY, **{"n_samples": 1, **arguments})


@pytest.mark.parametrize("axes", [{"trace_axes": (0,)}, {"diagonal_axes": (-2,)}])
def test_tiles_need_the_batch_axis(axes):
    with pytest.raises(ValueError, match="Tiles cannot be joined if the batch axis of outputs is in"):
        nt.monte_carlo_kernel_fn(INIT_FN, APPLY_FN, KEY, 1, batch_size=2, **axes)(inputs(3), None)
    nt.monte_carlo_kernel_fn(INIT_FN, APPLY_FN, KEY, 1, **axes)(inputs(3), None)


@pytest.mark.slow
def test_networks_without_a_random_key():
    def apply_fn(params, x):
        return APPLY_FN(params, x)

    def forwarded(params, x, **kwargs):
        return apply_fn(params, x, **kwargs)

    x1, x2 = inputs(3), inputs(2, 2)
    wanted = nt.monte_carlo_kernel_fn(INIT_FN, APPLY_FN, KEY, 2)(x1, x2)
    for fn in (apply_fn, jax.jit(apply_fn), functools.partial(apply_fn)):
        found = nt.monte_carlo_kernel_fn(INIT_FN, fn, KEY, 2)(x1, x2)
        np.testing.assert_allclose(found.ntk, wanted.ntk, rtol=1e-5)
    with pytest.raises(TypeError, match="unexpected keyword argument 'rng'") as error:
        nt.monte_carlo_kernel_fn(INIT_FN, forwarded, KEY, 2)(x1, x2)
    assert any("`apply_fn` was given a random key" in note for note in error.value.__notes__)


def test_init_of_another_library():
    """Which returns parameters alone."""

    def init(rng, shape):
        return {"params": {"kernel": jax.random.normal(rng, (shape[-1], 3))}}

    with pytest.raises(TypeError, match=r"`init_fn` to return `\(output_shape, params\)`, got dict"):
        nt.monte_carlo_kernel_fn(init, APPLY_FN, KEY, 2)(inputs(3), None)


DEVICES = """
import jax, numpy as np, neural_tangents as nt
from neural_tangents import stax
init_fn, apply_fn, _ = stax.serial(stax.Dense(8), stax.Relu(), stax.Dense(3))
x1, x2 = (jax.random.normal(jax.random.key(seed), (n, 4)) for seed, n in enumerate((6, 5)))
def kernel(count, batch_size=0):
    return nt.monte_carlo_kernel_fn(init_fn, apply_fn, jax.random.key(0), 2, batch_size, count)(x1, x2)
one = kernel(0)
for count, batch_size in ((-1, 0), (2, 0), (3, 3), (4, 2)):
    for a, b in zip(one, kernel(count, batch_size), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
"""


@pytest.mark.slow
def test_tiles_on_several_devices():
    simulated_devices.run(DEVICES, 4)
