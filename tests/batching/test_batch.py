"""`nt.batch`: kernels from tiles are those of one call, for every kind of kernel function, argument and result."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import random

import neural_tangents as nt
from neural_tangents import predict, stax
from neural_tangents._core.tiling.call_form import read_call

KEY = random.key(0)


def inputs(n, *shape, seed=0):
    return np.random.default_rng([seed, n]).normal(size=(n, *(shape or (3,)))).astype(np.float32)


X1, X2 = inputs(7), inputs(5, seed=1)
INIT_FN, APPLY_FN, KERNEL_FN = stax.serial(stax.Dense(4, b_std=0.1), stax.Relu(), stax.Dense(2))
PARAMS = INIT_FN(KEY, (-1, 3))[1]


def assert_equal(found, expected, rtol=1e-4, atol=1e-5):
    """The same tree, metadata included, and equal arrays up to rounding."""
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=atol), found, expected)


def assert_batches(kernel_fn, *args, batch_sizes=(3,), device_count=0, **kwargs):
    """Tiles of several sizes, kept on the device or the host in turn, are the kernel."""
    expected = kernel_fn(*args, **kwargs)
    for batch_size in batch_sizes:
        store_on_device = (batch_size + len(args)) % 2 == 0
        found = nt.batch(kernel_fn, batch_size, device_count, store_on_device)(*args, **kwargs)
        assert_equal(found, expected)
        arrays = [leaf for leaf in jax.tree.leaves(found) if isinstance(leaf, jax.Array | np.ndarray)]
        assert all(isinstance(leaf, jax.Array if store_on_device else np.ndarray) for leaf in arrays)


def own_function(x1, x2, scale=1.0, *, power=1, weights=(None, None)):
    """A user's kernel function: trees of inputs and outputs, keywords with a part for each batch."""
    x2 = x1 if x2 is None else x2
    a, b = (x["a"] if isinstance(x, dict) else x for x in (x1, x2))
    product = scale * jnp.tanh(a @ b.T) ** power
    for axis, weight in ((1, weights[0]), (0, weights[1])):
        product = product if weight is None else product * jnp.expand_dims(weight, axis)
    return {"product": product, "outer": [a[:, None, :, None] * b[None, :, None, :]]}


# Kinds of kernel functions.


@pytest.mark.parametrize("x2", [None, X2, X1.copy()], ids=["one batch", "two", "equal"])
@pytest.mark.parametrize("get", [None, "nngp", "NTK", ("ntk", "cov1"), ["nngp"], "cov1", "cov2", "shape1", "x1_is_x2"])
def test_infinite_networks(x2, get):
    assert_batches(KERNEL_FN, X1, x2, get)


@pytest.mark.parametrize("x2", [None, X2], ids=["one batch", "two"])
@pytest.mark.parametrize("axes", [{}, {"trace_axes": ()}, {"trace_axes": (), "diagonal_axes": (-1,)}, {"vmap_axes": 0}])
@pytest.mark.parametrize("implementation", [1, 2, 3])
def test_finite_networks(x2, axes, implementation):
    ntk_fn = nt.empirical_ntk_fn(APPLY_FN, **axes, implementation=implementation)
    assert_batches(ntk_fn, X1, x2, PARAMS)
    axes.pop("vmap_axes", None)
    if implementation == 1:
        assert_batches(nt.empirical_nngp_fn(APPLY_FN, **axes), X1, x2, params=PARAMS)


@pytest.mark.parametrize("get", [None, "ntk", ("ntk", "nngp")])
def test_finite_networks_with_get(get):
    assert_batches(nt.empirical_kernel_fn(APPLY_FN), X1, X2, get, PARAMS)
    assert_batches(nt.empirical_kernel_fn(APPLY_FN), X1, None, get, params=PARAMS)


@pytest.mark.parametrize("n_samples", [2, (1, 3)])
def test_averages_over_random_networks(n_samples):
    """They cut batches into tiles by themselves, draw by draw; averages over several numbers are a generator."""
    kernel_fn = nt.monte_carlo_kernel_fn(INIT_FN, APPLY_FN, KEY, n_samples)
    batched = nt.batch(functools.partial(kernel_fn, get=("nngp", "ntk")), 3, 0, False)
    found, expected = batched(X1, X2), kernel_fn(X1, X2, ("nngp", "ntk"))
    if isinstance(n_samples, tuple):
        found, expected = list(found), list(expected)
    assert_equal(found, expected)
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(found))


