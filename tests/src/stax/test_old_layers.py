"""Layers that users wrote for the archived library give the numbers of the layers here that they stand for."""

import operator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sweeps import mostly_slow

from neural_tangents import stax
from neural_tangents._src.stax.elementwise import _arctan2, _elementwise, _sqrt
from neural_tangents._src.stax.linear import _affine, _conv_kernel_full_spatial_shared
from neural_tangents._src.stax.requirements import (
    Diagonal,
    get_diagonal_outer_prods,
    layer,
    requires,
    supports_masking,
)
from neural_tangents._src.utils.kernel import Kernel
from neural_tangents._src.utils.typing import InternalLayer, InternalLayerMasked, Optional


@layer
@supports_masking(remask_kernel=True)
def MyDense(out_dim: int, W_std: float = 1.0, b_std: Optional[float] = None) -> InternalLayerMasked:
    def init_fn(rng, input_shape):
        rng1, rng2 = jax.random.split(rng)
        W = jax.random.normal(rng1, (input_shape[-1], out_dim))
        b = None if b_std is None else jax.random.normal(rng2, (1,) * (len(input_shape) - 1) + (out_dim,))
        return (*input_shape[:-1], out_dim), (W, b)

    def apply_fn(params, inputs, **kwargs):
        W, b = params
        outputs = W_std / inputs.shape[-1] ** 0.5 * jnp.tensordot(inputs, W, (-1, 0))
        return outputs if b is None else outputs + b_std * b

    @requires(batch_axis=0, channel_axis=-1, diagonal_spatial=Diagonal())
    def kernel_fn(k: Kernel, **kwargs) -> Kernel:
        cov1, nngp, cov2 = (_affine(cov, W_std, b_std) for cov in (k.cov1, k.nngp, k.cov2))
        ntk = None if k.ntk is None else nngp + W_std**2 * k.ntk
        return k.replace(cov1=cov1, nngp=nngp, cov2=cov2, ntk=ntk, is_gaussian=True, is_input=False)

    def mask_fn(mask, input_shape):
        return jnp.all(mask, axis=-1, keepdims=True)

    return init_fn, apply_fn, kernel_fn, mask_fn


@layer
@supports_masking(remask_kernel=False)
def MyRelu() -> InternalLayer:
    """The arc-cosine kernel of degree 1, with variances of each entry from `get_diagonal_outer_prods`."""

    def kernel_fn(k: Kernel) -> Kernel:
        prods = get_diagonal_outer_prods(k.cov1, k.cov2, k.diagonal_batch, k.diagonal_spatial, operator.mul)

        def expected(cov, prod):
            if cov is None:
                return None, None
            sine = _sqrt(prod - cov**2)
            angle = _arctan2(sine, cov, fill_zero=np.pi / 2)
            return (sine + (np.pi - angle) * cov) / (2 * np.pi), (np.pi - angle) / (2 * np.pi)

        (cov1, _), (nngp, slope), (cov2, _) = map(expected, (k.cov1, k.nngp, k.cov2), prods)
        return k.replace(cov1=cov1, nngp=nngp, cov2=cov2, ntk=None if k.ntk is None else k.ntk * slope)

    return _elementwise(lambda x: jnp.maximum(x, 0), "MyRelu", kernel_fn)


@layer
@supports_masking(remask_kernel=True)
def MyErf(a: float, b: float, c: float) -> InternalLayer:
    def kernel_fn(k: Kernel) -> Kernel:
        k *= b
        plus = [None if cov is None else 1 + 2 * cov for cov in (k.cov1, k.cov2)]
        prods = get_diagonal_outer_prods(*plus, k.diagonal_batch, k.diagonal_spatial, operator.mul)

        def expected(cov, prod):
            return None if cov is None else 2 / np.pi * jnp.arctan2(2 * cov, _sqrt(prod - 4 * cov**2))

        cov1, nngp, cov2 = map(expected, (k.cov1, k.nngp, k.cov2), prods)
        ntk = None if k.ntk is None else k.ntk * 4 / np.pi / _sqrt(prods[1] - 4 * k.nngp**2)
        return a * k.replace(cov1=cov1, nngp=nngp, cov2=cov2, ntk=ntk) + c

    return _elementwise(lambda x: a * jax.scipy.special.erf(b * x) + c, f"MyErf({a}, {b}, {c})", kernel_fn)


