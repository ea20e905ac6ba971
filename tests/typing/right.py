"""Right uses of networks and their kernels: type checkers accept all of them, and they run."""

from typing import Any, Literal, Unpack, assert_type

import jax
import jax.numpy as jnp
import numpy as np

import neural_tangents as nt
from neural_tangents import stax
from neural_tangents.typing import (
    ApplyFn,
    ApplyOptions,
    Axes,
    InitFn,
    InternalLayer,
    InternalLayerMasked,
    KernelFn,
    KernelName,
    KernelOptions,
    Layer,
    PyTree,
    Shape,
)

key1, key2 = jax.random.split(jax.random.key(1))
x1 = jax.random.normal(key1, (4, 3))
x2 = jax.random.normal(key2, (2, 3))
images = jax.random.normal(key1, (1, 4, 4, 3))
patterns = jax.random.uniform(key2, (4, 4, 4))

# Layers and networks.

init_fn, apply_fn, kernel_fn = stax.serial(stax.Dense(16, W_std=1.5, b_std=0.05), stax.Erf(), stax.Dense(1))
network: Layer = stax.serial((init_fn, apply_fn, kernel_fn), stax.Relu(do_stabilize=False), stax.Dense(8))
residual = stax.serial(stax.FanOut(2), stax.parallel(stax.Dense(8), network), stax.FanInSum())
deep = stax.serial(stax.Dense(16), stax.repeat(stax.serial(stax.Relu(), stax.Dense(16)), 3))
block = [stax.Conv(8, (3, 3), padding="SAME", b_std=0.1), stax.Relu()]
cnn = stax.serial(*block, stax.AvgPool((2, 2), strides=(2, 2), padding=stax.Padding.SAME), stax.GlobalAvgPool())
attention = stax.GlobalSelfAttention(8, n_chan_key=8, n_chan_val=8, n_heads=2)

output_shape, params = init_fn(key1, x1.shape)
assert_type(output_shape, tuple[int, ...])
assert output_shape == (4, 1)
assert network.init_fn(key1, (-1, 3))[0] == (-1, 8)
several_shapes, several_params = stax.parallel(stax.Dense(2), stax.Dense(3)).init_fn(key1, [(4, 3), (4, 5)])
assert several_shapes == [(4, 2), (4, 3)]
assert_type(apply_fn(params, x1), jax.Array)
assert stax.Dropout(0.9).apply_fn((), x1, rng=key1).shape == x1.shape
assert isinstance(apply_fn(params, x1, mask_constant=0.0), stax.MaskedArray)

# Kernels, by each kind of `get`.

assert_type(kernel_fn(x1, x2), nt.Kernel)
assert_type(kernel_fn(x1, x2, "nngp"), jax.Array)
assert_type(kernel_fn(x1, get="ntk"), jax.Array)
assert_type(kernel_fn(x1_or_kernel=x1, x2=x2, get="cov1"), jax.Array)
assert kernel_fn(x1, None, ("nngp", "ntk")).ntk.shape == (4, 4)
assert kernel_fn(x1, x2, get=["ntk"]).ntk.shape == (4, 2)
assert kernel_fn(np.ones((4, 3)), None, "shape1") == (4, 1)
for name in ("nngp", "ntk"):
    assert kernel_fn(x1, x2, name).shape == (4, 2)

kernel = kernel_fn(x1, x2)
deeper = stax.serial(stax.Relu(), stax.Dense(1)).kernel_fn(kernel)
assert deeper.ntk is not None and deeper.ntk.shape == (4, 2)
assert deeper.cov2 is not None and deeper.cov2.shape == (2,)
assert_type(deeper.nngp, jax.Array)
assert_type(deeper.shape1[0] + deeper.batch_axis, int)
assert_type((2 * kernel + 1.0).replace(ntk=None), nt.Kernel)

added = residual.kernel_fn(x1, None, "nngp", diagonal_batch=False, memory_budget=None)
invariant = cnn.kernel_fn(images, None, "ntk", mask_constant=100.0, diagonal_spatial=None, memory_budget=2**20)
last_axis_batch = stax.Dense(1, batch_axis=1, channel_axis=0).kernel_fn
graph_fn = stax.serial(stax.Aggregate(), stax.Dense(1)).kernel_fn
graph = graph_fn(images[0], None, "nngp", pattern=(patterns, patterns))
pair = stax.serial(stax.parallel(stax.Dense(8), stax.Dense(8)), stax.FanInSum())
total = pair.kernel_fn([x1, x1[:, :2]], [x2, x2[:, :2]], "nngp")
assert total.shape == (4, 2)