@pytest.mark.slow
@pytest.mark.parametrize("x2", [None, X2], ids=["one batch", "two"])
def test_products_with_vectors(x2):
    """Both batches go through the network block by block, once: as many passes as without blocks, and less memory."""
    v = inputs(7 if x2 is None else 5, 2, seed=4)
    product = functools.partial(nt.empirical_ntk_vp_fn, APPLY_FN)
    assert_equal(nt.batch(product, 3)(X1, x2, PARAMS)(v), product(X1, x2, PARAMS)(v))
    operator = nt.empirical_ntk_operator_fn(APPLY_FN)
    found, expected = nt.batch(operator, 3)(X1, x2, PARAMS), operator(X1, x2, PARAMS)
    assert_equal(found.matvec(v[:, 0]), expected.matvec(v[:, 0]))
    assert_equal(jax.jit(found.matvec)(v[:, 0]), expected.matvec(v[:, 0]))
    if x2 is None:
        assert_equal(found.trace(), expected.trace())
    with pytest.raises(ValueError, match='a number for products with vectors, got "auto"'):
        nt.batch(operator, "auto")


def test_memory_of_products_is_that_of_a_block():
    def network(params, x):
        for w in params:
            x = jnp.tanh(x @ w)
        return x

    params, x = [jnp.eye(16)] * 8, jax.ShapeDtypeStruct((512, 16), jnp.float32)
    sizes = []
    for batch_size in (0, 16):
        operator = nt.batch(nt.empirical_ntk_operator_fn(network), batch_size)
        product = jax.jit(lambda x, v, operator=operator: operator(x, None, params).matvec(v))
        compiled = product.lower(x, jax.ShapeDtypeStruct((512,), jnp.float32)).compile()
        sizes.append(compiled.memory_analysis().temp_size_in_bytes)
    assert sizes[1] < sizes[0] / 2


@pytest.mark.slow
def test_products_with_keywords_of_inputs_and_random_keys():
    """Patterns are cut like inputs; a random key is another one for each block, and the same for equal blocks."""
    _, apply_fn, _ = stax.serial(stax.Aggregate(), stax.Dense(4), stax.Dropout(0.5), stax.GlobalAvgPool())
    params = stax.serial(stax.Aggregate(), stax.Dense(4), stax.Dropout(0.5), stax.GlobalAvgPool())[0](KEY, (-1, 4, 3))[
        1
    ]
    x, pattern = inputs(5, 4, 3), random.bernoulli(KEY, 0.5, (5, 4, 4)).astype(np.float32)
    operator = nt.batch(nt.empirical_ntk_operator_fn(apply_fn, trace_axes=()), 2)(
        x, None, params, rng=KEY, pattern=(pattern, pattern)
    )
    kernel = np.stack([operator.matvec(v.reshape(5, 4)).reshape(-1) for v in np.eye(20, dtype=np.float32)])
    np.testing.assert_allclose(kernel, kernel.T, atol=1e-5)
    assert np.linalg.eigvalsh(kernel)[0] > -1e-4 and np.trace(kernel) > 0.1
    assert not np.allclose(kernel[:4, :4], kernel[8:12, 8:12], rtol=0.1)


@pytest.mark.parametrize("x2", [None, {"a": X2}], ids=["one batch", "two"])
def test_functions_of_users(x2):
    n2 = 7 if x2 is None else 5
    x1, pair = {"a": X1}, (np.arange(7.0, dtype=np.float32), np.arange(n2).astype(np.float32))
    assert_batches(own_function, x1, x2, 2.0)
    assert_batches(own_function, x1, x2, power=2, weights=pair)
    assert_batches(own_function, x1=x1, x2=x2, scale=jnp.asarray(3.0))
    assert_batches(functools.partial(functools.partial(own_function, scale=2.0), weights=pair), x1, x2)
    assert_batches(functools.partial(lambda scale, a, b: own_function(a, b, scale), 2.0), x1, x2)