@layer
def MyConv(out_chan, filter_shape, W_std=1.0, b_std=0.0):
    """A convolution whose kernel comes out with spatial axes in reversed order, as convolutions did there."""
    same = stax.Conv(out_chan, filter_shape, padding="SAME", W_std=W_std, b_std=b_std)

    @requires(batch_axis=0, channel_axis=-1, diagonal_spatial=Diagonal())
    def kernel_fn(k: Kernel, **kwargs) -> Kernel:
        shape = filter_shape[::-1] if k.is_reversed else filter_shape

        def conv(cov, n_batch, bias=b_std**2):
            if cov is None or cov.ndim == 0:
                return cov
            cov = _conv_kernel_full_spatial_shared(cov, shape, (1,) * len(shape), stax.Padding.SAME, n_batch)
            return W_std**2 * cov + bias

        assert not k.diagonal_spatial
        own = 1 if k.diagonal_batch else 2
        nngp = conv(k.nngp, 2)
        return k.replace(
            nngp=nngp,
            cov1=conv(k.cov1, own),
            cov2=conv(k.cov2, own),
            ntk=None if k.ntk is None else nngp + conv(k.ntk, 2, 0.0),
            is_gaussian=True,
            is_reversed=not k.is_reversed,
        )

    return same.init_fn, same.apply_fn, kernel_fn


@layer
@supports_masking(remask_kernel=True)
def MyLayerNorm(eps=1e-12):
    """Over channels and all spatial axes."""

    def apply_fn(params, inputs, **kwargs):
        axes = tuple(range(1, inputs.ndim))
        mean, var = inputs.mean(axes, keepdims=True), inputs.var(axes, keepdims=True)
        return (inputs - mean) / jnp.sqrt(eps + var)

    @requires(batch_axis=0, channel_axis=-1)
    def kernel_fn(k: Kernel, **kwargs) -> Kernel:
        axes = tuple(range(1, len(k.shape1) - 1))
        plus = [None if cov is None else eps + cov for cov in (k.cov1, k.cov2)]
        prods = get_diagonal_outer_prods(*plus, k.diagonal_batch, k.diagonal_spatial, operator.mul, axis=axes)
        norm = [jnp.sqrt(prod) for prod in prods]
        cov2 = None if k.cov2 is None else k.cov2 / norm[2]
        ntk = k.ntk if k.ntk is None or k.ntk.ndim == 0 else k.ntk / norm[1]
        return k.replace(cov1=k.cov1 / norm[0], nngp=k.nngp / norm[1], cov2=cov2, ntk=ntk)

    return lambda rng, shape: (shape, ()), apply_fn, kernel_fn


