"""Right uses of the paths of the archived library, and of models of TensorFlow."""

from collections.abc import Callable
from typing import Any, assert_type

import jax
import jax.numpy as jnp

import neural_tangents as nt
from neural_tangents import experimental, stax
from neural_tangents._src.stax.linear import Dense
from neural_tangents._src.stax.requirements import Diagonal, get_diagonal_outer_prods, layer, mean_and_var, requires
from neural_tangents._src.utils.kernel import Kernel
from neural_tangents._src.utils.typing import InternalLayer, KernelFn, LayerKernelFn, NTTree, Optional, PyTree, Shapes
from neural_tangents._src.utils.utils import get_namedtuple, zip_flat

x = jax.random.normal(jax.random.key(0), (2, 3))


@layer
def Squash(scale: float) -> InternalLayer:
    """`E[sin u sin v]` of Gaussians."""

    def init_fn(rng: jax.Array, input_shape: Shapes) -> tuple[Shapes, PyTree]:
        return input_shape, ()

    def apply_fn(params: PyTree, inputs: jax.Array, **kwargs: Any) -> jax.Array:
        return jnp.sin(scale * inputs)

    @requires(diagonal_spatial=Diagonal())
    def kernel_fn(k: Kernel, **kwargs: Any) -> Kernel:
        k = k * scale
        own, cross, _ = get_diagonal_outer_prods(k.cov1, k.cov2, k.diagonal_batch, k.diagonal_spatial, jnp.add)
        ntk: Optional[jax.Array] = None if k.ntk is None else k.ntk * jnp.exp(-cross / 2) * jnp.cosh(k.nngp)
        nngp, cov1 = jnp.exp(-cross / 2) * jnp.sinh(k.nngp), jnp.exp(-own / 2) * jnp.sinh(k.cov1)
        return k.replace(nngp=nngp, cov1=cov1, cov2=None, ntk=ntk, is_gaussian=False)

    checked: LayerKernelFn = kernel_fn
    return init_fn, apply_fn, checked


def variances(kernel_fn: KernelFn, batches: NTTree[jax.Array]) -> Any:
    return kernel_fn(batches, None, "cov1")  # type: ignore[call-overload]


@get_namedtuple("Halves")
def halves(get: tuple[str, ...]) -> dict[str, float]:
    return {"nngp": 0.5, "ntk": 0.5}


kernel_fn = stax.serial(Dense(8), Squash(2.0), stax.Dense(1)).kernel_fn
assert_type(kernel_fn(x, None, "ntk"), jax.Array)
assert_type(nt.Kernel is Kernel, bool)
assert zip_flat(("a", "b"), ("c", "d")) == ("a", "c", "b", "d")
mean, variance = mean_and_var(x, axis=0, get_var=True)
assert mean is not None and variance is not None and mean.shape == variance.shape == (3,)


def of_model(model: Any) -> tuple[jax.Array, Callable[..., Any]]:
    """Never called here, since it needs TensorFlow."""
    apply_fn, params = experimental.get_apply_fn_and_params(model)
    return nt.empirical_ntk_fn(apply_fn)(x, None, params), nt.experimental.empirical_ntk_fn_tf(model, vmap_axes=0)