# Transformations.


def compiled(kernel_fn: KernelFn) -> KernelFn:
    return jax.jit(kernel_fn, static_argnames="get")  # pyright: ignore[reportUnknownMemberType]  # in jax itself


def outputs(key: jax.Array) -> jax.Array:
    return apply_fn(init_fn(key, x1.shape)[1], x1)


def sum_of_ntk(x: jax.Array) -> jax.Array:
    return jnp.sum(kernel_fn(x, None, "ntk"))


assert compiled(kernel_fn)(x1, x2, get="nngp").shape == (4, 2)
assert jax.vmap(outputs)(jax.random.split(key1, 3)).shape == (3, 4, 1)
sensitivity = jax.grad(sum_of_ntk)(x1)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]


# Functions of networks.


def draw(network: Layer, key: jax.Array, input_shape: Shape) -> PyTree:
    return network.init_fn(key, input_shape)[1]


def applied(init_fn: InitFn, apply_fn: ApplyFn, x: jax.Array, **options: Unpack[ApplyOptions]) -> PyTree:
    return apply_fn(init_fn(key1, x.shape)[1], x, **options)


def total_variance(kernel_fn: KernelFn, x: jax.Array, **options: Unpack[KernelOptions]) -> jax.Array:
    return jnp.trace(kernel_fn(x, None, "nngp", **options))


def sums(kernel_fn: KernelFn, names: tuple[KernelName, ...], axes: Axes) -> list[jax.Array]:
    return [jnp.sum(kernel, axis=axes) for kernel in kernel_fn(x1, None, names)]


def chosen(name: Literal["nngp", "ntk"]) -> jax.Array:
    return kernel_fn(x1, None, name)


assert draw(network, key1, x1.shape) is not None
assert applied(init_fn, apply_fn, x1, rng=key2).shape == (4, 1)
assert total_variance(kernel_fn, x1, diagonal_batch=True).shape == ()
assert len(sums(kernel_fn, ("nngp", "ntk"), (0, 1))) == 2
assert chosen("ntk").shape == (4, 4)


# Layers that users write.


@stax.layer
def Scale(factor: float, name: str = "scale") -> InternalLayer:
    """A layer as its own three functions."""

    def init_fn(rng: jax.Array, input_shape: Shape) -> tuple[Shape, tuple[()]]:
        return input_shape, ()

    def apply_fn(params: tuple[()], inputs: jax.Array, **kwargs: Any) -> jax.Array:
        return factor * inputs

    @stax.requires(diagonal_spatial=stax.Diagonal(stax.Bool.YES, stax.Bool.YES))
    def kernel_fn(k: nt.Kernel, **kwargs: Any) -> nt.Kernel:
        return k * factor

    return init_fn, apply_fn, kernel_fn


@stax.layer
@stax.supports_masking(remask_kernel=False)
def Negative() -> InternalLayerMasked:
    """A layer that says what becomes of masks."""

    def mask_fn(mask: jax.Array, input_shape: Shape) -> jax.Array:
        return mask

    def kernel_fn(k: nt.Kernel) -> nt.Kernel:
        return -k

    return Scale(-1.0).init_fn, Scale(-1.0).apply_fn, kernel_fn, mask_fn


@stax.layer
def Offset(temperature: float) -> InternalLayer:
    """A layer with a keyword argument of its own."""

    def kernel_fn(k: nt.Kernel, *, heat: float = 0.0) -> nt.Kernel:
        return k + temperature * heat

    return stax.Identity().init_fn, stax.Identity().apply_fn, kernel_fn


assert_type(Scale(2.0, name="twice"), Layer)
own = stax.serial(stax.Dense(8), Scale(factor=2.0), Negative(), stax.Dense(1))
assert_type(own.kernel_fn(x1, x2, "nngp"), jax.Array)
heated_fn: Any = stax.serial(stax.Dense(8), Offset(2.0)).kernel_fn  # since it takes a keyword argument of the user's
assert heated_fn(x1, None, "nngp", heat=1.0).shape == (4, 4)

# Finite networks.

draws_fn = nt.monte_carlo_kernel_fn(init_fn, apply_fn, key1, n_samples=2)
assert draws_fn(x1, x2, "nngp").shape == (4, 2)
