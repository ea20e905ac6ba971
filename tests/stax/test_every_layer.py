"""Every public layer crossed with every transformation; what each computes is tested in the file of the layer."""

import functools
import inspect
import pickle
import warnings

import jax
import jax.numpy as jnp
import layer_cases
import numpy as np
import pytest
from layer_cases import BRANCHES, CASES, LIKE_OTHERS, X1, X2
from sweeps import mostly_slow

from neural_tangents import stax
from neural_tangents._core.kernel import Kernel
from neural_tangents._core.programs import Programs
from neural_tangents.stax import Bool, Diagonal, MaskedArray, _compiled_runs
from neural_tangents.stax._custom import as_spec
from neural_tangents.stax._spec import sequence
from neural_tangents.stax._streaming import runs as runs_module

COVARIANCES = ("nngp", "ntk", "cov1", "cov2")
KEY = jax.random.key(0)


NAMES = [name for name in CASES if name not in LIKE_OTHERS]


@pytest.fixture(scope="module", params=mostly_slow(NAMES, [name for name in NAMES if name not in ("Silu", "Selu")]))
def name(request):
    """Each layer in turn, so that its tests follow each other and share what they compile."""
    return request.param


def kernels_of(tree):
    """The kernels of the outputs of a network: of one, or of several."""
    return jax.tree.leaves(tree, is_leaf=lambda k: isinstance(k, Kernel))


def smallest_layout(net):
    """Variances, and pairs of equal positions, where a network can do with them."""
    stated = net[2].input_req
    spatial = stated.get("diagonal_spatial", Diagonal()).input == Bool.YES
    return {"diagonal_batch": stated.get("diagonal_batch", True), "diagonal_spatial": spatial}


@functools.cache
def compiled(name):
    """In double precision and one compilation: outputs, and the kernels that are compared with each other."""
    case = CASES[name]
    net = case.net

    def everything(x1, x2):
        def kernel(x1, x2=None, **options):
            return net[2](x1, x2, **case.of_kernel(x2 is None), **options)

        return {
            "outputs": case.outputs(x1),
            "two": kernel(x1, x2),
            "small": kernel(x1, x2, **smallest_layout(net)),
            "full": kernel(x1, x2, diagonal_batch=False, diagonal_spatial=False),
            "one": kernel(x1),
            "equal": net[2](x1, x1 + 0, **case.of_kernel(True)),
            "mapped": jax.vmap(lambda x1, x2: kernel(x1, x2, get=("nngp", "ntk")), (0, None))(
                jnp.stack([-2 * x1, x1]), x2
            ),
        }

    with jax.enable_x64(True):
        return jax.jit(everything)(X1, X2)


def assert_close(got, want, rtol=1e-11):
    """Pytrees of equal structure and numbers."""
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert a.shape == b.shape and a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * np.abs(b).max(initial=0))


def test_no_layer_is_missing():
    """Layers are the functions with a capital, and the three combinators."""
    public = {name: getattr(stax, name) for name in stax.__all__}
    layers = {name for name, value in public.items() if inspect.isfunction(value) and name[0].isupper()}
    assert set(CASES) == layers | {"serial", "parallel", "repeat"}
    for name, case in CASES.items():
        assert repr(case.layer).startswith(f"{name}(")


def test_shapes_of_init_apply_and_kernel_agree(name):
    shapes = CASES[name].net[0](KEY, X1.shape)[0]
    kernels = kernels_of(compiled(name)["two"])
    outputs = jax.tree.leaves(compiled(name)["outputs"]) or [None]
    for shape, y, k in zip([shapes] if len(kernels) == 1 else shapes, outputs, kernels, strict=True):
        assert shape == k.shape1 and (y is None or y.shape == shape) and k.shape2 == (len(X2), *shape[1:])
        positions = shape[1:-1] if k.diagonal_spatial else shape[1:-1] * 2
        assert k.nngp.shape == k.ntk.shape == (len(X1), len(X2), *positions)
        assert k.cov1.shape == (len(X1), *positions) and k.cov2.shape == (len(X2), *positions)


