"""What a kernel function says about itself, so that its kernels can be computed in tiles."""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


@dataclasses.dataclass(frozen=True)
class OutputPairs:
    """Which axes of an array belong to outputs for `x1` and for `x2`, besides those of both batches.

    Attributes:
      pairs: pairs of axes, the first for `x1` and the second for `x2`; None if it is not known.
    """

    pairs: tuple[tuple[int, int], ...] | None

    @classmethod
    def adjacent(cls, ndim: int) -> "OutputPairs":
        """Those of an array all of whose axes come in adjacent pairs."""
        return cls(tuple((axis, axis + 1) for axis in range(2, ndim - 1, 2)))


@dataclasses.dataclass(frozen=True)
class KernelTraits:
    """What cannot be seen from the results of a kernel function.

    Attributes:
      output_pairs: `(results, args, kwargs) -> tree of OutputPairs`, for the results of a call `(*args, **kwargs)`.
        None if it is not known; then no kernel with axes of outputs is taken to be symmetric.
      takes_eps: whether there is a keyword `eps`, the distance below which inputs count as the same.
      mixes_inputs: whether the kernel of two inputs depends on the other inputs of their batches.
      has_single_batches: whether results may have an axis of one batch only, which depend on that batch alone.
      keys_of_batches: whether the keyword `rng` may be a pair of random keys, one for each batch.
      name: what its result is called if it is a single array, such as "ntk"; "" if that follows from `get`.
      with_tiles: `settings -> kernel function`, for functions that cut batches into tiles by themselves.
    """

    output_pairs: Callable[[Any, tuple[Any, ...], dict[str, Any]], Any] | None = None
    takes_eps: bool = False
    mixes_inputs: bool = False
    has_single_batches: bool = False
    keys_of_batches: bool = False
    name: str = ""
    with_tiles: Callable[[Any], Callable[..., Any]] | None = None


def traits_of(kernel_fn: Any) -> KernelTraits:
    """The traits of a kernel function, also if it is wrapped by `jax.jit`.

    `functools.wraps` hands them on to functions of users, which may do anything to results: of these, only what is
    about arguments is believed.
    """
    traits = getattr(kernel_fn, "kernel_traits", None)
    if not isinstance(traits, KernelTraits):
        return KernelTraits()
    origin = kernel_fn
    while not inspect.isfunction(origin) and hasattr(origin, "__wrapped__"):
        origin = origin.__wrapped__
    if hasattr(origin, "__wrapped__"):
        traits = KernelTraits(
            takes_eps=traits.takes_eps, mixes_inputs=traits.mixes_inputs, keys_of_batches=traits.keys_of_batches
        )
    if traits.takes_eps and not _accepts(kernel_fn, "eps"):
        return dataclasses.replace(traits, takes_eps=False)
    return traits


def with_traits(traits: KernelTraits) -> Callable[[F], F]:
    """Decorates a kernel function: says something about it."""

    def attach(kernel_fn: Any) -> Any:
        kernel_fn.kernel_traits = traits
        return kernel_fn

    return attach


def bound_arguments(kernel_fn: Any) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """The function in a `functools.partial` (or several), and the arguments that are fixed."""
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    while isinstance(kernel_fn, functools.partial):
        args, kwargs = kernel_fn.args + args, {**kernel_fn.keywords, **kwargs}
        kernel_fn = kernel_fn.func
    return kernel_fn, args, kwargs


def _accepts(fn: Any, keyword: str) -> bool:
    try:
        # What `functools.wraps` says of a wrapper's arguments need not be so; what `jax.jit` says is.
        parameters = inspect.signature(fn, follow_wrapped=not inspect.isfunction(fn)).parameters.values()
    except (TypeError, ValueError):  # there is no signature to be read
        return False
    return any(p.name == keyword or p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters)