RNG = np.random.RandomState(0)
VECTORS = RNG.normal(size=(4, 3)), RNG.normal(size=(2, 3))
IMAGES = RNG.normal(size=(3, 5, 4, 2)), RNG.normal(size=(2, 5, 4, 2))
CONV = stax.Conv(1, (3, 2), padding="SAME", W_std=1.2, b_std=0.3)
FLATTEN, POOL, DENSE = stax.Flatten(), stax.GlobalAvgPool(), stax.Dense(1, 1.1)
NETWORKS = {
    "dense": ((MyDense(8, 1.3, 0.2), stax.Relu(), MyDense(1)), (stax.Dense(8, 1.3, 0.2), stax.Relu(), stax.Dense(1))),
    "relu": ((DENSE, MyRelu(), DENSE), (DENSE, stax.Relu(), DENSE)),
    "erf": ((DENSE, MyErf(0.7, 1.5, 0.3), DENSE), (DENSE, stax.Erf(0.7, 1.5, 0.3), DENSE)),
    "relu, flatten": ((CONV, MyRelu(), FLATTEN, DENSE), (CONV, stax.Relu(), FLATTEN, DENSE)),
    "relu, pool": ((CONV, MyRelu(), CONV, MyRelu(), POOL), (CONV, stax.Relu(), CONV, stax.Relu(), POOL)),
    "erf, no readout": ((CONV, MyErf(1.0, 1.0, 0.0)), (CONV, stax.Erf())),
    "conv, pool": (
        (MyConv(1, (3, 2), 1.2, 0.3), stax.Relu(), MyConv(1, (1, 3)), MyConv(1, (2, 1)), MyRelu(), POOL, DENSE),
        (CONV, stax.Relu(), stax.Conv(1, (1, 3), padding="SAME"), stax.Conv(1, (2, 1), padding="SAME"), stax.Relu())
        + (POOL, DENSE),
    ),
    "conv, no readout": ((CONV, stax.Relu(), MyConv(1, (3, 2), 1.2, 0.3)), (CONV, stax.Relu(), CONV)),
    "dense on images": ((CONV, MyRelu(), MyDense(3, 1.1), POOL), (CONV, stax.Relu(), stax.Dense(3, 1.1), POOL)),
    "norm": ((DENSE, MyLayerNorm(), stax.Relu(), DENSE), (DENSE, stax.LayerNorm(), stax.Relu(), DENSE)),
    "norm, images": (
        (CONV, MyLayerNorm(), MyRelu(), POOL),
        (CONV, stax.LayerNorm(axis=(1, 2, 3)), stax.Relu(), POOL),
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("options", mostly_slow([None, "diagonal_batch"], [None]))
@pytest.mark.parametrize("one_batch", [True, False])
def test_kernels_are_those_of_the_library(name, options, one_batch):
    options = {} if options is None else {options: False}
    old, new = (stax.serial(*layers)[2] for layers in NETWORKS[name])
    x1, x2 = VECTORS if name in ("dense", "relu", "erf", "norm") else IMAGES
    x2 = None if one_batch else x2
    found, truth = old(x1, x2, **options), new(x1, x2, **options)
    for field in ("nngp", "ntk", "cov1", "cov2"):
        value = getattr(truth, field)
        if value is None:
            assert getattr(found, field) is None
        else:
            # Angles near 0 are lost in covariances.
            np.testing.assert_allclose(getattr(found, field), value, rtol=2e-3, atol=1e-5, err_msg=field)
    assert (found.is_gaussian, found.is_reversed, found.shape1) == (truth.is_gaussian, False, truth.shape1)


@pytest.mark.parametrize("name", ["relu", "erf", "dense"])
def test_in_float64_and_compiled(name):
    with jax.enable_x64(True):
        old, new = (stax.serial(*layers)[2] for layers in NETWORKS[name])
        found = jax.jit(old, static_argnames="get")(*VECTORS, get="ntk")
        np.testing.assert_allclose(found, new(*VECTORS, "ntk"), rtol=1e-9)
        assert found.dtype == np.float64


@pytest.mark.slow
def test_gradients_are_those_of_the_library():
    def loss(kernel_fn, x):
        return jnp.sum(kernel_fn(x, VECTORS[1], "ntk") ** 2)

    for name in ("relu", "erf"):
        old, new = (stax.serial(*layers)[2] for layers in NETWORKS[name])
        found, truth = (jax.grad(loss, argnums=1)(fn, jnp.asarray(VECTORS[0], jnp.float32)) for fn in (old, new))
        np.testing.assert_allclose(found, truth, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_masks_go_through_old_layers():
    words = jnp.asarray(RNG.normal(size=(3, 4, 2)), jnp.float32).at[1, 2:].set(9.0)
    old = stax.serial(MyDense(8, 1.3, 0.2), MyErf(0.7, 1.5, 0.3), MyDense(4), stax.GlobalAvgPool())
    new = stax.serial(stax.Dense(8, 1.3, 0.2), stax.Erf(0.7, 1.5, 0.3), stax.Dense(4), stax.GlobalAvgPool())
    found, truth = (network[2](words, None, "nngp", mask_constant=9.0) for network in (old, new))
    np.testing.assert_allclose(found, truth, rtol=1e-5)
    params = old[0](jax.random.key(0), words.shape)[1]
    outputs = stax.unmask_fn(old[1])(params, words, mask_constant=9.0)
    np.testing.assert_allclose(outputs[1:2], old[1](params, words[1:2, :2]), rtol=1e-5)


@pytest.mark.slow
def test_an_old_layer_is_its_finite_network():
    """`apply_fn` and the kernel of one layer belong together."""
    network = stax.serial(MyDense(256, 1.3, 0.2), MyErf(0.7, 1.5, 0.3), MyDense(1))
    x = jnp.asarray(VECTORS[0], jnp.float32)
    draws = jax.vmap(lambda key: network[1](network[0](key, x.shape)[1], x)[:, 0])(
        jax.random.split(jax.random.key(1), 4000)
    )
    error = jnp.std(draws[:, :, None] * draws[:, None], 0) / 4000**0.5
    assert jnp.all(jnp.abs(draws.T @ draws / 4000 - network[2](x, None, "nngp")) < 5 * error)


def test_errors_say_what_is_missing():
    with pytest.raises(ValueError, match="MyRelu needs a Gaussian input"):
        stax.serial(MyRelu(), DENSE)[2](VECTORS[0])

    @layer
    def Lacking(fn, kernel_fn):
        return _elementwise(fn, "Lacking", kernel_fn)

    with pytest.raises(NotImplementedError, match="Lacking has no kernel"):
        stax.serial(DENSE, Lacking(jnp.sin, None))[2](VECTORS[0])
    with pytest.raises(NotImplementedError, match="Lacking has only a kernel"):
        Lacking(None, lambda k: k)[1]((), VECTORS[0])


def test_roots_and_angles_at_zero():
    assert jax.value_and_grad(_sqrt)(0.0) == (0, 0) and _sqrt(-1.0) == 0 and _sqrt(0.5, 4.0) == 2
    assert jax.value_and_grad(_arctan2)(0.0, 0.0) == (0, 0)
    assert np.isclose(_arctan2(0.0, 0.0, fill_zero=np.pi / 2), np.pi / 2)
    assert np.isclose(_arctan2(1.0, -1.0), 0.75 * np.pi)
