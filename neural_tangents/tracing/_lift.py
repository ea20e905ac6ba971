"""`lift`: from a function of parameters and inputs to the kernels of its infinite width."""

from collections.abc import Callable
from typing import Any, Literal

import jax
import numpy as np

from neural_tangents._core.types import PyTree
from neural_tangents.tracing._atoms import BATCH, CHANNEL, REPEATED, find
from neural_tangents.tracing._distribution import given_distribution, read_initialiser
from neural_tangents.tracing._errors import LiftError
from neural_tangents.tracing._graph import Node, Phi, is_gaussian, scales, sources, view
from neural_tangents.tracing._lifted import Direct, Lifted, Output, triple
from neural_tangents.tracing._reading import Leaf, Reading
from neural_tangents.tracing._rules.table import RULES
from neural_tangents.tracing._steps import trace
from neural_tangents.tracing._values import Data

_SIZES = 2, 3  # of the batches that the network is traced for: what differs belongs to the batch


def lift(
    apply_fn: Callable[[Any, Any], PyTree],
    params: PyTree,
    x: Any,
    *,
    parameterization: Literal["standard", "ntk"] = "standard",
    distribution: Callable[[str, tuple[int, ...]], Any] | None = None,
    trainable: Callable[[str], bool] | None = None,
    products: Literal["error", "mean"] = "error",
    backend: Literal["auto", "stax", "direct"] = "auto",
) -> Lifted:
    """The infinite-width limit of a network that is a function of JAX arrays, whatever library it is written in.

    Axes of random parameters that a product with weights leaves free are *channels*. Their sizes go to infinity, all
    together, with `variance * fan_in` of weights held at the value that it has at the given sizes; axes that come from
    `x` stay as they are. With `rate` how fast the entries of a parameter are trained,

        nngp = E[f(x1) f(x2)],    ntk = sum over parameters of rate E[df(x1)/dw df(x2)/dw],

    for one output `f`: they are what the sample mean over outputs, and the empirical NTK, tend to.

    Args:
      apply_fn: `(params, x) -> outputs`, pure, with the batch as first axis of `x`. States, keys and flags are closed
        over; a module of one example goes through `jax.vmap`. Outputs may be a tree of arrays.
      params: an initialiser `key -> params`, from which distributions are read; or parameters, or a tree of
        `jax.ShapeDtypeStruct`, with `distribution`.
      x: an example of inputs, of which shape and type matter; a `jax.ShapeDtypeStruct` will do.
      parameterization: `"standard"`, the default: all parameters are trained at rate 1, so that the NTK is that of
        this function, to leading order in its widths. `"ntk"`: parameters are `std * w`, with `w` from N(0, 1), and `w`
        is trained: the rate is the variance, and no size matters.
      distribution: `(path, shape) -> variance` or `(mean, variance)` of the entries of a parameter, in place of what
        the initialiser says; paths are those of `jax.tree_util.keystr`. None, the default, to read the initialiser.
      trainable: `path -> whether a parameter is trained`; None, the default, for all, but for collections of variables
        of Flax other than `params`.
      products: what becomes of sums over channels of products of independent activations, such as of queries and keys:
        `"error"`, the default, or `"mean"` for their mean 0, which is the limit if they are divided by the width.
      backend: `"stax"`: layers of `stax`; `"direct"`: pairs of activations, which networks need that are no sequence
        of layers; `"auto"`, the default: the first where that is possible.

    Returns:
      A `Lifted` triple `(init_fn, apply_fn, kernel_fn)`, which goes wherever a layer does.

    Raises:
      LiftError: there is no kernel at infinite width, or the network is not understood; the message says what was met,
        in which line, and what to do.
      TypeError: arguments of the wrong type.
      ValueError: unknown options; a distribution that is none.

    Example:
      >>> def network(params, x):
      ...     return jax.nn.relu(x @ params["w"] / 3**0.5) @ params["v"] / 64**0.5
      >>> def init(key):
      ...     keys = jax.random.split(key)
      ...     return {"w": jax.random.normal(keys[0], (3, 64)), "v": jax.random.normal(keys[1], (64, 1))}
      >>> x = jnp.array([[1.0, 2.0, 2.0]])
      >>> _, _, kernel_fn = tracing.lift(network, init, x, parameterization="ntk")
      >>> print(kernel_fn(x, None, "ntk").round(4))  # nngp = |x|^2 / 6, and as much for each layer
      [[3.]]

    Source: Yang, "Tensor Programs II: Neural Tangent Kernel for Any Architecture", 2020,
    https://arxiv.org/abs/2006.14548.
    """
    _check(parameterization, products, backend, apply_fn)
    leaves, tree, init = _leaves(params, parameterization, distribution, trainable)
    dtype = jax.dtypes.canonicalize_dtype(x.dtype if hasattr(x, "dtype") else np.asarray(x).dtype)
    example = jax.ShapeDtypeStruct(np.shape(x), dtype)
    if not example.shape:
        raise ValueError("`x` needs a batch axis, got a scalar.")
    traces = [trace(apply_fn, tree, example, size) for size in _SIZES]
    reading = Reading((traces[0][0], traces[1][0]), _SIZES, leaves, products, RULES)
    outputs = [_output(reading, value, i) for i, value in enumerate(reading.read())]
    reading.check_uses([output.node for output in outputs])
    direct = Direct(apply_fn, tree, reading, outputs, traces[0][1], example)
    return triple(direct, init, parameterization, backend)