def test_function_that_is_not_symmetric_is_not_mirrored():
    def kernel_fn(x1, x2=None):
        return jnp.exp(x1) @ (x1 if x2 is None else x2).T

    assert_batches(kernel_fn, X1, batch_sizes=(1, 2, 3, 7))
    np.testing.assert_allclose(jax.jit(nt.batch(kernel_fn, 2))(X1), kernel_fn(X1), rtol=1e-5)


def test_small_and_hidden_asymmetries_are_no_rounding():
    matrix = np.triu(np.ones((3, 3), np.float32))

    def kernel_fn(x1, x2=None):
        return 1e3 + x1 @ matrix @ (x1 if x2 is None else x2).T

    first_is_zero = X1 * (np.arange(7) > 1)[:, None].astype(np.float32)
    for x in (X1, first_is_zero):
        found = nt.batch(kernel_fn, 2, 0)(x)
        np.testing.assert_allclose(found - 1e3, kernel_fn(x) - 1e3, atol=1e-3)


def test_functions_that_wrap_kernel_functions():
    """`functools.wraps` also copies what a kernel function says about its results, which need not be so any more."""
    ntk_fn = nt.empirical_ntk_fn(APPLY_FN, trace_axes=())
    average_fn = nt.monte_carlo_kernel_fn(INIT_FN, APPLY_FN, KEY, 1, implementation=1)

    @functools.wraps(KERNEL_FN)
    def scaled(x1, x2=None, get=None):
        return jnp.sum(x1**2, axis=1)[:, None] * KERNEL_FN(x1, x2, get)

    @functools.wraps(ntk_fn)
    def outputs_first(x1, x2, get):
        return ntk_fn(x1, x2, PARAMS).transpose((2, 3, 0, 1))

    @functools.wraps(average_fn)
    def doubled(x1, x2, get):
        return 2 * average_fn(x1, x2, get)

    for fn in (scaled, outputs_first, doubled):
        np.testing.assert_allclose(nt.batch(fn, 3, 0)(X1, None, "nngp"), fn(X1, None, "nngp"), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_function_that_treats_one_batch_differently(batch_size, count_compilations):
    """Noise of a batch with itself, which is not there if the same inputs are passed twice."""

    def noisy(x1, x2=None, noise=0.5, whole=False):
        if whole:
            kernel = KERNEL_FN(x1, x2)
            return kernel if x2 is not None else kernel.replace(nngp=kernel.nngp + noise * jnp.eye(len(x1)))
        return x1 @ x1.T + noise * jnp.eye(len(x1)) if x2 is None else x1 @ x2.T

    batched = nt.batch(noisy, batch_size, 0)
    for args in ((X1,), (X1, None, 2.0), (X1, X1), (X1, X1.copy()), (X1, X2)):
        assert_equal(batched(*args), noisy(*args))
        assert_equal(jax.jit(batched)(*args), noisy(*args))
        assert_equal(jax.vmap(lambda a, *rest: batched(a, *rest[:1]))(args[0][None]), noisy(args[0])[None])
    assert_equal(nt.batch(noisy, batch_size, 0)(X1, whole=True), noisy(X1, whole=True))
    with count_compilations() as count:
        batched(X1)
    assert count() == 0


def test_plain_wrappers_make_no_difference():
    """A function that only fills in `x1` for None is traced for tiles as for two batches."""
    for fn in (lambda a, b=None: KERNEL_FN(a, b, "ntk"), lambda a, b=None: a @ (a if b is None else b).T):
        batched = nt.batch(fn, 3, 0)
        batched(X1)
        function, _ = batched._tiled.tile_function(read_call(fn, (X1,), {}))
        assert function._alone is None


@pytest.mark.parametrize(
    "layer",
    [
        stax.LayerNorm(axis=(0, 1)),
        stax.Index(stax.Slice[::-1]),
        stax.DotGeneral(lhs=np.eye(7)[::-1].copy(), dimension_numbers=(((1,), (0,)), ((), ()))),
    ],
)
def test_networks_that_mix_the_inputs_of_a_batch(layer):
    kernel_fn = stax.serial(stax.Dense(2), layer)[2]
    with pytest.raises(ValueError, match="treats inputs independently of each other"):
        nt.batch(kernel_fn, 3)(X1, None, "nngp")
    assert_batches(kernel_fn, X1, None, "nngp", batch_sizes=(0, 7))
    assert_batches(stax.serial(stax.Dense(2), stax.LayerNorm())[2], X1, None, "nngp")


def test_compiled_and_batched_functions_can_be_batched():
    jitted = jax.jit(KERNEL_FN, static_argnames="get")
    assert_batches(jitted, X1, X2, "ntk")
    assert_batches(nt.batch(jitted, 2), X1, None, get="ntk")


# Call forms of programs.


@pytest.mark.slow
def test_call_forms():
    expected = KERNEL_FN(X1, X2, "ntk")
    for batched in (
        nt.batch(KERNEL_FN),
        nt.batch(KERNEL_FN, 2, 1, False),
        functools.partial(nt.batch, device_count=0, batch_size=2)(kernel_fn=KERNEL_FN),
        nt.batch(KERNEL_FN, store_on_device=False, device_count=-1, batch_size=4),
    ):
        for call in (lambda f: f(X1, X2, "ntk"), lambda f: f(X1, x2=X2, get="ntk"), lambda f: f(X1, X2).ntk):
            np.testing.assert_allclose(call(batched), expected, rtol=1e-5)
        np.testing.assert_allclose(functools.partial(batched, get="ntk")(X1, X2), expected, rtol=1e-5)
    found = nt.batch(KERNEL_FN, 2)(X1, X2, "ntk")
    np.testing.assert_allclose(found.block_until_ready(), expected, rtol=1e-5)
    compiled = jax.jit(nt.batch(KERNEL_FN, 2), static_argnums=2)
    np.testing.assert_allclose(compiled(X1, X2, "ntk"), expected, rtol=1e-5)
    compiled = jax.jit(nt.batch(KERNEL_FN, 2), static_argnames="get")
    np.testing.assert_allclose(compiled(X1, X2, "ntk"), expected, rtol=1e-5)


def test_parameters_may_change_between_calls():
    """As in a loop over checkpoints: nothing is cached by value, and nothing is compiled again."""
    traces, counts = [], []

    def apply_fn(params, x):
        traces.append(1)
        return APPLY_FN(params, x)

    ntk_fn = nt.batch(nt.empirical_ntk_fn(apply_fn), 3, 0)
    for seed in range(3):
        params = INIT_FN(random.key(seed), (-1, 3))[1]
        found = functools.partial(ntk_fn, params=params)(X1, None)
        np.testing.assert_allclose(found, nt.empirical_ntk_fn(APPLY_FN)(X1, None, params), rtol=1e-4)
        counts.append(len(traces))
    assert counts == counts[:1] * 3


@pytest.mark.slow
def test_parameters_are_no_pair_even_if_their_sizes_fit():
    """Of one layer, on as many inputs as there are rows of weights, and entries of the bias."""

    def f(params, x):
        return x @ params[0] + params[1][None]

    params = (jnp.eye(4, 3), jnp.ones(3))
    x1, x2 = inputs(4, 4), inputs(3, 4)
    assert_batches(nt.empirical_ntk_fn(f), x1, x2, params)
    assert_batches(nt.empirical_ntk_fn(f), x1, x2, params=params)


def test_result_is_a_kernel_function():
    batched = nt.batch(KERNEL_FN, 2)
    assert batched.input_req == KERNEL_FN.input_req and batched.__doc__ == KERNEL_FN.__doc__
    assert list(inspect.signature(batched).parameters) == list(inspect.signature(KERNEL_FN).parameters)
    assert repr(batched) == "batch(serial, batch_size=2, device_count=-1)"


@pytest.mark.slow
def test_predictions_with_masks_and_patterns():
    """A network with masks and a graph, through the ensemble, whose test inputs have a pattern of their own."""
    _, _, kernel_fn = stax.serial(stax.Dense(1), stax.Aggregate(), stax.Relu(), stax.GlobalAvgPool(), stax.Dense(1))
    x_train, x_test = inputs(6, 4, 2), inputs(3, 4, 2, seed=2)
    x_train[2, 1:], x_test[0, 3] = 100.0, 100.0
    g_train, g_test = (random.bernoulli(random.key(n), 0.6, (n, 4, 4)).astype(np.float32) for n in (6, 3))
    y = inputs(6, 1, seed=3)

    def predicted(fn):
        train = dict(pattern=(g_train, g_train), mask_constant=100.0)
        predict_fn = predict.gradient_descent_mse_ensemble(fn, x_train, y, diag_reg=1e-2, **train)
        return predict_fn(x_test=x_test, compute_cov=True, pattern=(g_test, g_test), mask_constant=100.0)

    for batch_size in (2, 4):
        assert_equal(predicted(nt.batch(kernel_fn, batch_size, 0)), predicted(kernel_fn), rtol=1e-3, atol=1e-4)


# Inputs and results.


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 2, 5])
@pytest.mark.parametrize("diagonal_batch", [True, False])
def test_kernels_in_and_out(batch_size, diagonal_batch):
    """A second network applied to the kernels of a first one, of images with masks."""
    first = stax.Conv(1, (2, 2))[2]
    second = stax.serial(stax.Relu(), stax.Conv(1, (2, 2)))[2]
    x1, x2 = inputs(4, 5, 4, 2), inputs(3, 5, 4, 2, seed=1)
    x1[1, 3:], x2[0, :, 2:] = 9.0, 9.0
    for other in (None, x2):
        kernel = first(x1, other, mask_constant=9.0, diagonal_batch=diagonal_batch)
        assert_batches(second, kernel, get="ntk", batch_sizes=(batch_size,))
        if diagonal_batch:
            assert_batches(second, kernel, batch_sizes=(batch_size,))
    with pytest.raises(ValueError, match="`x2` must be None"):
        nt.batch(second, 2)(kernel, x2)


