"""`empirical_ntk_fn` against Jacobians, contracted as the definition says, for all implementations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from finite_networks import (
    IMAGE1,
    MLP_PARAMS,
    NETWORKS,
    X1,
    X2,
    Network,
    assert_close,
    full_ntk,
    jacobians,
    mlp,
    normal,
    reduced,
)
from sweeps import mostly_slow

import neural_tangents as nt

IMPLEMENTATIONS = (1, 2, 3)


def kernels_of(
    net, trace_axes=(), diagonal_axes=(), one_batch=False, implementations=IMPLEMENTATIONS, vmap_axes=(None,)
):
    """The kernel of each implementation and choice of `vmap_axes`, compiled together, as a list of leaves."""

    def all_kernels(x1, x2, params):
        return {
            f"implementation {implementation}, vmap_axes {v}": nt.empirical_ntk_fn(
                net.f, trace_axes, diagonal_axes, v, implementation
            )(x1, None if one_batch else x2, params)
            for implementation in implementations
            for v in vmap_axes
        }

    found = jax.jit(all_kernels)(net.x1, net.x2, net.params)
    return {name: jax.tree.leaves(kernel) for name, kernel in found.items()}


QUICK = ["mlp", "conv", "attention", "tied", "two outputs", "scan over layers", "slices", "complex inputs", "no rules"]


@pytest.mark.parametrize("name", mostly_slow(NETWORKS, QUICK))
def test_kernel_of_all_outputs(name):
    """No axis is traced, so every entry of the product of the Jacobians is compared."""
    with jax.enable_x64(True):
        net = NETWORKS[name].cast(np.float64)
        expected = full_ntk(net.f, net.params, net.x1, net.x2)
        found = kernels_of(
            net,
            implementations=IMPLEMENTATIONS if net.forward else (1, 3),
            vmap_axes=(None, 0) if net.independent else (None,),
        )
        for kernel in found.values():
            for of_output, truth in zip(kernel, expected, strict=True):
                assert np.abs(truth).max() > 1e-3
                assert_close(of_output, reduced(truth))


@pytest.mark.parametrize("name", ["mlp", "conv", "attention", "tied", "real parameters, complex outputs"])
def test_single_precision(name):
    with jax.enable_x64(True):
        net = NETWORKS[name].cast(np.float64)
        expected = full_ntk(net.f, net.params, net.x1, net.x1)
    with jax.enable_x64(False):
        for kernel in kernels_of(NETWORKS[name].cast(np.float32), one_batch=True, vmap_axes=(0,)).values():
            for of_output, truth in zip(kernel, expected, strict=True):
                assert of_output.dtype in (np.float32, np.complex64)
                assert_close(of_output, reduced(truth), 1e-5)


# Axes of outputs.

CUBE = Network(
    lambda p, x: jnp.sin(jnp.einsum("ni,ijk->njk", x, p["w"]) + p["b"][None]),
    {"w": normal(5, 3, 4), "b": normal(3, 4)},
    normal(2, 5),
    normal(2, 5),
)


@pytest.mark.parametrize(
    ("trace_axes", "diagonal_axes"),
    [
        ((-1,), ()),
        ((), (-1,)),
        ((2, -2), ()),
        ((), (-1, 1)),
        ((1,), (-1,)),
        ((-1,), (1,)),
        ((0,), (-1,)),
        ((-2,), (0,)),
        ((), (2, 0)),
        ((2, 0, 1), ()),
        (-1, 1),
    ],
)
def test_traced_and_diagonal_axes(trace_axes, diagonal_axes):
    with jax.enable_x64(True):
        net = CUBE.cast(np.float64)
        sets = [(axes,) if isinstance(axes, int) else axes for axes in (trace_axes, diagonal_axes)]
        for one_batch in (False, True):
            (truth,) = full_ntk(net.f, net.params, net.x1, net.x1 if one_batch else net.x2)
            vmap_axes = (0,) if one_batch else (None, 0)
            for kernel in kernels_of(net, trace_axes, diagonal_axes, one_batch, vmap_axes=vmap_axes).values():
                assert_close(kernel[0], reduced(truth, *sets))


def test_defaults_are_the_mean_over_the_last_axis():
    (truth,) = full_ntk(mlp, MLP_PARAMS, X1, X2)
    assert_close(nt.empirical_ntk_fn(mlp)(X1, X2, MLP_PARAMS), reduced(truth, (-1,)), 1e-5)


@pytest.mark.slow
def test_automatic_choice():
    with jax.enable_x64(True):
        for net in (CUBE.cast(np.float64), NETWORKS["wrong reverse derivatives"].cast(np.float64)):
            (truth,) = full_ntk(net.f, net.params, net.x1, net.x2)
            for v in (None, 0):
                kernel = nt.empirical_ntk_fn(net.f, (-1,), (), v, nt.NtkImplementation.AUTO)(net.x1, net.x2, net.params)
                assert_close(kernel, reduced(truth, (-1,)))


@pytest.mark.slow
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_single_outputs(implementation):
    """An output without axes has a kernel without axes."""
    with jax.enable_x64(True):
        (truth,) = full_ntk(lambda p, x: mlp(p, x).sum(), MLP_PARAMS, X1, X2)
        fn = nt.empirical_ntk_fn(lambda p, x: mlp(p, x).sum(), (), (), None, implementation)
        assert_close(fn(X1, X2, MLP_PARAMS), truth)


@pytest.mark.slow
@pytest.mark.parametrize("implementation", [0, 1, 2, 3])
@pytest.mark.parametrize("vmap_axes", [None, 0])
def test_empty_batches(implementation, vmap_axes):
    for n1, n2 in ((0, 2), (3, 0), (0, 0)):
        fn = nt.empirical_ntk_fn(mlp, (), (), vmap_axes, implementation)
        assert fn(X1[:n1], X2[:n2], MLP_PARAMS).shape == (n1, n2, 3, 3)
    assert nt.empirical_ntk_fn(mlp, (-1,), (), vmap_axes, implementation)(X1[:0], None, MLP_PARAMS).shape == (0, 0)
    # The mean over no inputs is the sum, which is zero, and not a number divided by zero.
    traced = nt.empirical_ntk_fn(mlp, (0,), (), vmap_axes, implementation)(X1[:0], None, MLP_PARAMS)
    np.testing.assert_array_equal(traced, np.zeros((3, 3)))


@pytest.mark.slow
@pytest.mark.parametrize("implementation", [0, 1, 2, 3])
@pytest.mark.parametrize("params", [(), {"unused": normal(3)}])
def test_outputs_that_do_not_depend_on_parameters(implementation, params, dtype):
    x1, x2 = jnp.asarray(X1, dtype), jnp.asarray(X2, dtype)
    params = jax.tree.map(lambda p: jnp.asarray(p, dtype), params)
    for v in (None, 0):
        kernel = nt.empirical_ntk_fn(lambda p, x: jnp.sin(x), (), (), v, implementation)(x1, x2, params)
        assert kernel.dtype == dtype
        np.testing.assert_array_equal(kernel, np.zeros((3, 2, 5, 5)))


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_parameters_of_low_precision(implementation):
    """The network computes in float32, from parameters that have three digits."""
    params = {name: jnp.asarray(value, jnp.bfloat16) for name, value in MLP_PARAMS.items()}
    exact = {name: np.asarray(value, np.float32) for name, value in params.items()}
    (truth,) = full_ntk(mlp, exact, X1, X2)
    fn = nt.empirical_ntk_fn(
        lambda p, x: mlp({name: value.astype(np.float32) for name, value in p.items()}, x), (), (), None, implementation
    )
    assert_close(np.asarray(fn(X1, X2, params), np.float32), reduced(truth), 2e-2)


# Inputs.


def scaled_mlp(p, x, scale=1.0):
    return mlp(p, x["a"] * x["b"]) * scale


@pytest.mark.slow
def test_second_batches_with_parts_of_the_first():
    with jax.enable_x64(True):
        x1 = {"a": normal(2, 5), "b": normal(2, 5)}
        b = normal(2, 5)
        (truth,) = full_ntk(scaled_mlp, MLP_PARAMS, x1, {"a": x1["a"], "b": b})
        (alone,) = full_ntk(scaled_mlp, MLP_PARAMS, x1, x1)

        def all_kernels(x1, b):
            fns = [nt.empirical_ntk_fn(scaled_mlp, (), (), v, i) for v in (None, 0) for i in IMPLEMENTATIONS]
            second = {"a": None, "b": b}, {"a": None, "b": None}
            return [[fn(x1, x2, MLP_PARAMS) for fn in fns] for x2 in second]

        some, none = jax.jit(all_kernels)(x1, b)
        for kernel in some:
            assert_close(kernel, reduced(truth))
        for kernel in none:
            assert_close(kernel, reduced(alone))


def test_axes_of_samples_anywhere():
    """Inputs, outputs and keyword arguments have samples along different axes, and some are shared by all samples."""

    def f(p, x, scale, offset):
        """Of inputs `(5, N)` and `(5,)`: outputs `(3, N)` and `(N,)`."""
        h = jnp.tanh(x["a"].T * x["b"][None] @ p["w"] + offset) * scale
        return {"y": (h @ p["v"]).T, "z": h.sum(1)}

    params = {"w": normal(5, 6), "v": normal(6, 3)}
    b = normal(5)
    x1, x2 = {"a": normal(5, 3), "b": b}, {"a": normal(5, 2), "b": b}
    scale1, scale2 = normal(3, 1), normal(2, 1)
    vmap_axes = ({"a": 1, "b": None}, {"y": 1, "z": 0}, {"scale": 0})
    with jax.enable_x64(True):
        first = jacobians(f, params, x1, scale=scale1, offset=0.5)
        second = jacobians(f, params, x2, scale=scale2, offset=0.25)

        def all_kernels(x1, x2, scale1, scale2):
            return [
                nt.empirical_ntk_fn(f, (), (), v, i)(x1, x2, params, scale=(scale1, scale2), offset=(0.5, 0.25))
                for v in (None, vmap_axes)
                for i in IMPLEMENTATIONS
            ]

        for kernel in jax.jit(all_kernels)(x1, x2, scale1, scale2):
            for name, of1, of2 in zip(("y", "z"), first, second, strict=True):
                truth = sum(np.tensordot(j1, j2, (-1, -1)) for j1, j2 in zip(of1, of2, strict=True))
                assert_close(kernel[name], reduced(truth))


@pytest.mark.slow
def test_keyword_arguments_that_differ_for_equal_inputs():
    """One batch of inputs is not one batch of samples if keyword arguments are pairs."""
    with jax.enable_x64(True):
        x = {"a": X1, "b": X1}
        (truth,) = full_ntk(scaled_mlp, MLP_PARAMS, x, x)
        for v in (None, 0):
            for implementation in IMPLEMENTATIONS:
                fn = nt.empirical_ntk_fn(scaled_mlp, (-1,), (), v, implementation)
                kernel = fn(x, None, MLP_PARAMS, scale=(jnp.full((1, 1), 2.0), jnp.full((1, 1), 3.0)))
                assert_close(kernel, 6 * reduced(truth, (-1,)))


@pytest.mark.slow
@pytest.mark.parametrize("make_key", [jax.random.key, jax.random.PRNGKey])
def test_dropout(make_key):
    """A batch with itself has one mask; two different batches have masks of their own."""

    def f(p, x, rng):
        return (jnp.tanh(x @ p["w"]) * jax.random.bernoulli(rng, 0.5, (x.shape[0], 6))) @ p["v"]

    key = make_key(3)
    other = jax.random.fold_in(key, 1)
    batches = {"one": None, "equal": X1, "other": X2}

    def all_kernels(x1, x2, keys):
        fns = [nt.empirical_ntk_fn(f, (-1,), (), None, i) for i in IMPLEMENTATIONS]
        return [fn(x1, x2, MLP_PARAMS, rng=keys) for fn in fns]

    with jax.enable_x64(True):
        first = jacobians(f, MLP_PARAMS, X1, rng=key)[0]
        for name, keys in (("one", key), ("equal", key), ("other", key), ("other", (key, other))):
            second = first if name != "other" else jacobians(f, MLP_PARAMS, X2, rng=other)[0]
            truth = sum(np.tensordot(j1, j2, (-1, -1)) for j1, j2 in zip(first, second, strict=True))
            for kernel in jax.jit(all_kernels)(X1, batches[name], keys):
                assert_close(kernel, reduced(truth, (-1,)))


# Transformations.


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_vmap_over_inputs_and_parameters(implementation):
    with jax.enable_x64(True):
        x1, x2 = normal(2, 3, 5), normal(2, 2, 5)
        params = {name: np.stack([value, value[::-1]]) for name, value in MLP_PARAMS.items()}
        fn = nt.empirical_ntk_fn(mlp, (-1,), (), 0, implementation)
        both = jax.jit(jax.vmap(fn))(x1, x2, params)
        for i in range(2):
            of_one = {name: value[i] for name, value in params.items()}
            (truth,) = full_ntk(mlp, of_one, x1[i], x2[i])
            assert_close(both[i], reduced(truth, (-1,)))


@pytest.mark.slow
def test_derivative_of_a_kernel():
    """The gradient of a function of the kernel; the network has scales and slices, so all kinds of derivatives."""

    def f(p, x):
        return jnp.tanh(x @ (p["w"][0] * p["s"]) + p["w"][1][:1]) @ jnp.exp(p["w"][2])

    params = {"w": normal(3, 5, 5), "s": 1 + 0.1 * normal(5, 5)}
    weights = normal(3, 2)

    def explicit(params, x1, x2):
        j1, j2 = (jax.tree.leaves(jax.jacfwd(f)(params, x)) for x in (x1, x2))
        flat1, flat2 = (jnp.concatenate([j.reshape(*j.shape[:2], -1) for j in js], -1) for js in (j1, j2))
        return jnp.sum(weights * jnp.sin(jnp.einsum("aip,bip->ab", flat1, flat2) / 5))

    with jax.enable_x64(True):
        expected = jax.jit(jax.grad(explicit, (0, 1, 2)))(params, X1, X2)
        for v in (None, 0):
            for implementation in IMPLEMENTATIONS:
                ntk_fn = nt.empirical_ntk_fn(f, (-1,), (), v, implementation)

                def of_kernel(params, x1, x2, ntk_fn=ntk_fn):
                    return jnp.sum(weights * jnp.sin(ntk_fn(x1, x2, params)))

                found = jax.jit(jax.grad(of_kernel, (0, 1, 2)))(params, X1, X2)
                jax.tree.map(assert_close, found, expected)


@pytest.mark.parametrize("implementation", [0, 1, 2, 3])
def test_a_second_compiled_call_does_not_trace(implementation):
    calls = []

    def f(p, x):
        calls.append(None)
        return mlp(p, x)

    fn = jax.jit(nt.empirical_ntk_fn(f, implementation=implementation))
    fn(X1, X2, MLP_PARAMS)
    traced = len(calls)
    assert traced > 0
    fn(X1 + 1, X2 + 1, jax.tree.map(np.negative, MLP_PARAMS))
    assert len(calls) == traced


@pytest.mark.parametrize(("implementation", "vmap_axes"), [(1, None), (1, 0), (2, None), (3, None), (3, 0)])
def test_a_second_call_without_jit_does_not_compile(implementation, vmap_axes, caplog):
    fn = nt.empirical_ntk_fn(mlp, (), (), vmap_axes, implementation)
    x1, x2, params = jax.tree.map(lambda x: jnp.asarray(x, np.float32), (X1, X2, MLP_PARAMS))
    fn(x1, x2, params)
    changed = jax.tree.map(jnp.negative, (x1, x2, params))

    def count(fn, *args):
        caplog.clear()
        with caplog.at_level("WARNING", logger="jax"), jax.log_compiles():
            fn(*args)
        return sum("XLA compilation" in record.message for record in caplog.records)

    assert count(fn, *changed) == 0
    assert count(jax.jit(lambda x: x + 1), x1) == 1


# How the network is used.


@pytest.mark.slow
@pytest.mark.parametrize(
    "f",
    [
        # Parameters that are used twice for one batch, and once or not at all for the other.
        lambda p, x, first: jnp.tanh(x @ p["w"]) @ (p["v"] if first else p["v"] * p["b"].sum() @ p["v"].T @ p["v"]),
        # Other axes are summed over.
        lambda p, x, first: jnp.einsum("ni,ij->nj" if first else "ni,ji->nj", x, p["u"]),
        # Parameters are prepared in other ways.
        lambda p, x, first: jnp.tanh(x) * p["w"][:, 0][None] if first else x * p["w"][::-1, 0][None] * 2,
        lambda p, x, first: jnp.tanh(x @ jnp.reshape(p["u"] if first else p["u"].T, (5, 5))),
    ],
)
def test_a_network_may_do_different_things_with_both_batches(f):
    params = {**MLP_PARAMS, "u": normal(5, 5)}
    with jax.enable_x64(True):
        first, second = jacobians(f, params, X1, first=True)[0], jacobians(f, params, X2, first=False)[0]
        truth = sum(np.tensordot(j1, j2, (-1, -1)) for j1, j2 in zip(first, second, strict=True))
        for v in (None, 0):
            kernel = nt.empirical_ntk_fn(f, (), (), v, 3)(X1, X2, params, first=(True, False))
            assert_close(kernel, reduced(truth))


@pytest.mark.slow
def test_batch_of_images_through_jit_and_a_closure():
    """Weights outside of `params` are constants, without a part in the kernel."""
    net = NETWORKS["conv"]

    def f(v, x):
        return jax.jit(net.f)({**net.params, "v": v}, x)

    with jax.enable_x64(True):
        (truth,) = full_ntk(f, net.params["v"], IMAGE1, IMAGE1)
        features = jacobians(lambda b, x: f(net.params["v"] * b, x), jnp.zeros(()), IMAGE1)[0][0]
        assert np.abs(features).max() > 0
        for implementation in IMPLEMENTATIONS:
            kernel = nt.empirical_ntk_fn(f, (), (), 0, implementation)(IMAGE1, None, net.params["v"])
            assert_close(kernel, reduced(truth))


@pytest.mark.parametrize("implementation", [0, 1, 2, 3])
@pytest.mark.parametrize(("of_params", "of_layer"), [("bfloat16", "float32"), ("float32", "bfloat16")])
def test_kernels_have_the_wider_type(implementation, of_params, of_layer):
    """Whatever type a layer computes in, kernels have that of outputs and parameters, and so does their arithmetic."""

    def f(params, x):
        hidden = jnp.tanh(x.astype(of_layer) @ params["w"].astype(of_layer))
        return (hidden @ params["v"].astype(of_layer)).astype("float32")

    params = {"w": jnp.ones((3, 4), of_params) / 7, "v": jnp.ones((4, 2), of_params)}
    kernel = nt.empirical_ntk_fn(f, trace_axes=(), implementation=implementation)(jnp.ones((2, 3)), None, params)
    assert kernel.dtype == "float32"
    wide = jax.tree.map(lambda p: p.astype("float32"), params)
    exact = nt.empirical_ntk_fn(lambda p, x: jnp.tanh(x @ p["w"]) @ p["v"], trace_axes=())(jnp.ones((2, 3)), None, wide)
    np.testing.assert_allclose(kernel, exact, rtol=3e-2)
