"""Nonlinearities as layers: layouts, derivatives, and agreement of each layer with its formulas."""

import contextlib
import functools
import importlib
import inspect
import itertools
from pkgutil import iter_modules
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dual_cases import CASES, COEFFICIENTS, DUALS, INEXACT, SERIES
from finite_width import compiled
from sweeps import mostly_slow

from neural_tangents import stax
from neural_tangents._core.kernel import Kernel
from neural_tangents.stax import Dense, _nonlinearities, serial
from neural_tangents.stax._nonlinearities.documentation import complete

SOME = {
    "relu": stax.Relu(),
    "erf": stax.Erf(),
    "gelu": stax.Gelu(),
    "sign": stax.Sign(),
    "polynomial": stax.Polynomial(COEFFICIENTS),
}
LAYOUTS = list(itertools.product([True, False], repeat=2))
COVARIANCES = ("nngp", "ntk", "cov1", "cov2")
RANDOM = np.random.RandomState(51)
X1, X2 = (RANDOM.normal(size=(n, 4)) for n in (3, 2))
P1, P2 = (RANDOM.normal(size=(n, 3, 2, 4)) for n in (2, 3))


def network(name):
    return serial(Dense(5, 1.2, 0.3), SOME[name])


# Layouts


@functools.cache
def kernels_in_all_layouts(name):
    """For one and two batches, kernels in each of the layouts, the last of which holds everything."""

    def kernels(x1, x2):
        return [
            [network(name)[2](x1, second, diagonal_batch=b, diagonal_spatial=s) for b, s in LAYOUTS]
            for second in (None, x2)
        ]

    with jax.enable_x64(True):
        return jax.jit(kernels)(P1, P2)


@pytest.mark.parametrize("batches", [1, 2])
@pytest.mark.parametrize("name", SOME)
def test_layouts_agree(name, batches):
    kernels = kernels_in_all_layouts(name)[batches - 1]
    for kernel, (diagonal_batch, diagonal_spatial) in zip(kernels, LAYOUTS, strict=True):
        assert (kernel.diagonal_batch, kernel.diagonal_spatial) == (diagonal_batch, diagonal_spatial)
        for field in COVARIANCES:
            if (full := getattr(kernels[-1], field)) is None:
                assert field == "cov2" and batches == 1 and kernel.cov2 is None
                continue
            own = field in ("cov1", "cov2") and diagonal_batch
            positions, rest = ("hhww", "hw") if diagonal_spatial else ("hiwj", "hiwj")
            expected = np.einsum(f"{'nn' if own else 'nm'}{positions}->{'n' if own else 'nm'}{rest}", full)
            np.testing.assert_allclose(getattr(kernel, field), expected, rtol=1e-12, atol=1e-14, err_msg=field)