@pytest.mark.parametrize("diagonal_spatial", [None, False])
@pytest.mark.parametrize("get", ["nngp", ("ntk", "nngp"), None])
def test_axes_of_positions_are_mirrored(get, diagonal_spatial):
    """Of covariances of all pairs of positions, positions are exchanged with inputs; of equal ones, nothing is."""
    kernel_fn = stax.serial(stax.ConvLocal(1, (2, 2), padding="SAME"), stax.Relu())[2]
    x = inputs(5, 3, 2, 2)
    assert_batches(kernel_fn, x, None, get, diagonal_spatial=diagonal_spatial, batch_sizes=(2,))


def test_only_tiles_above_the_diagonal_are_computed():
    calls = []
    x = inputs(8, 3, 2, 2)

    def f(params, x):
        jax.debug.callback(lambda: calls.append(1))
        return x.reshape((len(x), -1)) @ params

    for axes, n in (({}, 10), ({"trace_axes": ()}, 10)):
        kernel_fn = nt.batch(nt.empirical_nngp_fn(f, **axes), 2, 0)
        for x2, n_tiles in ((None, n), (x, n), (x.copy(), n), (x + 1, 16)):
            calls.clear()
            jax.block_until_ready(kernel_fn(x, x2, jnp.ones((12, 2))))
            jax.effects_barrier()
            assert len(calls) == 2 * n_tiles