def test_eager_is_compiled(name):
    case = CASES[name]
    with jax.enable_x64(True):
        assert_close(case.net[2](X1, X2, **case.of_kernel()), compiled(name)["two"])
        assert_close(case.outputs(X1), compiled(name)["outputs"])


def test_mapped_is_one_by_one(name):
    mapped, kernels = jax.tree.leaves(compiled(name)["mapped"]), kernels_of(compiled(name)["two"])
    for got, want in zip(mapped, [cov for k in kernels for cov in (k.nngp, k.ntk)], strict=True):
        np.testing.assert_allclose(got[1], want, rtol=1e-11, atol=1e-12)


@pytest.mark.slow
def test_single_precision_optimised(name, optimised):
    case = CASES[name]
    kernel = jax.jit(lambda x1, x2: case.net[2](x1, x2, **case.of_kernel()), compiler_options=optimised)
    single = kernel(X1, X2)
    for a, b in zip(kernels_of(single), kernels_of(compiled(name)["two"]), strict=True):
        for field in COVARIANCES:
            got, want = getattr(a, field), getattr(b, field)
            assert got.dtype == np.float32 and want.dtype == np.float64
            np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5 * np.abs(want).max())


def test_layouts_hold_the_same_entries(name):
    for small, full in zip(*(kernels_of(compiled(name)[layout]) for layout in ("small", "full")), strict=True):
        assert not full.diagonal_batch and not full.diagonal_spatial
        for field in COVARIANCES:
            want = getattr(full, field)
            want = np.einsum("nn...->n...", want) if small.diagonal_batch and "cov" in field else want
            want = np.einsum("...ss->...s", want) if small.diagonal_spatial and len(small.shape1) > 2 else want
            np.testing.assert_allclose(getattr(small, field), want, rtol=1e-11, atol=1e-12, err_msg=field)


def test_one_batch_is_two_equal_ones(name):
    rtol = CASES[name].rounding
    for one, two in zip(*(kernels_of(compiled(name)[form]) for form in ("one", "equal")), strict=True):
        assert one.cov2 is None and one.x1_is_x2 and two.x1_is_x2
        for field in ("nngp", "ntk", "cov1"):
            np.testing.assert_allclose(getattr(two, field), getattr(one, field), rtol=rtol, atol=1e-12, err_msg=field)
        np.testing.assert_allclose(two.cov2, one.cov1, rtol=1e-9, atol=1e-12)


def test_derivatives(name):
    """The first is that of differences; both are finite, where inputs of both batches are equal, and at zero too."""
    case = CASES[name]
    direction = np.random.RandomState(1).normal(size=X1.shape)

    def total(x1):
        leaves = jax.tree.leaves(case.net[2](x1, X2, ("nngp", "ntk"), **case.of_kernel()))
        return sum(jnp.sum(leaf * jnp.cos(jnp.arange(leaf.size)).reshape(leaf.shape)) for leaf in leaves)

    with jax.enable_x64(True):
        run = jax.jit(lambda x: (total(x), *jax.jvp(jax.grad(total), (x,), (direction,))))
        value, gradient, _ = run(X1)
        h = 1e-6
        slope = (run(X1 + h * direction)[0] - run(X1 - h * direction)[0]) / (2 * h)
        np.testing.assert_allclose(np.sum(gradient * direction), slope, rtol=1e-5, atol=1e-7 * abs(value))
        for x in (X1, X2[:2], 0 * X1):
            assert all(np.isfinite(result).all() for result in run(x))