@pytest.mark.parametrize("name", SOME)
def test_covariances_of_one_batch_are_those_with_itself(name):
    one, two = (kernels[-1] for kernels in kernels_in_all_layouts(name))
    np.testing.assert_allclose(one.cov1, one.nngp, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(two.cov1, one.nngp, rtol=1e-12, atol=1e-14)
    variances = np.einsum("nnhhww->nhw", one.nngp)
    np.testing.assert_allclose(kernels_in_all_layouts(name)[1][0].cov1, variances, rtol=1e-12)
    # Of the second batch too, and both orders of positions are there.
    np.testing.assert_allclose(two.cov2, np.einsum("nmhiwj->mnihjw", two.cov2), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(one.ntk, np.einsum("nmhiwj->mnihjw", one.ntk), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name", SOME)
def test_one_batch_is_two_equal_ones(name, dtype):
    net, x = network(name), P1[:, :, 0].astype(dtype)
    alone, *pairs = jax.jit(lambda x, copy: (net[2](x), net[2](x, x), net[2](x, copy)))(x, x)
    for pair in pairs:
        for field in ("nngp", "ntk", "cov1"):
            got, want = getattr(pair, field), getattr(alone, field)
            assert got.dtype == dtype
            np.testing.assert_allclose(got, want, rtol=1e-5 if dtype == np.float32 else 1e-12, atol=1e-6)
        np.testing.assert_allclose(pair.cov2, alone.cov1, rtol=1e-5)


@pytest.mark.parametrize("name", SOME)
def test_zero_inputs(name, dtype):
    f = {"relu": "relu", "erf": None, "gelu": "gelu", "sign": "sign", "polynomial": "polynomial"}[name]
    at_zero = 0.0 if f is None else float(CASES[f].f(np.zeros(())))
    net, x = serial(Dense(5), SOME[name]), X1.astype(dtype)
    x[1] = 0
    kernel = compiled(net, x, x[1:])
    np.testing.assert_allclose(kernel.nngp[1, 0], at_zero**2, atol=1e-7)
    np.testing.assert_allclose([kernel.cov1[1], kernel.cov2[0]], at_zero**2, atol=1e-7)
    # With one constant, the covariance is the product of the means; the second input is not constant.
    points, weights = np.polynomial.hermite_e.hermegauss(20)
    variance = np.mean(X1[2] ** 2)
    mean = 0.0 if at_zero == 0 else weights @ CASES[f].f(points * variance**0.5) / np.sqrt(2 * np.pi)
    np.testing.assert_allclose(kernel.nngp[1, 1], at_zero * mean, rtol=1e-5, atol=1e-7)
    assert all(np.isfinite(getattr(kernel, field)).all() for field in COVARIANCES)
    assert not kernel.ntk[1].any() and not kernel.ntk[:, 0].any()


def test_masked_entries_are_zero():
    """Though a nonlinearity need not be zero there."""
    x = P1[:, :, 0].copy()
    x[0, 1] = np.nan
    kernel = compiled(serial(Dense(5), stax.Cos()), x, mask_constant=np.nan)
    every = compiled(serial(Dense(5), stax.Cos()), P1[:, :, 0])
    absent = np.isnan(x).any(-1)
    cross = absent[:, None, :, None] | absent[None, :, None, :]
    for name in ("nngp", "ntk"):
        np.testing.assert_allclose(getattr(kernel, name), np.where(cross, 0, getattr(every, name)), rtol=1e-5)
    own = absent[:, :, None] | absent[:, None, :]
    np.testing.assert_allclose(kernel.cov1, np.where(own, 0, every.cov1), rtol=1e-5)


# Derivatives


def points():
    """Pairs of inputs: in general position, equal, parallel, opposite, with one or both at zero."""
    a, b = np.random.RandomState(52).normal(size=(2, 2))
    zero = np.zeros(2)
    return np.stack([[a, b], [b, -a], [a, a], [a, 2 * a], [a, -a], [zero, b], [a, zero], [zero, zero]])


GENERIC = slice(0, 2)  # the derivatives at others need not exist
DIFFERENTIABLE = {"erf", "gelu", "polynomial"}  # everywhere, the variances being smooth functions of inputs


def scalar(net, pair):
    """A function of two inputs with all their covariances in it."""
    k = net[2](pair[:1], pair[1:])
    return (k.nngp + 0.7 * k.ntk).sum() + (0.3 * k.cov1 - 0.2 * k.cov2).sum()


@functools.cache
def derivatives(name, dtype):
    """The function at all points, and its derivatives of first and, in two ways, of second order."""
    net = serial(Dense(5, 1.2), SOME[name])
    f = functools.partial(scalar, net)

    def gradient(pair):
        value, slope = jax.value_and_grad(f)(pair)
        return slope, (value, slope)

    def all_of_them(pair):
        forward, first = jax.jacfwd(gradient, has_aux=True)(pair)
        return *first, forward, jax.jacrev(jax.jacrev(f))(pair)

    results = jax.jit(jax.vmap(all_of_them))(points().astype(dtype))
    return [np.asarray(result) for result in results]


@functools.cache
def differences(name):
    """Difference quotients of the function and of its gradient, in double precision."""
    f = functools.partial(scalar, serial(Dense(5, 1.2), SOME[name]))
    step = 1e-5
    shifts = step * np.eye(4).reshape(4, 1, 2, 2) * np.asarray([1, -1]).reshape(2, 1, 1, 1, 1)
    values = jax.jit(jax.vmap(jax.value_and_grad(f)))((points() + shifts).reshape(-1, 2, 2))
    values = [np.asarray(v).reshape(2, 4, len(points()), *v.shape[1:]) for v in values]
    first, second = (np.moveaxis((v[0] - v[1]) / (2 * step), 0, 1) for v in values)
    return first.reshape(-1, 2, 2), second.reshape(-1, 2, 2, 2, 2)


@pytest.mark.parametrize("name", SOME)
def test_derivatives_are_finite(name, dtype):
    for order, result in zip(("value", "gradient", "forward", "reverse"), derivatives(name, dtype), strict=True):
        assert result.dtype == dtype
        assert np.isfinite(result).all(), (order, result)


@pytest.mark.slow
@pytest.mark.parametrize("name", SOME)
def test_derivatives_are_right(name):
    with jax.enable_x64(True):
        _, gradient, hessian, _ = derivatives(name, np.dtype("float64"))
        first, second = differences(name)
    where = slice(None) if name in DIFFERENTIABLE else GENERIC
    np.testing.assert_allclose(gradient[where], first[where], rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(hessian[where], second[where], rtol=1e-6, atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("name", SOME)
def test_ways_to_derivatives_agree(name, dtype):
    _, gradient, forward, reverse = derivatives(name, dtype)
    tolerance = 2e-4 if dtype == np.float32 else 1e-10
    np.testing.assert_allclose(forward[GENERIC], reverse[GENERIC], rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(forward, np.einsum("nabcd->ncdab", forward), rtol=tolerance, atol=tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("name", SOME)
def test_derivatives_in_single_precision(name):
    single = derivatives(name, np.dtype("float32"))
    with jax.enable_x64(True):
        double = derivatives(name, np.dtype("float64"))
    for a, b in zip(single, double, strict=True):
        np.testing.assert_allclose(a[GENERIC], b[GENERIC], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["relu", "erf"])
def test_gradients_of_one_batch_in_both_its_forms(name):
    """The same function of `x`, whether the network knows that both batches are one or not."""
    net, weights = serial(Dense(5, 1.2, 0.3), SOME[name]), np.random.RandomState(3).normal(size=(3, 3))

    def alone(x):
        return (weights * net[2](x, get="nngp")).sum()

    def pair(x):
        return (weights * net[2](x, x + 0.0, get="nngp")).sum()

    with jax.enable_x64(True):
        one, two = jax.jit(lambda x: (jax.grad(alone)(x), jax.grad(pair)(x)))(X1)
        np.testing.assert_allclose(one, two, rtol=1e-9, atol=1e-12)


# Transformations


@pytest.mark.parametrize("name", SOME)
def test_jit_and_vmap(name):
    net = serial(Dense(5, 1.2, 0.3), SOME[name])
    eager = net[2](X1, X2)
    batched = jax.jit(jax.vmap(lambda x1, x2: net[2](x1, x2)))(np.stack([X1, 2 * X1]), np.stack([X2, X2]))
    for kernel in (compiled(net, X1, X2), jax.tree.map(lambda x: x[0], batched)):
        for field in COVARIANCES:
            np.testing.assert_allclose(getattr(kernel, field), getattr(eager, field), rtol=1e-5, atol=1e-7)
    assert not np.allclose(batched.cov1[0], batched.cov1[1]) or name == "sign"


# Kernels made by hand


def by_hand(k, q1, q2, ntk):
    shape = (max(np.size(k), 1), 1)
    return Kernel(
        nngp=k,
        ntk=ntk,
        cov1=q1,
        cov2=q2,
        x1_is_x2=False,
        is_gaussian=True,
        is_reversed=False,
        is_input=False,
        diagonal_batch=True,
        diagonal_spatial=True,
        shape1=shape,
        shape2=shape,
        batch_axis=0,
        channel_axis=1,
    )


@pytest.mark.parametrize("name", SOME)
@pytest.mark.parametrize("shape", [(), (4,)], ids=str)
def test_kernels_with_one_covariance_for_each_variance(name, shape):
    random = np.random.RandomState(7)
    x1, x2 = (random.normal(size=(*shape, 3)) for _ in range(2))
    k, q1, q2, ntk = (jnp.asarray(x) for x in ((x1 * x2).sum(-1), (x1**2).sum(-1), (x2**2).sum(-1), x1[..., 0]))
    dual = {"erf": CASES["sigmoid"].dual, "polynomial": CASES["polynomial"].dual}.get(name) or DUALS[name]
    layer = stax.Sigmoid_like() if name == "erf" else SOME[name]
    nngp, k_dot = dual.moments(k, q1, q2)
    for apply in (layer[2], jax.jit(layer[2])):
        kernel = apply(by_hand(k, q1, q2, ntk))
        assert kernel.nngp.shape == kernel.ntk.shape == kernel.cov1.shape == kernel.cov2.shape == shape
        np.testing.assert_allclose(kernel.nngp, nngp, rtol=1e-5)
        np.testing.assert_allclose(kernel.ntk, k_dot * ntk, rtol=1e-5)
        np.testing.assert_allclose(kernel.cov1, dual.variance(q1), rtol=1e-5)
        np.testing.assert_allclose(kernel.cov2, dual.variance(q2), rtol=1e-5)
        assert not kernel.is_gaussian
    # Without a second batch, its variances are those of the first; without an NTK there is none.
    kernel = layer[2](by_hand(k, q1, None, None))
    np.testing.assert_allclose(kernel.nngp, dual.moments(k, q1, q1)[0], rtol=1e-5, atol=1e-6)
    assert kernel.cov2 is None and kernel.ntk is None


# All layers

# By the name that a layer is tested under: the call that makes it, and the record and function that it should have.
LAYERS = {
    f"{name}: {getattr(call, 'func', call).__name__}": (call, case)
    for name, case in {**CASES, **INEXACT, **SERIES}.items()
    for call in case.layers
}
# Others are series, of which tables have to be made first.
QUICK = [name for name in LAYERS if name.partition(":")[0] not in SERIES or name.startswith("tanh")]
WARNINGS = {"Hermite": "unit variance", "ElementwiseNumerical": "approximate"}
# What the functions of layers are called that are special cases of others.
ALIASES = {"Relu": "ABRelu", "LeakyRelu": "ABRelu", "Abs": "ABRelu", "Sigmoid_like": "Erf", "Cos": "Sin"}


def factory(call):
    return getattr(call, "func", call)


def made(name):
    call = LAYERS[name][0]
    message = WARNINGS.get(factory(call).__name__)
    with pytest.warns(UserWarning, match=message) if message else contextlib.nullcontext():
        return call()


def missing(room, exported, calls):
    """The public nonlinearities, those defined in modules of the room, that nothing exports, or no case calls."""
    defined = {
        fn
        for module in room
        for name, fn in vars(module).items()
        if name[0].isupper() and callable(fn) and fn.__module__ == module.__name__ and not isinstance(fn, type)
    }
    tested = {factory(call) for call in calls}
    return {fn.__name__ for fn in defined if fn not in tested or getattr(exported, fn.__name__, None) is not fn}


def test_all_public_nonlinearities_are_here():
    room = [
        importlib.import_module(f"{_nonlinearities.__name__}.{m.name}") for m in iter_modules(_nonlinearities.__path__)
    ]
    calls = [call for call, _ in LAYERS.values()]
    assert missing(room, stax, calls) == set()
    assert missing(room, stax, [call for call in calls if factory(call) is not stax.Gabor]) == {"Gabor"}
    without_one = SimpleNamespace(**{name: getattr(stax, name) for name in stax.__all__ if name != "Sin"})
    assert missing(room, without_one, calls) == {"Sin"}


@pytest.mark.parametrize("name", mostly_slow(LAYERS, QUICK))
def test_layers_have_the_kernel_of_their_record(name):
    layer, dual = made(name), LAYERS[name][1].dual

    def both(x1, x2):
        k = Dense(5, 0.8, 0.3)[2](x1, x2)
        nngp, k_dot = dual.moments(k.nngp, k.cov1[:, None], k.cov2[None])
        return k, layer[2](k), (nngp, k_dot * k.ntk, dual.variance(k.cov1), dual.variance(k.cov2))

    before, kernel, expected = jax.jit(both)(X1, X2)
    for field, want in zip(COVARIANCES, expected, strict=True):
        np.testing.assert_allclose(
            getattr(kernel, field), want, rtol=1e-5, atol=2e-6 * np.abs(want).max(), err_msg=field
        )
    assert kernel.shape1 == before.shape1 and not kernel.is_gaussian
    assert (np.any(kernel.ntk != 0)) == ("Sign" not in name)


@pytest.mark.parametrize("name", LAYERS)
def test_layers_apply_their_function(name, dtype):
    init_fn, apply_fn, _ = made(name)
    x = np.linspace(-2.1, 2, 24).reshape(4, 6).astype(dtype)
    assert init_fn(jax.random.PRNGKey(0), (-1, 6)) == ((-1, 6), ())
    f = LAYERS[name][1].f
    if f is None:
        with pytest.raises(NotImplementedError, match="only a kernel"):
            apply_fn((), x)
        return
    tolerance = 1e-5 if dtype == np.float32 else 1e-9
    for y in (apply_fn((), x), jax.jit(apply_fn)((), x)):
        assert y.dtype == dtype
        np.testing.assert_allclose(y, f(x.astype(float)), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", LAYERS)
def test_names(name):
    own = factory(LAYERS[name][0]).__name__
    assert [fn.__name__ for fn in made(name)] == [ALIASES.get(own, own)] * 3


# Documentation


@pytest.mark.parametrize("name", sorted({factory(call).__name__ for call, _ in LAYERS.values()}))
def test_documentation_is_complete_where_it_is_read(name):
    """Symbols, what is returned and what is raised, in the order of any other docstring; and the own signature."""
    docstring = inspect.getdoc(getattr(stax, name))
    parts = ["Take one entry of the layer's inputs", "Returns:\n", "Raises:\n  ValueError: in `kernel_fn`, inputs that"]
    places = [docstring.index(part) for part in parts]
    assert places == sorted(places) and places[0] > 0
    parameters = inspect.signature(getattr(stax, name)).parameters
    assert ("Args:\n" in docstring) == bool(parameters)
    assert "*args" not in map(str, parameters.values())


def test_own_sections_stay_in_order():
    text = complete("One.\n\n    K = 1.\n\nArgs:\n  a: b.\n\nRaises:\n  TypeError: c.\n\nSource: d.")
    headings = [line.partition(":")[0] for line in text.splitlines() if line[:1].isupper() and ":" in line]
    assert [h for h in headings if " " not in h] == ["Args", "Returns", "Raises", "Source"]
    assert "another nonlinearity.\n  TypeError: c.\n\nSource: d." in text and text.startswith(
        "One.\n\n    K = 1.\n\nTake"
    )
    assert "Args" not in complete("One.")