@pytest.mark.slow
def test_trees_of_inputs_and_outputs():
    layer = stax.serial(stax.FanOut(2), stax.parallel(stax.Dense(1), stax.serial(stax.Dense(1), stax.Relu())))
    _, _, kernel_fn = stax.parallel(layer, stax.Dense(1))
    x1, x2 = (X1, inputs(7, 2)), (X2, inputs(5, 2))
    for get in ("nngp", None, ("ntk", "nngp")):
        assert_batches(kernel_fn, x1, x2, get)
        assert_batches(kernel_fn, x1, None, get)


@pytest.mark.parametrize(("n1", "n2"), [(0, 3), (3, 0), (0, 0), (1, 1)])
def test_batches_of_nothing_and_of_one(n1, n2):
    for batch_size in (0, 2):
        assert nt.batch(KERNEL_FN, batch_size)(inputs(n1), inputs(n2), "ntk").shape == (n1, n2)


@pytest.mark.slow
def test_both_precisions(dtype):
    x1 = inputs(5).astype(dtype)
    found = nt.batch(KERNEL_FN, 2)(x1, None, "ntk")
    assert found.dtype == dtype
    np.testing.assert_allclose(found, KERNEL_FN(x1, None, "ntk"), rtol=1e3 * np.finfo(dtype).eps)