@pytest.mark.slow
def test_masks(name):
    """Masks are those of finite networks, and what they cover is zero."""
    case = CASES[name]
    x1, x2, net = X1.copy(), X2.copy(), case.net
    x1[0, 2:] = x1[1] = x2[1, 2:] = np.nan

    def run(x1, x2):
        kernel = net[2](x1, x2, mask_constant=np.nan, **case.of_kernel())
        short = net[2](x1[:1, :2], x2[1:2, :2]) if case.cuts else None
        return case.outputs(x1, mask_constant=np.nan), kernel, short

    with jax.enable_x64(True):
        outputs, kernels, short = jax.jit(run)(x1, x2)
    outputs = jax.tree.leaves(outputs, is_leaf=lambda y: isinstance(y, MaskedArray)) or [None]
    for y, k in zip(outputs, kernels_of(kernels), strict=True):
        mask1, mask2 = (np.broadcast_to(m, shape) for m, shape in ((k.mask1, k.shape1), (k.mask2, k.shape2)))
        assert y is None or np.array_equal(np.broadcast_to(y.mask, y.shape), mask1)
        assert mask1.any() and not mask1.all()
        first, second = mask1.all(-1)[:, None], mask2.all(-1)[None]
        if not k.diagonal_spatial and len(k.shape1) > 2:
            first, second = first[..., None], second[:, :, None]
        masked = np.broadcast_to(first | second, k.nngp.shape)
        assert not k.nngp[masked].any() and not k.ntk[masked].any() and k.nngp[~masked].all()
    for k, alone in zip(kernels_of(kernels), kernels_of(short), strict=case.cuts):
        for field in ("nngp", "ntk"):
            want = getattr(alone, field)[0, 0]
            got = getattr(k, field)[0, 1][tuple(slice(n) for n in want.shape)]
            np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-12, err_msg=field)


@pytest.mark.slow
def test_streamed_is_whole(name, monkeypatch):
    case, runs, streamed = CASES[name], [], _compiled_runs.streamed
    if case.streams is None:
        pytest.skip("A layer of several inputs or outputs has no place between a convolution and a pool.")
    monkeypatch.setattr(_compiled_runs, "streamed", lambda *args: runs.append(args) or streamed(*args))
    monkeypatch.setattr(_compiled_runs, "_SHARED", Programs())  # which others may have filled
    monkeypatch.setattr(runs_module, "_MANY_ENTRIES", 0)
    layers = [stax.Conv(3, (3,), None, "SAME", 1.2, 0.1)]
    layers += [BRANCHES, case.layer] if case.before is BRANCHES else [case.layer]
    layers += [stax.GlobalAvgPool()]

    def one_by_one(x1, x2):
        kernel = layers[0][2](x1, x2, diagonal_spatial=False)
        for layer in layers[1:-1]:
            kernel = layer[2](kernel, **case.of_kernel())
        return layers[-1][2](kernel)

    def together(x1, x2):
        return stax.serial(*layers)[2](x1, x2, **case.of_kernel())

    with jax.enable_x64(True):
        if case.streams:
            got, want = (jax.jit(f)(X1, X2) for f in (together, one_by_one))
            assert_close(got, want, case.agreement)
        else:
            jax.eval_shape(together, X1, X2)
    n = len(sequence("serial", list(map(as_spec, layers[:-1]))))  # up to the layer
    with_the_layer = [run for run, *_ in runs if run.place[0] == 0 and run.place[1] >= n]
    assert bool(with_the_layer) == case.streams


def test_layers_print_as_the_calls_that_make_them(name):
    layer, names = CASES[name].layer, {**vars(jnp), **vars(stax), **vars(layer_cases), "array": np.array}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that kernels are approximate
        again = eval(repr(layer), names)
    assert repr(again) == repr(layer)
    first, second = (stax.serial(CASES[name].before, each)[0](KEY, X1.shape) for each in (layer, again))
    assert first[0] == second[0]
    assert_close(first[1], second[1], 0)


def test_kernels_are_pickled(name):
    kernels = compiled(name)["two"]
    with jax.enable_x64(True):
        again = pickle.loads(pickle.dumps(kernels))
    assert jax.tree.structure(again) == jax.tree.structure(kernels)
    assert_close(again, kernels, 0)
