"""`Lifted`: the triple that `lift` returns, and its kernel function."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from neural_tangents._core.kernel import Kernel
from neural_tangents._core.layer import Layer
from neural_tangents._core.selection import canonical_get, check_names, result_type
from neural_tangents._core.types import PyTree
from neural_tangents.tracing._description import table
from neural_tangents.tracing._errors import LiftError
from neural_tangents.tracing._graph import Node, walk
from neural_tangents.tracing._inputs_of_batches import Inputs, needed
from neural_tangents.tracing._layered import layered
from neural_tangents.tracing._padding import Untranslated
from neural_tangents.tracing._pairs import Pairs
from neural_tangents.tracing._reading import Reading
from neural_tangents.tracing._steps import trace

_NAMES = ("nngp", "ntk")
_LONG = 100  # nodes of a graph


@dataclasses.dataclass(frozen=True, eq=False)
class Output:
    """An output: its node, and the finite axes that each of the axes of its array is made of."""

    node: Node
    order: tuple[tuple[int, ...], ...]


class Lifted(Layer):
    """A network of JAX functions with its infinite-width limit: a triple `(init_fn, apply_fn, kernel_fn)`.

    Attributes:
      init_fn: `(rng, input_shape) -> (output_shape, params)` draws parameters, by the initialiser that was lifted.
      apply_fn: `(params, x) -> outputs` applies the function that was lifted.
      kernel_fn: `(x1, x2, get)` gives the kernels of the infinite network; with the back end of layers, all that kernel
        functions of `stax` do.
      network: the network of `stax` layers that computes the kernel, a triple; None if there is none.
      backend: what computes the kernel, `"stax"` or `"direct"`.
    """

    network: Layer | None
    backend: str
    _describe: Callable[[], str]

    def describe(self) -> str:
        """What was understood of the network, as a table: each parameter, its role and distribution; the back end.

        Of nonlinearities without a closed form it says how accurate their kernels are, which takes some seconds if they
        have no layer of their own.
        """
        return self._describe()

    def __repr__(self) -> str:
        return f"Lifted(backend={self.backend!r}, network={self.network!r})"


class Direct:
    """Kernels of a network by pairs of its activations.

    Args:
      apply_fn: the network.
      params: shapes of its parameters.
      reading: what is known of its program.
      outputs: its outputs.
      structure: of the tree of outputs.
      example: shape and type of an example of inputs.
    """

    def __init__(
        self, apply_fn: Any, params: PyTree, reading: Reading, outputs: Sequence[Output], structure: Any, example: Any
    ) -> None:
        self.apply_fn, self.params, self.reading, self.outputs = apply_fn, params, reading, outputs
        self.structure, self.example = structure, example
        self.numbers = needed(reading, [output.node for output in outputs])
        # Of a long recurrence, one program would take minutes to compile; without it, equal steps share their programs.
        is_long = len(walk(output.node for output in outputs)) > _LONG
        self.compiled = self.kernels if is_long else jax.jit(self.kernels, static_argnums=2)

    def check(self) -> None:
        """Raises a `LiftError` if the kernel is not known, without computing it."""
        shape = (2, *self.example.shape[1:])
        dtype = self.example.dtype
        x = jax.ShapeDtypeStruct(shape, dtype)
        jax.eval_shape(functools.partial(self.kernels, names=_NAMES), x, x)

    def inputs(self, x: Array) -> Inputs:
        """The numbers that depend on a batch of inputs."""
        program, _ = trace(self.apply_fn, self.params, self.example, len(x))
        return Inputs(self.reading, program, x, self.numbers)

    def kernels(self, x1: Array, x2: Array | None, names: tuple[str, ...]) -> dict[str, list[Array]]:
        """The kernels of each output, by name."""
        first = self.inputs(x1)
        second = first if x2 is None else self.inputs(x2)
        pairs = Pairs((first, second), (len(x1), len(x1 if x2 is None else x2)), self.kernel_dtype(x1))
        first.fill(lambda node: pairs.mean(node, 0))
        if x2 is not None:
            second.fill(lambda node: pairs.mean(node, 1))
        nodes = [output.node for output in self.outputs]
        pairs.prepare(nodes, "ntk" in names)
        found: dict[str, list[Array]] = {}
        for name in names:
            of_pair = pairs.second if name == "nngp" else pairs.tangent
            found[name] = [self._ordered(output, of_pair(output.node, output.node), pairs) for output in self.outputs]
        return found

    def kernel_dtype(self, x: Array) -> Any:
        """The type of kernels: that of inputs, or of parameters if inputs are whole numbers."""
        if jnp.issubdtype(x.dtype, jnp.floating):
            return jnp.result_type(x.dtype, jnp.float32)
        types = [leaf.dtype for leaf in jax.tree.leaves(self.params) if jnp.issubdtype(leaf.dtype, jnp.floating)]
        return jnp.result_type(*types, jnp.float32)

    def _ordered(self, output: Output, array: Any, pairs: Pairs) -> Array:
        """A kernel with the axes of the output: each twice, side by side."""
        fin = output.node.fin
        n = len(fin)
        if array is None:
            array = jnp.zeros((*pairs.sizes, *fin, *fin), pairs.dtype)
        axes = [i for group in output.order for i in group]
        array = array.transpose(0, 1, *(2 + i for i in axes), *(2 + n + i for i in axes))
        sizes = []
        for group in output.order:
            size = 1
            for i in group:
                size *= fin[i]
            sizes.append(size)
        m = len(sizes)
        array = array.reshape(*array.shape[:2], *sizes, *sizes)
        return array.transpose(0, 1, *(axis for i in range(m) for axis in (2 + i, 2 + m + i)))

    def kernel_fn(self, x1: Any, x2: Any, names: tuple[str, ...]) -> dict[str, list[Array]]:
        """The kernels of two batches of any size."""
        x1 = jnp.asarray(x1)
        x2 = None if x2 is None else jnp.asarray(x2)
        for x, name in ((x1, "x1"), (x2, "x2")):
            if x is not None and x.shape[1:] != self.example.shape[1:]:
                raise ValueError(
                    f"`{name}` must have inputs of shape {self.example.shape[1:]}, as the example that was lifted, got "
                    f"an array of shape {x.shape}."
                )
        sizes = len(x1), len(x1 if x2 is None else x2)
        # One input is taken twice: the program of a batch of one has no batch axis to be seen.
        results = self.compiled(_doubled(x1), None if x2 is None else _doubled(x2), names)
        return jax.tree.map(lambda k: k[: sizes[0], : sizes[1]], results)


def _doubled(x: Array) -> Array:
    return jnp.concatenate([x, x]) if len(x) == 1 else x


def triple(direct: Direct, init: Callable[[Any], Any] | None, parameterization: str, backend: str) -> Lifted:
    """The triple of a network, with the back end that was asked for.

    Raises:
      LiftError: no network of `stax` layers computes the kernel, and it was asked for.
    """

    def init_fn(rng: Any, input_shape: Any) -> tuple[Any, Any]:
        """Draws parameters; their sizes are those of the network, whatever the shape of inputs."""
        batch = input_shape[0]
        size = 2 if batch in (-1, None) else batch
        x = jax.ShapeDtypeStruct((size, *input_shape[1:]), direct.example.dtype)
        outputs = jax.eval_shape(direct.apply_fn, direct.params, x)
        shapes = jax.tree.map(lambda y: (batch, *y.shape[1:]), outputs)
        return shapes, init(rng) if init is not None else _drawn(direct, rng)

    def apply_fn(params: Any, x: Any, **_: Any) -> Any:
        """Applies the network that was lifted."""
        return direct.apply_fn(params, x)

    def kernel_fn(x1: Any, x2: Any = None, get: Any = None, **_: Any) -> Any:
        """The kernels of the infinite network.

        Args:
          x1: inputs `(N1, ...)`.
          x2: inputs `(N2, ...)`; None for `x1`.
          get: `"nngp"`, `"ntk"`, or a tuple of them; None for both.

        Returns:
          An array for a name, a named tuple for a tuple of names, for each output of the network.
        """
        names = canonical_get(get) or _NAMES
        check_names(names, _NAMES)
        if isinstance(x1, Kernel):
            raise LiftError(
                "A network that is evaluated pair by pair needs its inputs, not their `Kernel`. Apply further layers "
                "inside of the function that is lifted."
            )
        results = direct.kernel_fn(x1, x2, names)
        trees = {name: jax.tree.unflatten(direct.structure, results[name]) for name in names}
        if isinstance(get, str):
            return trees[names[0]]
        made = result_type("AnalyticKernel", names)
        return jax.tree.map(lambda *ks: made(*ks), *trees.values())

    layers = None
    if backend != "direct":
        try:
            layers = layered(direct)
        except Untranslated as reason:
            if backend == "stax":
                raise LiftError(
                    f"The network is no sequence of `stax` layers, because of: {reason}. Use `backend='direct'`."
                ) from None
    if layers is None:
        direct.check()
    functions: Any = (init_fn, apply_fn, kernel_fn if layers is None else layers.kernel_fn)
    lifted = Lifted(*functions)
    lifted.network = None if layers is None else layers.network
    lifted.backend = "direct" if layers is None else "stax"
    nodes = [output.node for output in direct.outputs]
    lifted._describe = functools.partial(table, direct.reading, nodes, lifted.backend)
    return lifted


def _drawn(direct: Direct, rng: Any) -> Any:
    """Parameters from their distributions."""
    shapes, structure = jax.tree.flatten(direct.params)
    keys = jax.random.split(rng, max(1, len(shapes)))
    leaves = []
    for key, leaf, shape in zip(keys, direct.reading.leaves, shapes, strict=True):
        if leaf.value is not None:
            leaves.append(jnp.asarray(leaf.value, shape.dtype))
        else:
            noise = (
                leaf.variance**0.5 * jax.random.normal(key, shape.shape) if leaf.variance else jnp.zeros(shape.shape)
            )
            leaves.append((leaf.mean + noise).astype(shape.dtype))
    return jax.tree.unflatten(structure, leaves)
