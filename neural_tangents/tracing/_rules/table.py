"""Which rule each primitive has."""

from typing import Any

from neural_tangents.tracing._graph import Stopped
from neural_tangents.tracing._reading import Reading, Rules
from neural_tangents.tracing._rules import entrywise, hosts, multiply, pieces, rearrange, weights, windows
from neural_tangents.tracing._steps import LONGEST_LOOP, Step
from neural_tangents.tracing._values import Data


def power(reading: Reading, step: Step, operands: Any) -> Any:
    """`integer_pow`: a product with itself where the exponent is 2."""
    return (multiply.square if step.params["y"] == 2 else entrywise.entrywise)(reading, step, operands)


def plus(reading: Reading, step: Step, operands: Any) -> Any:
    """The sum of two activations that a step of another kind makes."""
    return entrywise.two(reading, operands[0], operands[1], 1.0)


def stop_gradient(reading: Reading, step: Step, operands: Any) -> Any:
    """`stop_gradient`."""
    (value,) = operands
    if isinstance(value, Data):
        return Data(Stopped(value.node.fin, value.node), value.axes)
    reading.fail(step, "gradients are stopped at parameters. Leave them out by `trainable=`", operands)


def loop(reading: Reading, step: Step, operands: Any) -> Any:
    """`scan` of more steps than are unrolled, and loops whose length is not known."""
    if step.name != "scan":
        what = f"`{step.name}` of activations, whose course may depend on them: its kernel is not known. Use `scan`"
    else:
        what = f"a loop of {step.params['length']} steps, more than the {LONGEST_LOOP} that are unrolled. Take a part"
    reading.fail(step, what, operands)


def other_derivative(reading: Reading, step: Step, operands: Any) -> Any:
    """A call whose derivative is not that of what it computes."""
    reading.fail(
        step,
        "a function of activations or parameters has a derivative of its own (`custom_jvp`, `custom_vjp`), which is "
        "not that of its values: its tangent kernel is not known",
    )


RULES = Rules(
    rules={
        **dict.fromkeys(entrywise.PRIMITIVES, entrywise.entrywise),
        "add": entrywise.add,
        "add_any": entrywise.add,
        "argmax": windows.no_maximum,
        "argmin": windows.no_maximum,
        "argsort": windows.no_maximum,
        "broadcast_in_dim": rearrange.broadcast_in_dim,
        "concatenate": rearrange.concatenate,
        "conv_general_dilated": windows.convolution,
        "cond": loop,
        "convert_element_type": entrywise.convert,
        "copy": rearrange.same,
        "custom_jvp_call": other_derivative,
        "custom_vjp_call": other_derivative,
        "custom_vjp_call_jaxpr": other_derivative,
        "cumsum": windows.cumulative_sum,
        "div": multiply.div,
        "dot_general": weights.dot_general,
        "dynamic_slice": rearrange.dynamic_slice,
        "gather": rearrange.gather,
        "integer_pow": power,
        "mul": multiply.mul,
        "neg": entrywise.neg,
        "optimization_barrier": rearrange.same,
        "pad": rearrange.pad,
        "reduce_max": windows.no_maximum,
        "reduce_min": windows.no_maximum,
        "reduce_precision": rearrange.same,
        "reduce_sum": multiply.reduce_sum,
        "reduce_window_max": windows.no_maximum,
        "reduce_window_sum": windows.window_sum,
        "reshape": rearrange.reshape,
        "rev": rearrange.rev,
        "scan": loop,
        "select_n": entrywise.select_n,
        "slice": rearrange.slice_,
        "sort": windows.no_maximum,
        "split": rearrange.split_axis,
        "square": multiply.square,
        "squeeze": rearrange.squeeze,
        "stop_gradient": stop_gradient,
        "sub": entrywise.add,
        "top_k": windows.no_maximum,
        "transpose": rearrange.transpose,
        "while": loop,
    },
    helpers={"as_data": entrywise.as_data, "embedding": weights.embedding, "plus": plus},
    host=hosts.host,
    parts=pieces.parts,
    unscaled=hosts.unscaled,
    root_width=entrywise.ROOT_WIDTH,
)
