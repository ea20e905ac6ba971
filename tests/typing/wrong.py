"""Wrong uses of networks and their kernels: type checkers find each marked line, and none but these."""

import jax

import neural_tangents as nt
from neural_tangents import stax
from neural_tangents.typing import InternalLayer, KernelFn, Layer, Shape

key = jax.random.key(1)
x = jax.random.normal(key, (4, 3))

# Arguments of layers.

stax.Conv(8, (3, 3), pading="SAME")  # error: misspelt keyword argument
stax.Conv(8, filter_shape=3)  # error: one size, where a tuple is expected
stax.Conv(8)  # error: no size of windows
stax.Dense("wide")  # error: text for a number of units
stax.MaxPool((2, 2))  # error: no such layer
stax.serial(stax.Dense(8), stax.Relu)  # error: a factory instead of the layer it makes
stax.serial([stax.Dense(8), stax.Relu()])  # error: layers as one list
stax.repeat(stax.Relu(), "3")  # error: text for a number of copies

init_fn, apply_fn, kernel_fn = stax.serial(stax.Dense(8), stax.Relu())
init_fn, apply_fn = stax.Dense(8)  # error: three functions, as two names
network = stax.Dense(8)
network.kernel(x)  # error: no such attribute of a layer

# Finite networks.

init_fn(x.shape, key)  # error: arguments in the wrong order
init_fn(key, 3)  # error: a number for a shape
apply_fn(x)  # error: no inputs
apply_fn((), x, mask_constnat=0.0)  # error: misspelt keyword argument

# Kernels.

kernel_fn(x, None, "nngpp")  # error: misspelt name
kernel_fn(x, None, ("nngp", "nkt"))  # error: misspelt name among several
kernel_fn(x, "nngp")  # error: a name where the second batch stands
kernel_fn(x, None, 3)  # error: a number for a name
kernel_fn(x, x, x)  # error: three batches
kernel_fn(x, None, "ntk", digonal_spatial=True)  # error: misspelt keyword argument
kernel_fn(x, None, "ntk", diagonal_batch="yes")  # error: text for a boolean
kernel_fn(x, None, "ntk", memory_budget=1.5e9)  # error: no whole number of bytes
kernel_fn([1, 2], mask=0.0)  # error: no such keyword argument, with a tree of inputs
kernel_fn(2.0)  # error: a number for inputs
kernel_fn(x, None, "nngp").nngp  # error: an array has no kernels
kernel_fn(x).nnpg  # error: misspelt attribute
kernel_fn(x).nngp.shpae  # error: misspelt attribute of an array
kernel_fn(x).ntk.shape  # error: may be None
kernel_fn(x)["nngp"] + kernel_fn(x)  # error: kernels are not added
kernel_fn(x).shape1 = (1, 2)  # error: a kernel is not changed
kernel_fn(x).slice(slice(2))  # error: one of two slices
nt.Kernel(kernel_fn(x).nngp)  # error: attributes are missing


def deep(depth: int) -> Layer:
    return stax.serial(*[stax.Relu()] * depth).kernel_fn  # error: one function, where all three are promised


def trace(kernel_fn: KernelFn) -> jax.Array:
    return kernel_fn(x)  # error: a `Kernel`, where an array is promised


# Layers that users write.


@stax.layer
def Scale(factor: float) -> InternalLayer:
    def init_fn(rng: jax.Array, input_shape: Shape) -> tuple[Shape, tuple[()]]:
        return input_shape, ()

    @stax.requires(diagonal_batch=False)
    def kernel_fn(k: nt.Kernel) -> nt.Kernel:
        return k.replace(nngp=factor**2 * k.nngp, ntk=factor**2 * k.ntk)  # error: there may be no NTK

    kernel_fn("k")  # error: text for a `Kernel`
    return init_fn, stax.Identity().apply_fn, kernel_fn


Scale(fcator=2.0)  # error: misspelt keyword argument
Scale("twice")  # error: text for a number
Scale(2.0).nngp  # error: no such attribute of a layer


@stax.layer  # error: two functions instead of three
def Half() -> tuple[object, object]:
    return Scale(0.5).init_fn, Scale(0.5).apply_fn


@stax.supports_masking()  # error: required argument
def Masked() -> InternalLayer:
    return Scale(0.5)
