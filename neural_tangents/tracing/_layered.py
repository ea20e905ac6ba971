"""Kernels by layers of `stax`: inputs in the form that these take, and the kernel function."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from neural_tangents.tracing._graph import Fixed, Node
from neural_tangents.tracing._padding import Untranslated
from neural_tangents.tracing._pairs import Pairs
from neural_tangents.tracing._translate import Translation, translated


class Layered(NamedTuple):
    """A network of `stax` layers, and a kernel function of the inputs that users have."""

    network: Any
    kernel_fn: Callable[..., Any]


def layered(direct: Any) -> Layered:
    """The network of layers that computes the kernel of a network.

    Raises:
      Untranslated: there is none.
    """
    if len(direct.outputs) != 1 or jax.tree.structure(0) != direct.structure:
        raise Untranslated("several outputs")
    (output,) = direct.outputs
    if output.order != tuple((i,) for i in range(len(output.node.fin))):
        raise Untranslated("the order of output axes")
    translation = translated(output.node, direct.reading)
    network = translation.layer
    if not translation.is_certain:
        _check(network, jax.ShapeDtypeStruct((2, *_sizes(translation)), direct.kernel_dtype(direct.example)))
    if _is_plain(direct, translation.inputs, translation.features):
        return Layered(network, network[2])
    inputs = jax.jit(lambda x: _inputs(direct, translation, x))

    def kernel_fn(x1: Any, x2: Any = None, get: Any = None, **options: Any) -> Any:
        """The kernel function of the network of layers, for inputs as the function that was lifted takes them."""
        x1, x2 = (None if x is None else inputs(jnp.asarray(x)) for x in (x1, x2))
        return network[2](x1, x2, get, **options)

    kernel_fn.kernel_traits = network[2].kernel_traits  # type: ignore[attr-defined]
    return Layered(network, kernel_fn)


def _check(network: Any, x: Any) -> None:
    """Raises `Untranslated` if layers do not take what comes before them."""
    try:
        jax.eval_shape(lambda x: network[2](x, None, ("nngp", "ntk")), x)
    except (ValueError, NotImplementedError) as error:
        raise Untranslated(str(error)) from None


def _sizes(translation: Translation) -> list[int]:
    """The sizes of the axes of inputs of layers: positions, and channels."""
    fin = translation.inputs.fin
    places = [fin[i] for i in range(len(fin)) if i not in translation.features]
    return [*places, int(np.prod([fin[i] for i in translation.features]))]


def _is_plain(direct: Any, node: Node, features: tuple[int, ...]) -> bool:
    """Whether layers take the inputs as they are."""
    number = direct.reading.programs[0].inputs[-1]
    if not isinstance(node, Fixed) or node.host.number != number or node.host.invert or node.host.case is not None:
        return False
    if not jnp.issubdtype(direct.example.dtype, jnp.floating):
        return False
    n = len(direct.example.shape) - 1
    ordered = [[atom.key for atom in axis] for axis in node.host.axes[1:]] == [[i] for i in range(n)]
    return ordered and features == (n - 1,)


def _inputs(direct: Any, translation: Translation, x: Array) -> Array:
    """The inputs of layers: batch, positions, channels."""
    single = len(x) == 1
    x = jnp.concatenate([x, x]) if single else x
    inputs = direct.inputs(x)
    dtype = direct.kernel_dtype(x)
    pairs = Pairs((inputs, inputs), (len(x), len(x)), dtype)
    inputs.fill(lambda node: pairs.mean(node, 0))
    array = pairs.mean(translation.inputs, 0)
    places = [i for i in range(len(translation.inputs.fin)) if i not in translation.features]
    array = array.transpose(0, *(1 + i for i in places), *(1 + i for i in translation.features))
    array = array.reshape(len(x), *_sizes(translation))
    return array[:1] if single else array
