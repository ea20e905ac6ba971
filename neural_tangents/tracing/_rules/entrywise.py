"""Steps that act entry by entry: nonlinearities of one Gaussian, sums, and choices."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from jax import Array

from neural_tangents._compat import apply_primitive
from neural_tangents.tracing._alignment import align, is_random
from neural_tangents.tracing._atoms import CHANNEL, Misfit
from neural_tangents.tracing._graph import (
    LETTERS,
    Bias,
    Fixed,
    Host,
    Node,
    Phi,
    Sum,
    Times,
    Weighted,
    is_gaussian,
    times,
    walk,
)
from neural_tangents.tracing._reading import Reading
from neural_tangents.tracing._recognised import activation
from neural_tangents.tracing._steps import Step
from neural_tangents.tracing._values import Data, Known, Param, axis_of

Entrywise = Callable[[Array], Array]

SHARED = (
    "a random number is shared by all channels of an activation, so that its kernel stays random at infinite width. "
    "Give each channel its own, or make it a constant"
)
SHARED_TRAINED = (
    "a trained number is shared by all channels of an activation, so that its part of the tangent kernel stays random "
    "at infinite width. Leave it out by `trainable=`, or use `parameterization='ntk'`"
)
NOT_ONE = (
    "not a function of one Gaussian: a nonlinearity is applied to activations that are no Gaussian process, or to "
    "several of them. Put weights on the branch before it"
)
MONTE_CARLO = (
    "For a kernel without closed form, average over draws: `neural_tangents.monte_carlo_kernel_fn(lambda key, shape: "
    "((), init(key)), lambda params, x: apply_fn(params, x), key, n_samples)`"
)
VARYING = (
    "activations are combined with constants, or with functions of inputs, whose value differs between channels, so "
    "that these are not exchangeable"
)
PRIMITIVES = (
    "abs acos acosh asin asinh atan atan2 atanh cbrt ceil clamp cos cosh digamma eq erf erf_inv erfc exp exp2 expm1 "
    "floor ge gt integer_pow is_finite le lgamma log log1p logistic lt max min ne neg not and or pow rem round rsqrt "
    "sign sin sinh sqrt square tan tanh select_n nextafter xor"
).split()


def identity(x: Array) -> Array:
    """The argument."""
    return x


def as_function(node: Node) -> tuple[Node, Entrywise] | None:
    """A node as a function of one Gaussian, if it is one."""
    if isinstance(node, Times):
        inner = as_function(node.child)
        return None if inner is None else (inner[0], _scaled(inner[1], node.factor))
    if isinstance(node, Phi):
        return node.child, node.activation.fn
    return (node, identity) if is_gaussian(node) else None


def _scaled(fn: Entrywise, factor: float) -> Entrywise:
    return lambda x: fn(x) * jnp.asarray(factor, x.dtype)


def of_gaussian(base: Node, fn: Entrywise) -> Node:
    """A function of a Gaussian, entry by entry."""
    phi = activation(fn)
    if phi.linear is not None and not phi.linear[1]:
        return times(base, phi.linear[0])
    made = base.__dict__.setdefault("functions", {})
    return made.setdefault(phi, Phi(base.fin, base, phi))


def _step_function(step: Step, parts: Sequence[Any]) -> Entrywise:
    """A step on functions and numbers, as a function."""

    def fn(x: Array) -> Array:
        operands = [part(x) if callable(part) else part for part in parts]
        operands = [
            jnp.full(x.shape, o, x.dtype if isinstance(o, float) else None) if isinstance(o, float | int | bool) else o
            for o in operands
        ]
        if step.name == "convert_element_type":
            return operands[0].astype(x.dtype)
        return apply_primitive(step.eqn, operands)[0]

    return fn


def fused(reading: Reading, step: Step, operands: Sequence[Any]) -> Data | None:
    """A step on functions of one Gaussian, as a function of it; None if it is no such step."""
    data = [v for v in operands if isinstance(v, Data)]
    numbers = [v for v in operands if not isinstance(v, Data)]
    if any(not isinstance(v, Known) or v.uniform is None or v.unscaled for v in numbers):
        return None
    aligned = align(data, reading.names)
    if any(aligned.lacks(i) for i in range(len(data))):
        return None
    functions = [as_function(aligned.node(i)) for i in range(len(data))]
    if any(f is None or f[0] is not functions[0][0] for f in functions):  # type: ignore[index]
        return None
    parts: list[Any] = []
    remaining = iter(functions)
    for v in operands:
        if isinstance(v, Data):
            parts.append(next(remaining)[1])  # type: ignore[index]
        else:
            is_float = jnp.issubdtype(v.values[0].dtype, jnp.floating)
            parts.append(float(v.uniform) if is_float else v.uniform)
    base = as_function(aligned.node(0))
    assert base is not None
    return Data(of_gaussian(base[0], _step_function(step, parts)), aligned.joined_axes)


def entrywise(reading: Reading, step: Step, operands: Sequence[Any]) -> Any:
    """Any function of one Gaussian."""
    if any(isinstance(v, Param) for v in operands):
        raise Misfit("a parameter is transformed, so that its entries are not the independent ones it was drawn as")
    result = fused(reading, step, operands)
    if result is None:
        nodes = walk([v.node for v in operands if isinstance(v, Data)])
        if any(isinstance(node, Fixed) and node.host.channels for node in nodes):
            raise Misfit(f"{VARYING}, and go into a nonlinearity. Multiply them by weights")
        raise Misfit(f"{NOT_ONE}. {MONTE_CARLO}")
    return result


def convert(reading: Reading, step: Step, operands: Sequence[Any]) -> Any:
    """`convert_element_type`: of no effect between floating types; kernels have the type of the inputs."""
    (value,) = operands
    if isinstance(value, Data) and jnp.issubdtype(step.params["new_dtype"], jnp.floating):
        if jnp.issubdtype(reading.programs[0].avals[step.operands[0]].dtype, jnp.floating):
            return value
        return entrywise(reading, step, operands)
    if isinstance(value, Param) and jnp.issubdtype(step.params["new_dtype"], jnp.floating):
        return value
    raise Misfit("activations are made whole or complex numbers")


def add(reading: Reading, step: Step, operands: Sequence[Any]) -> Any:
    """`add` and `sub`."""
    sign = -1.0 if step.name == "sub" else 1.0
    first, second = operands
    if isinstance(second, Param) and isinstance(first, Param):
        raise Misfit("two parameters are added, so that their entries are not independent ones")
    if isinstance(first, Param) or isinstance(second, Data) and not isinstance(first, Data | Param):
        return _sum(reading, step, second if sign == 1 else negative(second), first, 1.0)
    return _sum(reading, step, first, second, sign)


def negative(value: Any) -> Any:
    """Minus a value."""
    if isinstance(value, Param):
        return dataclasses.replace(value, scale=-value.scale, shift=-value.shift)
    return Data(times(value.node, -1.0), value.axes)


def neg(reading: Reading, step: Step, operands: Sequence[Any]) -> Any:
    """`neg`."""
    return negative(operands[0])


def _sum(reading: Reading, step: Step, first: Any, second: Any, sign: float) -> Any:
    """`first + sign second`."""
    if isinstance(first, Known | Host) or isinstance(first, Param) and isinstance(second, Data):
        if sign != 1:
            second = negative(second)
        first, second, sign = second, first, 1.0
    if isinstance(first, Param):
        return _param_sum(reading, step, first, second, sign)
    if isinstance(second, Known):
        if second.uniform is not None:
            return shifted(reading, first, sign * second.uniform)
        second = reading.host_of(second)
    if isinstance(second, Param):
        return plus_param(reading, step, first, second, sign)
    if isinstance(second, Host):
        if second.unscaled:
            raise Misfit("a sum over channels that is not divided by their number is added to activations")
        aligned = align([first, second], reading.names)
        fixed: Node = Fixed(tuple(aligned.fin), aligned.host(1))
        return Data(added(aligned.node(0), times(fixed, sign)), aligned.joined_axes)
    return two(reading, first, second, sign)


ROOT_WIDTH = (
    "a sum over channels of independent numbers of mean 0, which is of order √width and random at infinite width. "
    "Divide by the number of channels (for attention, scale by 1/d and pass `products='mean'`), or use the same "
    "numbers twice (q = k)"
)


def two(reading: Reading, first: Data, second: Data, sign: float) -> Data:
    """`first + sign second` of activations."""
    aligned = align([first, second], reading.names)
    for i, value in enumerate((first, second)):
        if aligned.lacks(i) and is_random(value):
            raise Misfit(SHARED)
    a, b = aligned.node(0), times(aligned.node(1), sign)
    f, g = as_function(a), as_function(b)
    if f is not None and g is not None and f[0] is g[0]:
        fn, gn = f[1], g[1]
        return Data(of_gaussian(f[0], lambda x: fn(x) + gn(x)), aligned.joined_axes)
    (a, c), (b, d) = _affine(a), _affine(b)
    node = added(a, b)
    return shifted(reading, Data(node, aligned.joined_axes), c + d)


def _affine(node: Node) -> tuple[Node, float]:
    """A node as another one plus a number."""
    if isinstance(node, Phi) and node.activation.linear is not None:
        return times(node.child, node.activation.linear[0]), node.activation.linear[1]
    if isinstance(node, Times):
        inner, constant = _affine(node.child)
        return times(inner, node.factor), constant * node.factor
    return node, 0.0


def added(a: Node, b: Node) -> Node:
    """The sum of two nodes."""
    return Sum(a.fin, (a, b))


def shifted(reading: Reading, value: Data, constant: float) -> Data:
    """An activation plus a number."""
    if not constant:
        return value
    function = as_function(value.node)
    if function is not None:
        base, fn = function
        return Data(of_gaussian(base, lambda x: fn(x) + jnp.asarray(constant, x.dtype)), value.axes)
    return Data(added(value.node, times(Fixed(value.node.fin, ONES), constant)), value.axes)


ONES = Host(-1, ())


def plus_param(reading: Reading, step: Step, first: Data, second: Param, sign: float) -> Data:
    """An activation plus a bias."""
    aligned = align([first, second], reading.names)
    leaf = reading.leaves[second.leaf]
    if aligned.lacks(0) and is_random(first):
        raise Misfit(SHARED)
    has_channels = any(aligned.channels[1]) or is_random(first) and not aligned.lacks(1)
    if leaf.variance and not has_channels:
        raise Misfit(SHARED)
    node = aligned.node(0)
    if leaf.variance or leaf.rate:
        if aligned.lacks(1):
            raise Misfit(SHARED_TRAINED)
        weights = reading.used(step, _signed(aligned.values[1], sign), role_of(aligned.values[1], aligned))
        bias: Node = Bias(tuple(aligned.fin), weights, aligned.flags(1))
        node = added(node, bias)
    return shifted(reading, Data(node, aligned.joined_axes), sign * second.shift)


def _signed(param: Param, sign: float) -> Param:
    return dataclasses.replace(param, scale=sign * param.scale)


def role_of(param: Param, aligned: Any) -> dict[int, Any]:
    """What each axis of a parameter that acts entry by entry is used for."""
    role: dict[int, Any] = {}
    for i, axis in enumerate(param.axes):
        for atom, place in zip(axis, aligned.axes[i] if axis else (), strict=True):
            if atom.kind == "leaf":
                role[axis_of(atom)] = "channel" if place.kind == CHANNEL else "own"
    return role


def _param_sum(reading: Reading, step: Step, first: Param, second: Any, sign: float) -> Any:
    """A parameter plus numbers."""
    if isinstance(second, Known) and second.uniform is not None:
        return dataclasses.replace(first, shift=first.shift + sign * second.uniform)
    host = reading.host_of(second) if isinstance(second, Known) else second
    data = reading.as_data(host)
    data = data if sign == 1 else negative(data)
    return plus_param(reading, step, data, first, 1.0)


def as_data(reading: Reading, step: Step, operands: Sequence[Any]) -> Data:
    """A parameter as an activation that goes beside another one, whose axis `axis` is hidden."""
    param, other, axis = operands
    aligned = align([param, other], reading.names)
    leaf = reading.leaves[param.leaf]
    if aligned.lacks(0) and (leaf.variance or leaf.rate):
        raise Misfit(SHARED)
    own = sorted(aligned.own[0])
    value = aligned.values[0]
    weights = reading.used(step, value, role_of(value, aligned))
    keep = {place: i for i, place in enumerate(own)}
    axes = []
    for i, column in enumerate(aligned.axes):
        kept = []
        for place, mine in zip(column, value.axes[i] or (None,) * len(column), strict=True):
            if mine is None:
                continue
            kept.append(
                dataclasses.replace(place, key=keep[place.key]) if mine.kind == "leaf" and place.key in keep else place
            )
        axes.append(tuple(kept))
    fin = tuple(aligned.fin[place] for place in own)
    return shifted(reading, Data(Bias(fin, weights, (True,) * len(fin)), tuple(axes)), param.shift)


def select_n(reading: Reading, step: Step, operands: Sequence[Any]) -> Any:
    """`select_n`: by the sign of the same Gaussian, or by numbers that depend on inputs, such as a mask."""
    result = None if any(isinstance(v, Param) for v in operands) else fused(reading, step, operands)
    if result is not None:
        return result
    which, *cases = operands
    if not isinstance(which, Known | Host):
        raise Misfit(f"{NOT_ONE}. {MONTE_CARLO}")
    host = reading.host_of(which) if isinstance(which, Known) else which
    total: Any = None
    for i, case in enumerate(cases):
        if isinstance(case, Known) and case.uniform == 0:
            continue
        value = reading.as_data(reading.host_of(case)) if isinstance(case, Known) else case
        value = reading.as_data(value) if isinstance(value, Host) else value
        term = masked(reading, value, host, i)
        total = term if total is None else two(reading, total, term, 1.0)
    return total


def masked(reading: Reading, value: Any, host: Host, case: int) -> Data:
    """An activation where numbers that depend on inputs equal a number, and 0 elsewhere."""
    if not isinstance(value, Data):
        raise Misfit("a parameter is chosen by a condition")
    aligned = align([value, host], reading.names)
    if aligned.varying[1]:
        raise Misfit("a mask that differs between channels, so that these are not exchangeable")
    return Data(weighted(aligned, dataclasses.replace(aligned.host(1), case=case)), aligned.joined_axes)


def weighted(aligned: Any, host: Host) -> Node:
    """An activation times numbers that depend on inputs, entry by entry."""
    out = LETTERS[: len(aligned.fin)]
    numbers = "".join(LETTERS[i] for i in host.places)
    return Weighted(tuple(aligned.fin), aligned.values[0].node, host, (numbers, aligned.letters(0), out))
