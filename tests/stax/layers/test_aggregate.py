"""`Aggregate` against sums written out, and finite networks; lists of edges against adjacency matrices."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from finite_width import assert_compatible, compiled, estimate
from linear_truth import LAYOUTS, assert_exact, assert_smooth

from neural_tangents.stax import (
    Aggregate,
    AggregateImplementation,
    Dense,
    Dropout,
    Erf,
    FanInSum,
    FanOut,
    Flatten,
    Identity,
    LayerNorm,
    Relu,
    parallel,
    repeat,
    serial,
)
from neural_tangents.stax._layers.aggregate import dense_sum, sparse_sum

RANDOM = np.random.RandomState(53)
X1, X2 = (RANDOM.normal(size=(n, 3, 4, 5)) for n in (2, 3))  # (N, S, T, C)
DENSE = Dense(5, 1.2, 0.3)
KEY = jax.random.PRNGKey(0)
PAIRED = LAYOUTS[::2]  # with covariances of different positions


def sparse(*args, **kwargs):
    with pytest.warns(UserWarning, match="negative coordinate"):
        return Aggregate(*args, implementation="SPARSE", **kwargs)


def weights(n, *sizes, seed=0):
    return np.random.RandomState(seed).normal(size=(n, *sizes, *sizes))


def edges(n, *sizes, count=7, seed=0):
    """Random edges `(n, count, n_axes, 2)`; some occur twice, some have one or more negative coordinates."""
    random = np.random.RandomState(seed)
    lists = np.stack([random.randint(0, size, (n, count, 2)) for size in sizes], 2)
    lists[:, 1] = lists[:, 0]
    return np.where(random.uniform(size=lists.shape) < 0.1, -random.randint(1, 9, lists.shape), lists)


def adjacency(lists, *sizes):
    """Weights `(n, *sizes, *sizes)` from lists of edges, one by one."""
    dense = np.zeros((len(lists), *sizes, *sizes))
    for i, graph in enumerate(lists):
        for edge in graph:
            if (edge >= 0).all():
                dense[(i, *edge[:, 0], *edge[:, 1])] += 1
    return dense


# Aggregated axes, the sizes of these, and the sums of `(N, S, T, C)`.
CASES = {
    "all": (None, (3, 4), "nstc,nstij->nijc"),
    "in any order": ((2, 1), (3, 4), "nstc,nstij->nijc"),
    "first": (1, (3,), "nstc,nsi->nitc"),
    "second, from the end": ((-2,), (4,), "nstc,ntj->nsjc"),
}


@pytest.mark.parametrize("name", CASES)
def test_kernels_are_those_of_explicit_features(name):
    axes, sizes, formula = CASES[name]
    ps = weights(2, *sizes), weights(3, *sizes, seed=1)
    ys = [np.einsum(formula, x, p) for x, p in zip((X1, X2), ps, strict=True)]
    assert_exact(Aggregate(axes), (X1, X2), ys, patterns=ps, layouts=PAIRED)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_kernels_of_lists_of_edges_are_those_of_explicit_features(name):
    axes, sizes, formula = CASES[name]
    lists = edges(2, *sizes), edges(3, *sizes, count=9, seed=1)
    assert any((graph < 0).any() for graph in lists)
    ys = [np.einsum(formula, x, adjacency(p, *sizes)) for x, p in zip((X1, X2), lists, strict=True)]
    if len(sizes) == 1:
        lists = [graph[:, :, 0] for graph in lists]
    assert_exact(sparse(axes), (X1, X2), ys, patterns=tuple(lists), layouts=PAIRED)


@pytest.mark.parametrize("axes", [(1, 0), (-1, 1), (2, 3)])
def test_other_axes(axes):
    """Patterns have the order of the axes of the inputs."""
    xs = [np.moveaxis(x, (0, 3), axes) for x in (X1, X2)]
    spatial = [axis for axis in range(4) if axis not in (axes[0] % 4, axes[1] % 4)]
    sizes = [xs[0].shape[axis] for axis in spatial]
    lists = edges(2, *sizes), edges(3, *sizes, seed=1)
    ps = [adjacency(graph, *sizes) for graph in lists]
    order = "".join({axes[0] % 4: "n", axes[1] % 4: "c", spatial[0]: "s", spatial[1]: "t"}[axis] for axis in range(4))
    out = order.replace("s", "i").replace("t", "j")
    ys = [np.einsum(f"{order},nstij->{out}", x, p) for x, p in zip(xs, ps, strict=True)]
    chosen = (spatial[1] - 4, spatial[0])
    assert_exact(Aggregate(chosen, *axes), xs, ys, axes=axes, patterns=tuple(ps), layouts=PAIRED[:1])
    assert_exact(sparse(chosen, *axes), xs, ys, axes=axes, patterns=lists, layouts=PAIRED[:1])


def test_sums_over_edges_are_products_with_adjacency_matrices():
    lists = edges(2, 3, 4, count=20)
    x = np.random.RandomState(3).normal(size=(5, 4, 2, 3)).astype(np.float32)
    expected = np.einsum("ctns,nstij->cjni", x, adjacency(lists, 3, 4))
    np.testing.assert_allclose(dense_sum(x, adjacency(lists, 3, 4), 2, (3, 1)), expected, rtol=1e-4, atol=1e-5)
    for kind in (np.int8, np.int32):
        np.testing.assert_allclose(sparse_sum(x, lists.astype(kind), 2, (3, 1)), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(sparse_sum(x, lists[:, :0], 2, (3, 1)), 0 * x)


def test_many_nodes_have_no_adjacency_matrix():
    """A matrix of 10^12 entries would not fit."""
    n = 10**6
    x = jnp.arange(n, dtype=np.float32)[None, :, None]
    nodes = jnp.arange(n, dtype=np.int32)
    graph = jnp.stack([nodes, jnp.roll(nodes, 1)], -1)[None]  # a ring
    layer = sparse()
    y = jax.jit(lambda x, graph: layer[1]((), x, pattern=graph))(x, graph)
    np.testing.assert_array_equal(y[0, np.roll(nodes, 1), 0], x[0, :, 0])


GRAPHS = np.random.RandomState(7).uniform(size=(2, 4, 4)) * (np.random.RandomState(8).uniform(size=(2, 4, 4)) < 0.6)
LISTS = edges(2, 4, count=8, seed=5)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["DENSE", "SPARSE"])
def test_finite_networks_have_the_kernel_on_average(form):
    layer, p = (Aggregate(), GRAPHS) if form == "DENSE" else (sparse(), LISTS)
    x1, x2 = X1[:, 0, :, :3], X2[:2, 0, :, :3]
    net = serial(layer, Dense(8, 1.3, 0.4), Relu(), layer, Dense(1, 0.9, 0.2))
    nngp, ntk = estimate(net, x1, x2, seed=len(form), draws=2000, pattern=p)
    kernel = compiled(net, x1, x2, ("nngp", "ntk"), pattern=(p, p))
    assert_compatible(nngp, kernel.nngp)
    assert_compatible(ntk, kernel.ntk)


def test_edges_of_finite_and_infinite_networks_are_matrices():
    lists = edges(2, 4), edges(3, 4, seed=1)
    matrices = tuple(adjacency(graph, 4) for graph in lists)
    x1, x2 = X1[:, 0], X2[:, 0]
    with jax.enable_x64(True):
        kernels = []
        for layer, patterns in ((Aggregate(), matrices), (sparse(), lists)):
            net = serial(DENSE, layer, Relu(), DENSE, layer, Flatten(), Dense(1))
            kernels.append(compiled(net, x1, x2, pattern=patterns))
    for name in ("nngp", "ntk", "cov1", "cov2"):
        np.testing.assert_allclose(*(getattr(k, name) for k in kernels), rtol=1e-12)


def test_one_batch_with_one_or_two_patterns():
    first, second = weights(2, 4), weights(2, 4, seed=1)
    x = X1[:, 0]
    net = serial(DENSE, Aggregate(), Relu(), DENSE, Dropout(0.5), DENSE)
    with jax.enable_x64(True):
        run = jax.jit(lambda x1, x2, pattern: net[2](x1, x2, pattern=pattern))
        equal = [
            compiled(net, x, pattern=(first, first)),
            run(x, None, (first, first.copy())),
            run(x, x.copy(), (first,) * 2),
        ]
        other = [
            run(x, None, (first, second)),
            run(x, x.copy(), (first, second)),
            net[2](x, x, pattern=(first, second)),
        ]
        swapped = run(x, None, (second, first))
    assert equal[0].cov2 is None and all(bool(k.x1_is_x2) for k in equal)
    assert not any(bool(k.x1_is_x2) for k in (*other, swapped))
    for same in (equal, other):
        for k in same[1:]:
            for name in ("nngp", "ntk", "cov1"):
                np.testing.assert_allclose(getattr(k, name), getattr(same[0], name), rtol=1e-10, atol=1e-12)
    for k in other:
        np.testing.assert_allclose(k.cov1, equal[0].cov1, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(k.cov2, swapped.cov1, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(equal[1].cov2, equal[0].cov1, rtol=1e-10, atol=1e-12)
    assert not np.allclose(other[0].nngp, equal[0].nngp, rtol=1e-2)


def test_without_a_pattern_nothing_happens():
    layer = Aggregate()
    np.testing.assert_array_equal(layer[1]((), X1), X1)
    np.testing.assert_array_equal(layer[1]((), X1, pattern=None), X1)
    kernel, expected = compiled(serial(DENSE, layer), X1, X2, pattern=(None, None)), compiled(DENSE, X1, X2)
    np.testing.assert_array_equal(kernel.nngp, expected.nngp)
    identity = np.broadcast_to(np.eye(12).reshape(3, 4, 3, 4), (2, 3, 4, 3, 4))
    np.testing.assert_array_equal(layer[1]((), X1.astype(np.float32), pattern=identity), X1.astype(np.float32))


def test_no_axes_multiply_each_input():
    ps = np.array([2.0, -3.0]), np.array([1.0, 0.5, 0.0])
    ys = [x * p[:, None, None, None] for x, p in zip((X1, X2), ps, strict=True)]
    assert_exact(Aggregate(()), (X1, X2), ys, patterns=ps, layouts=PAIRED[:1])


@pytest.mark.parametrize("form", ["DENSE", "SPARSE"])
def test_masks(form):
    """Masked nodes send nothing, and stay masked."""
    absent = np.random.RandomState(4).uniform(size=(2, 4, 1)) < 0.5
    absent[:, 0], absent[:, 1] = True, False
    x1, x2 = X1[:, 0], X2[:, 0]
    layer, ps = (Aggregate(), (GRAPHS, weights(3, 4))) if form == "DENSE" else (sparse(), (LISTS, edges(3, 4)))
    ws = ps if form == "DENSE" else [adjacency(graph, 4) for graph in ps]
    y1 = np.where(absent, 0, np.einsum("nsc,nsi->nic", np.where(absent, 0, x1), ws[0]))
    ys = y1, np.einsum("nsc,nsi->nic", x2, ws[1])
    masks = absent, np.zeros((3, 4, 1), bool)
    xs = np.where(absent, np.inf, x1), x2
    assert_exact(layer, xs, ys, patterns=ps, mask_constant=np.inf, masks=masks, layouts=PAIRED)


@pytest.mark.slow
def test_to_dense():
    """`to_dense` gets what is passed as `pattern`, whatever that is."""
    lists = edges(2, 4), edges(3, 4, seed=1)
    layer = Aggregate(to_dense=lambda pattern: adjacency(pattern["edges"], 4))
    wrapped = tuple({"edges": graph} for graph in lists)
    kernel = layer[2](X1[:, 0], X2[:, 0], pattern=wrapped)
    expected = sparse()[2](X1[:, 0], X2[:, 0], pattern=lists)
    np.testing.assert_allclose(kernel.nngp, expected.nngp, rtol=1e-5, atol=1e-6)
    y = layer[1]((), X1[:, 0], pattern=wrapped[0])
    np.testing.assert_allclose(y, Aggregate(to_dense=None)[1]((), X1[:, 0], pattern=adjacency(lists[0], 4)), rtol=1e-6)


@pytest.mark.slow
def test_types_derivatives_and_compilation_with_lists_of_edges():
    layer, p, x = sparse(), LISTS, X1[:, 0, :, :2]
    net = serial(DENSE, layer, Relu(), Dense(1))
    assert_smooth(net, x, pattern=(p, p))
    single = compiled(net, x, 0.5 * x, pattern=(p, p))
    with jax.enable_x64(True):
        double = compiled(net, x, 0.5 * x, pattern=(p, p))
        # Over inputs and patterns.
        run = jax.jit(jax.vmap(lambda x, p: net[2](x, 0.5 * x, ("nngp", "ntk"), pattern=(p, p))))
        batched = run(np.stack([2 * x, x]), np.stack([p[::-1], p]))
        outputs = jax.vmap(lambda x, p: layer[1]((), x, pattern=p))(np.stack([2 * x, x]), np.stack([p[::-1], p]))
        np.testing.assert_allclose(outputs[1], layer[1]((), x, pattern=p), rtol=1e-12, atol=1e-12)
    assert single.nngp.dtype == single.cov1.dtype == np.float32 and double.ntk.dtype == np.float64
    np.testing.assert_allclose(single.ntk, double.ntk, rtol=1e-4, atol=1e-5)
    for name in ("nngp", "ntk"):
        np.testing.assert_allclose(getattr(batched, name)[1], getattr(double, name), rtol=1e-10, atol=1e-12)


def test_derivatives_in_patterns():
    net = serial(DENSE, Aggregate(), Erf(), Dense(1))
    x = X1[:, 0]
    gradient = jax.jit(jax.grad(lambda p: net[2](x, None, "ntk", pattern=(p, p)).sum()))
    for p in (GRAPHS.astype(np.float32), np.zeros((2, 4, 4), np.float32)):
        assert np.isfinite(gradient(p)).all()
    assert np.any(gradient(GRAPHS.astype(np.float32)))


def test_construction():
    for form in (AggregateImplementation.DENSE, "DENSE"):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert Aggregate(1, implementation=form)[0](KEY, (-1, 4, 3)) == ((-1, 4, 3), ())
    with pytest.warns(UserWarning, match="negative coordinate") as caught:
        Aggregate(implementation=AggregateImplementation.SPARSE)
    assert caught[0].filename == __file__
    for wrong in ("dense", "CSR", 1):
        with pytest.raises(ValueError, match=r"one of \['DENSE', 'SPARSE'\]"):
            Aggregate(implementation=wrong)
    assert [form.value for form in AggregateImplementation] == ["DENSE", "SPARSE"]
    assert Aggregate()[2].__name__ == "Aggregate" and "pattern" in Aggregate()[2].spec.keywords.names


def test_patterns_come_in_pairs():
    net = serial(DENSE, Aggregate(), Flatten())
    x, p = X1[:, 0], weights(2, 4)
    for pattern in (None, p, (p,), (p, p, p), jnp.stack([p, p])):
        with pytest.raises(ValueError, match=r"pattern=\(pattern1, pattern2\)"):
            net[2](x, pattern=pattern)
    with pytest.raises(ValueError, match=r"pattern=\(pattern1, pattern2\)"):
        net[2](x, x)
    for pattern in ((p, None), (None, p)):
        with pytest.raises(NotImplementedError, match="a pattern for one batch, and None"):
            net[2](x, pattern=pattern)


def test_wrong_axes():
    for axis in (0, 3, -1, (1, 3), (1, 1), (1, -3)):
        layer = Aggregate(axis)
        with pytest.raises(ValueError, match="must name different spatial axes"):
            layer[2](X1, pattern=(weights(2, 3),) * 2)
        with pytest.raises(ValueError, match="must name different spatial axes"):
            layer[1]((), X1, pattern=weights(2, 3))
    with pytest.raises(ValueError, match="got axis 4"):
        Aggregate(4)[1]((), X1, pattern=weights(2, 3))
    with pytest.raises(ValueError, match="diagonal_spatial=True"):
        Aggregate()[2](X1, diagonal_spatial=True, pattern=(None, None))


def test_wrong_shapes():
    x = X1[:, 0]
    for p in (weights(3, 4), weights(1, 4), weights(2, 3), weights(2, 4)[0], weights(2, 4)[..., None]):
        for call in (
            lambda p: Aggregate()[1]((), x, pattern=p),
            lambda p: Aggregate()[2](x, pattern=(weights(2, 4), p)),
        ):
            with pytest.raises(ValueError, match=r"Expected a pattern of shape \(2, 4, 4\)"):
                call(p)
    layer = sparse()
    for p in (edges(3, 4), edges(1, 4), edges(2, 4, 4), edges(2, 4)[0, 0], edges(2, 4)[..., :1], edges(2, 4)[None]):
        with pytest.raises(ValueError, match=r"shape \(2, n_edges, 1, 2\) or \(2, n_edges, 2\)"):
            layer[2](x, pattern=(p, p))
        with pytest.raises(ValueError, match=r"shape \(2, n_edges, 1, 2\) or \(2, n_edges, 2\)"):
            layer[1]((), x, pattern=p)
    with pytest.raises(ValueError, match=r"shape \(2, n_edges, 2, 2\), coordinates"):
        layer[1]((), X1, pattern=edges(2, 4))


def test_wrong_coordinates():
    x, layer = X1[:, 0], sparse()
    with pytest.raises(TypeError, match="Expected integers"):
        layer[1]((), x, pattern=edges(2, 4).astype(np.float32))
    p = np.array([[[0, 1], [-1, 7]], [[2, 3], [0, 0]]])
    np.testing.assert_allclose(layer[1]((), x, pattern=p)[0, 1], x[0, 0])  # the edge with 7 is left out
    p[1, 0, 1] = 4
    with pytest.raises(ValueError, match=r"less than \[4\] .* got an edge with \[\[2, 4\]\]"):
        layer[1]((), x, pattern=p)
    # Coordinates that are not known yet cannot be checked. Then the edge is left out.
    y = jax.jit(lambda p: layer[1]((), x, pattern=p))(p)
    np.testing.assert_allclose(y[1, 0], x[1, 0], rtol=1e-6)
    assert not np.any(y[1, 1:])


@pytest.mark.parametrize("how", ["plain", "in jit", "arguments of jit", "in vmap"])
@pytest.mark.parametrize("n", [2, 3])
def test_one_batch_in_a_loop(how, n):
    """Whether both patterns are the same array is the same to the first copy of a layer as to those in a loop."""
    x, first, second = X1[:, 0], weights(2, 4), weights(2, 4, seed=1)
    kernel_fn = repeat(Aggregate(), n)[2]

    def kernel(pattern):
        return kernel_fn(x, None, ("nngp", "cov1", "cov2"), pattern=pattern)

    one, two = (first, first), (first, second)
    found = {
        "plain": lambda: (kernel(one), kernel(two)),
        "in jit": lambda: jax.jit(lambda p, q: (kernel((p, p)), kernel((p, q))))(*two),
        "arguments of jit": lambda: (jax.jit(kernel)(one), jax.jit(kernel)(two)),
        "in vmap": lambda: jax.tree.map(
            lambda k: k[0], jax.vmap(lambda p, q: (kernel((p, p)), kernel((p, q))))(first[None], second[None])
        ),
    }[how]()
    y1, y2 = x, x
    for _ in range(n):
        y1, y2 = (np.einsum("nsc,nst->ntc", y, p) for y, p in ((y1, first), (y2, second)))
    for k, y in zip(found, (y1, y2), strict=True):
        np.testing.assert_allclose(k.nngp, np.einsum("nsc,mtc->nmst", y1, y) / 5, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(k.cov1, np.einsum("nsc,ntc->nst", y1, y1) / 5, rtol=1e-4, atol=1e-4)
        if k.cov2 is not None:
            np.testing.assert_allclose(k.cov2, np.einsum("nsc,ntc->nst", y, y) / 5, rtol=1e-4, atol=1e-4)
    assert found[1].cov2 is not None


@pytest.mark.parametrize("layer", [Aggregate, sparse])
@pytest.mark.parametrize("jit", [lambda fn: fn, jax.jit])
def test_repeated_graph_networks(layer, jit):
    """`repeat` is `serial` of as many copies, also in sums with branches without a graph."""
    p = edges(2, 4) if layer is sparse else weights(2, 4)
    block = serial(FanOut(2), parallel(serial(layer(), Dense(5, 0.7)), Identity()), FanInSum(), LayerNorm())
    networks = [serial(Dense(5), blocks, Erf(), Dense(1)) for blocks in (repeat(block, 3), serial(*[block] * 3))]
    got, want = (jit(lambda p, net=net: net[2](X1[:, 0], None, ("nngp", "ntk"), pattern=(p, p)))(p) for net in networks)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), got, want)
