"""The parts of jax that are not promised to be stable, or that differ between its releases."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax import lax
from jax.interpreters import batching, mlir


def is_literal(atom: Any) -> bool:
    """Whether an operand of an equation of a jaxpr is a literal number, not a variable."""
    return hasattr(atom, "val")


def opened(jaxpr: Any) -> tuple[Any, Sequence[Any]]:
    """The jaxpr inside a closed one, and its constants; in some releases, and for some primitives, it is not closed."""
    return (jaxpr.jaxpr, jaxpr.consts) if hasattr(jaxpr, "consts") else (jaxpr, ())


def bind(jaxpr: Any, eqn: Any, operands: Sequence[Any]) -> list[Any]:
    """The results of one equation of a jaxpr for given operands, with the derivatives that its primitive defines."""
    variables = {}
    for atom, operand in zip(eqn.invars, operands, strict=True):
        if not is_literal(atom):
            variables[atom] = operand
    alone = jaxpr.replace(constvars=[], invars=list(variables), outvars=eqn.outvars, eqns=[eqn])
    return jax.core.eval_jaxpr(alone, (), *variables.values())


def varying_axes(x: Any) -> frozenset[str]:
    """The axes of a mesh that a value varies along inside `jax.shard_map`, as its default check knows them."""
    aval: Any = jax.typeof(x) if isinstance(x, jax.core.Tracer) else x
    axes = getattr(aval, "vma", None) or getattr(getattr(aval, "manual_axis_type", None), "varying", None)
    return frozenset(axes or ())


def cast_to_varying(x: Any, axes: Sequence[str]) -> Any:
    """A value that is equal along some axes of a mesh, as one that may vary along them."""
    if hasattr(lax, "pcast"):
        return lax.pcast(x, axes, to="varying")
    old: Any = lax
    return old.pvary(x, axes)


def apply_primitive(eqn: Any, operands: Sequence[Any]) -> list[Any]:
    """The results of the primitive of an equation, one without functions, for operands of other shapes and types."""
    results = eqn.primitive.bind(*operands, **eqn.params)
    return list(results) if eqn.primitive.multiple_results else [results]


def user_line(eqn: Any) -> str:
    """`file:line` of the innermost frame that made an equation, outside of packages, or else outside of jax."""
    traceback = getattr(eqn.source_info, "traceback", None)
    frames = traceback.frames if traceback is not None else []
    frames = [frame for frame in frames if "/neural_tangents/tracing/" not in frame.file_name]
    for skipped in ("site-packages", "site-packages/jax", "jax/_src"):
        for frame in frames:
            if skipped not in frame.file_name:
                return f"{frame.file_name}:{frame.line_num}"
    return ""


def new_primitive(name: str, lowered: Callable[..., Any], batched: Callable[..., Any]) -> Any:
    """A primitive with rules for programs and `vmap`; its parameter `results` has shapes and types of its results."""
    primitive = type(lax.add_p)(name)  # `jax.extend.core.Primitive`, without importing all of `jax.extend`
    primitive.multiple_results = True
    primitive.def_abstract_eval(lambda *_, results, **__: [jax.core.ShapedArray(x.shape, x.dtype) for x in results])
    mlir.register_lowering(primitive, lowered, cacheable=False)
    batching.primitive_batchers[primitive] = batched
    return primitive


def lowered_function(function: Callable[..., Sequence[Any]], ctx: Any, operands: Sequence[Any]) -> Any:
    """In a rule for programs: what a function makes of the operands."""
    return mlir.lower_fun(function, multiple_results=True)(ctx, *operands)


def lowered_host_call(function: Callable[..., Sequence[Any]], ctx: Any, operands: Sequence[Any]) -> Any:
    """In a rule for programs: what a function makes of the operands as NumPy arrays, while the program runs."""
    shapes = ctx.avals_in, ctx.avals_out
    return mlir.emit_python_callback(ctx, function, None, list(operands), *shapes, has_side_effect=False)[0]


def is_for_this_cpu(ctx: Any) -> bool:
    """In a rule for programs: whether the program will run in this process and on CPUs only."""
    module = ctx.module_context
    exported = getattr(getattr(module, "lowering_parameters", None), "for_export", True)
    return tuple(module.platforms) == ("cpu",) and not exported