def _check(parameterization: Any, products: Any, backend: Any, apply_fn: Any) -> None:
    options = {
        "parameterization": (parameterization, ("standard", "ntk")),
        "products": (products, ("error", "mean")),
        "backend": (backend, ("auto", "stax", "direct")),
    }
    for name, (value, known) in options.items():
        if value not in known:
            raise ValueError(f"`{name}` must be one of {known}, got {value!r}.")
    if not callable(apply_fn):
        raise TypeError(f"`apply_fn` must be a function of parameters and inputs, got {apply_fn!r}.")


def is_initialiser(params: Any) -> bool:
    """Whether `params` is a function that draws parameters; trees of some libraries can be called too."""
    leaves = jax.tree.leaves(params)
    return callable(params) and len(leaves) == 1 and leaves[0] is params


def _leaves(
    params: Any, parameterization: str, distribution: Any, trainable: Any
) -> tuple[list[Leaf], Any, Callable[[Any], Any] | None]:
    """The parameters with their distributions, their shapes as a tree, and the function that draws them."""
    init = params if is_initialiser(params) else None
    if init is None and distribution is None:
        raise LiftError(
            "Parameters were given without their distribution. Give an initialiser `key -> params` as `params`, or "
            "`distribution=lambda path, shape: variance`, with paths as in `jax.tree_util.keystr`."
        )
    laws = read_initialiser(params) if distribution is None else given_distribution(params, distribution)
    tree = jax.eval_shape(init, jax.random.key(0)) if init is not None else params
    tree = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)
    flax = any(law.path.startswith("['params']") for law in laws)
    leaves = []
    for law in laws:
        mine = not flax or law.path.startswith("['params']")
        trained = (mine if trainable is None else bool(trainable(law.path))) and _is_float(law.dtype)
        variance = float(law.variance)
        rate = (1.0 if parameterization == "standard" else variance) if trained else 0.0
        mean = 0.0 if law.value is not None else float(law.mean)
        leaves.append(Leaf(law.path, tuple(law.shape), mean, variance, rate, law.value))
    return leaves, tree, init


def _is_float(dtype: Any) -> bool:
    return bool(jax.numpy.issubdtype(dtype, jax.numpy.floating))


def _output(reading: Reading, value: Any, i: int) -> Output:
    """An output of the network, if it is Gaussian at infinite width."""
    advice = "Add a readout, a last layer with weights of its own."
    line = reading.programs[0].steps[-1].line if reading.programs[0].steps else ""
    where = f"\nMet at {line}" if line else ""
    if not isinstance(value, Data) or not sources(value.node):
        raise LiftError(f"Output {i} is not random at infinite width, but a function of the inputs. {advice}{where}")
    node = value.node
    if not is_gaussian(_without_constants(node)) or scales(node):
        raise LiftError(f"Output {i} is not a Gaussian process at infinite width. {advice}{where}")
    order = []
    for axis in value.axes:
        kinds = {atom.kind for atom in axis}
        if len(kinds) > 1 and kinds & {CHANNEL, BATCH}:
            raise LiftError(f"An axis of output {i} joins positions, channels or inputs. Keep them apart.{where}")
        if CHANNEL in kinds or BATCH in kinds:
            continue
        group = []
        for atom in axis:
            if atom.kind == REPEATED:
                node = view(node, node.fin, (*range(len(node.fin)), None), dict(enumerate((*node.fin, atom.size))))
            group.append(len(node.fin) - 1 if atom.kind == REPEATED else atom.key)
        order.append(tuple(group))
    if not find(value.axes, CHANNEL) and order and not order[-1] and not value.axes[-1]:
        order.pop()  # the channel axis, of size 1
    return Output(node, tuple(order))


def _without_constants(node: Node) -> Node:
    """The output without numbers that are added to it: they shift its mean, and so are part of second moments."""
    return node.child if isinstance(node, Phi) and node.activation.linear is not None else node