@pytest.mark.parametrize("masked", [1.5, np.nan])
def test_masks(masked):
    _, _, kernel_fn = stax.serial(stax.Dense(1), stax.Relu(), stax.GlobalAvgPool(), stax.Dense(1))
    x1, x2 = inputs(5, 4, 2), inputs(4, 4, 2)
    x1[1, 2:], x2[3, 3], x1[4] = masked, masked, masked
    assert_batches(kernel_fn, x1, x2, "ntk", mask_constant=masked, batch_sizes=(2,))
    assert_batches(kernel_fn, x1, None, mask_constant=masked, batch_sizes=(2,))


# Equal inputs, and random keys.


@pytest.mark.slow
def test_dropout_of_equal_inputs():
    """Whether two batches are equal is decided for the batches, not for tiles: duplicates are other inputs."""
    _, _, kernel_fn = stax.serial(stax.Dense(1), stax.Relu(), stax.Dropout(0.5), stax.Dense(1))
    twice = np.concatenate([X1[:4], X1[:4]])
    for x1, x2 in ((twice, None), (twice, twice.copy()), (twice, X1[:4]), (X1[:4], twice), (X1[:6], X1[:3])):
        assert_batches(kernel_fn, x1, x2, "nngp", batch_sizes=(2, 4))
        traced = jax.jit(lambda a, b: nt.batch(kernel_fn, 2)(a, b, "nngp"))
        np.testing.assert_allclose(traced(x1, x2), kernel_fn(x1, x2, "nngp"), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("traced", [False, True])
def test_random_keys_make_a_gram_matrix(traced):
    """Dropout in a finite network: each input has one draw, whichever tile it is in, so the kernel is of rank 1."""
    init_fn, apply_fn, _ = stax.serial(stax.Dense(64), stax.Dropout(0.5), stax.Dense(1))
    params = init_fn(KEY, (-1, 3))[1]
    nngp_fn = nt.batch(nt.empirical_nngp_fn(apply_fn), 2, 0)
    call = jax.jit(nngp_fn) if traced else nngp_fn
    x = np.concatenate([X1, X1[:2]])
    kernel = np.asarray(call(x, None, params, rng=KEY))
    np.testing.assert_allclose(kernel, kernel.T, rtol=1e-5)
    assert np.linalg.svd(kernel, compute_uv=False)[1] < 1e-4 * np.trace(kernel)
    np.testing.assert_allclose(call(x, x.copy(), params, rng=KEY), kernel, rtol=1e-4)
    np.testing.assert_allclose(call(x, x.copy(), params, rng=(KEY, KEY)), kernel, rtol=1e-4)
    assert not np.allclose(kernel, call(x, None, params, rng=random.key(5)), rtol=0.1)
    # Blocks of two inputs each: the last one is full, and equals the first but for an input; so do their draws.
    same = np.asarray(call(np.concatenate([X1[:2], X1[:2], X1[2:4]]), None, params, rng=KEY))
    np.testing.assert_allclose(same[:2], same[2:4], rtol=1e-4)
    assert not np.allclose(
        same[:2, :2], call(np.concatenate([X1[2:4], X1[:2]]), None, params, rng=KEY)[:2, :2], rtol=0.1
    )


def test_inputs_are_compared_as_kernel_functions_see_them():
    """That is in single precision, unless jax is set to double."""
    _, _, kernel_fn = stax.serial(stax.Dense(1), stax.Relu(), stax.Dropout(0.5), stax.Dense(1))
    x = X1.astype(np.float64) + 1e-9
    expected = kernel_fn(x, None, "nngp")
    for other in (x + 1e-11, x.astype(np.float32), jnp.asarray(x)):
        np.testing.assert_allclose(nt.batch(kernel_fn, 3, 0)(x, other, "nngp"), expected, rtol=1e-5)


@pytest.mark.slow
def test_one_call_keeps_its_random_key():
    init_fn, apply_fn, _ = stax.serial(stax.Dense(8), stax.Dropout(0.5), stax.Dense(1))
    params = init_fn(KEY, (-1, 3))[1]
    assert_batches(nt.empirical_ntk_fn(apply_fn), X1, None, params, rng=KEY, batch_sizes=(0, 7))


# Transformations.


@pytest.mark.slow
def test_inside_transformations():
    batched, x3 = nt.batch(KERNEL_FN, 3), inputs(2, 7, 3)
    for x2 in (None, X2):

        def total(fn, x2=x2):
            return lambda x: jnp.sum(jnp.sin(fn(x, x2, "ntk")))

        assert_equal(jax.jit(total(batched))(X1), total(KERNEL_FN)(X1))
        assert_equal(jax.grad(total(batched))(X1), jax.grad(total(KERNEL_FN))(X1))
        assert_equal(jax.jvp(total(batched), (X1,), (X1,)), jax.jvp(total(KERNEL_FN), (X1,), (X1,)))
        assert_equal(jax.vmap(total(batched))(x3), jax.vmap(total(KERNEL_FN))(x3))
    kernels = jax.jit(lambda x: nt.batch(KERNEL_FN, 2)(x, None))(X1)
    assert_equal(kernels.replace(x1_is_x2=True), KERNEL_FN(X1, None))


@pytest.mark.slow
def test_derivatives_of_parameters():
    ntk_fn = nt.empirical_ntk_fn(APPLY_FN)

    def total(fn):
        return lambda params: jnp.sum(fn(X1, X2, params))

    assert_equal(jax.grad(total(nt.batch(ntk_fn, 3)))(PARAMS), jax.grad(total(ntk_fn))(PARAMS), 1e-3, 1e-3)

    def closure(fn):  # the function refers to a traced value, which no argument shows
        return lambda scale: jnp.sum(fn(lambda a, b: scale * a @ b.T)(X1, X2))

    for store in (True, False):
        found = jax.grad(closure(lambda f: nt.batch(f, 3, 0, store)))(2.0)  # noqa: B023
        np.testing.assert_allclose(found, jax.grad(closure(lambda f: f))(2.0), rtol=1e-4)


@pytest.mark.slow
def test_memory_of_derivatives_is_that_of_a_tile():
    """Tiles are computed again in the backward pass, so that their intermediate values are never kept all at once."""
    layers = stax.serial(*[stax.Dense(1), stax.Relu()] * 4, stax.Dense(1))[2]
    x = jax.ShapeDtypeStruct((256, 4), jnp.float32)
    sizes = []
    for fn in (layers, nt.batch(layers, 32)):
        gradient = jax.jit(jax.grad(lambda x, fn=fn: jnp.sum(fn(x, None, "ntk"))))
        sizes.append(gradient.lower(x).compile().memory_analysis().temp_size_in_bytes)
    assert sizes[1] < sizes[0] / 3


def test_second_call_traces_and_compiles_nothing(count_compilations):
    for x2 in (None, X2):
        batched = nt.batch(KERNEL_FN, 3, 0)
        batched(X1, x2, ("nngp", "ntk"))
        with count_compilations() as count:
            batched(X1, x2, ("nngp", "ntk"))
        assert count() == 0


# Errors.


def mean_of_rows(params, x):
    """A network whose inputs lie along the second axis."""
    return jnp.mean(params * x, axis=0, keepdims=True)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nt.batch(stax.Dense(1)), TypeError, "`kernel_fn` to be a function of two batches, got Layer"),
        (lambda: nt.batch(KERNEL_FN, -2), ValueError, "`batch_size` to be positive"),
        (lambda: nt.batch(KERNEL_FN, 2, 99), ValueError, "`device_count` from -1"),
        (lambda: nt.batch(KERNEL_FN, 2)(), TypeError, "a first batch of inputs"),
        (lambda: nt.batch(KERNEL_FN, 2)("ntk"), TypeError, "x1 to be an array"),
        (lambda: nt.batch(KERNEL_FN, 2)(X1, "ntk"), TypeError, "`get` comes after x2"),
        (lambda: nt.batch(KERNEL_FN, 2)([1.0, 2.0]), TypeError, "got float"),
        (lambda: nt.batch(KERNEL_FN, 2)(X1.astype(object)), TypeError, "arrays of numbers, got object"),
        (lambda: nt.batch(KERNEL_FN, 2)({"a": X1, "b": X2}), ValueError, r"arrays of shapes \[\(7, 3\), \(5, 3\)\]"),
        (lambda: nt.batch(KERNEL_FN, 2)(X1, [X2]), ValueError, "x1 and x2 to be trees of arrays of the same structure"),
        (lambda: nt.batch(KERNEL_FN, 2)(X1, None, "ntkk"), KeyError, "ntkk"),
        (lambda: nt.batch(KERNEL_FN, 2)(X1, inputs(5, 2), "ntk"), ValueError, "x1 and x2 must have equal sizes"),
        (lambda: nt.batch(KERNEL_FN, 2)(X1, None, diagonal_batch=False), NotImplementedError, "`diagonal_batch=False`"),
        (lambda: nt.batch(KERNEL_FN, 2)(X1, None, batch_axis=1), ValueError, "batch axis first, got `batch_axis=1`"),
        (lambda: nt.batch(lambda a, b: jnp.sum(a), 2)(X1, X2), ValueError, "one axis for the inputs of x1"),
        (lambda: nt.batch(lambda a, b: a @ a.T, 2)(X1, X2), ValueError, "at most one axis for the inputs of each"),
        (lambda: nt.batch(lambda a, b: (a @ b.T) @ jnp.ones(len(b)), 2)(X1, X2), ValueError, "no axis for the inputs"),
        (lambda: jax.jit(nt.batch(lambda a, b: a @ b.T @ b, 2))(X1, X2), ValueError, "axis for the inputs of x2"),
        (lambda: nt.batch(lambda a, b: (a @ b.T, jnp.any(a > 2)), 2)(X1, X2), ValueError, r"\[1\] of the results"),
        (lambda: nt.batch(lambda a, b: a[1:] @ b.T, 3)(X1, X2), ValueError, r"shape \(2, 3\) for a tile"),
        (lambda: nt.batch(lambda a, b: iter([a]), 2)(X1, X2), TypeError, "return arrays, got list_iterator"),
        (
            lambda: nt.batch(nt.empirical_ntk_fn(APPLY_FN, trace_axes=(0,)), 2)(X1, X1, PARAMS),
            ValueError,
            "`trace_axes`",
        ),
        (
            lambda: nt.batch(nt.empirical_ntk_fn(APPLY_FN, diagonal_axes=(0,)), 2)(X1, None, PARAMS),
            ValueError,
            "`diagonal_axes`",
        ),
        (
            lambda: nt.batch(nt.empirical_ntk_fn(mean_of_rows, trace_axes=0, vmap_axes=1), 2)(X1, None, jnp.ones(())),
            ValueError,
            "vmap_axes",
        ),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.slow
def test_what_cannot_be_cut_is_computed_in_one_call():
    """Without a `batch_size`, several devices are no reason to fail; and neither is a size larger than the batches."""
    trace = nt.empirical_ntk_fn(APPLY_FN, trace_axes=(0, 1))
    for batch_size in (0, 7):
        assert_batches(trace, X1, None, PARAMS, device_count=-1, batch_sizes=(batch_size,))
        assert_batches(KERNEL_FN, X1, None, diagonal_batch=False, batch_sizes=(batch_size,))


def test_arrays_of_one_batch_inside_transformations():
    """A function that returns variances besides the kernel can be traced: they depend on one batch only."""

    def kernel_fn(a, b):
        return a @ b.T, jnp.sum(a**2, axis=1), jnp.sum(b, axis=1)

    assert_equal(jax.jit(nt.batch(kernel_fn, 2))(X1, X2), kernel_fn(X1, X2))
