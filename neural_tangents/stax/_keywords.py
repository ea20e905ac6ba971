"""Which keyword arguments layers take, and warnings of those that none takes."""

import contextlib
import contextvars
import dataclasses
import difflib
import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

# From this length on, a name that is almost that of an argument is taken to be misspelt, even if a layer takes any.
_LONG_NAME = 6


@dataclasses.dataclass(frozen=True)
class Keywords:
    """The keyword arguments that a layer takes, or a network: those of all its layers.

    Attributes:
      names: their names.
      any: whether all others are taken too, as by functions with `**kwargs`.
    """

    names: frozenset[str] = frozenset()
    any: bool = False

    @classmethod
    def of(cls, *names: str) -> "Keywords":
        """These names only."""
        return cls(frozenset(names))

    @classmethod
    def of_function(cls, fn: Callable[..., Any], n_positional: int) -> "Keywords":
        """The keyword arguments of a function, after some positional arguments."""
        kinds = inspect.Parameter
        parameters = list(inspect.signature(fn).parameters.values())[n_positional:]
        named = (p.name for p in parameters if p.kind in (kinds.POSITIONAL_OR_KEYWORD, kinds.KEYWORD_ONLY))
        return cls(frozenset(named), any(p.kind is kinds.VAR_KEYWORD for p in parameters))

    def __or__(self, other: "Keywords") -> "Keywords":
        """What one of two layers takes."""
        return Keywords(self.names | other.names, self.any or other.any)

    def without(self, *names: str) -> "Keywords":
        """The same, but for some names."""
        return Keywords(self.names - frozenset(names), self.any)

    def pick(self, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Those of some keyword arguments that are taken."""
        return dict(kwargs) if self.any else {name: kwargs[name] for name in kwargs if name in self.names}


_inside: contextvars.ContextVar[bool] = contextvars.ContextVar("inside a network", default=False)


@contextlib.contextmanager
def inside_network() -> Iterator[None]:
    """Layers that call the functions of others pass on all keyword arguments: inside, `warn_of_unknown` is silent."""
    token = _inside.set(True)
    try:
        yield
    finally:
        _inside.reset(token)


def warn_of_unknown(function: str, given: Mapping[str, Any], taken: Keywords, own: frozenset[str]) -> None:
    """Warns of keyword arguments that nobody takes, and of misspelt ones.

    Args:
      function: the function, for the message.
      given: keyword arguments.
      taken: what the layers take.
      own: names of the arguments of the function itself.
    """
    if _inside.get():
        return
    known = own | taken.names
    unknown = sorted(given.keys() - known)
    if taken.any:
        unknown = [
            name for name in unknown if len(name) >= _LONG_NAME and difflib.get_close_matches(name, own, 1, 0.85)
        ]
    if not unknown:
        return
    closest = {name: difflib.get_close_matches(name, known, 1, 0.75) for name in unknown}
    advice = "".join(f" Did you mean {close[0]!r} by {name!r}?" for name, close in closest.items() if close)
    which = "nobody takes by name" if taken.any else "nobody takes"
    warnings.warn(
        f"{function} got keyword arguments that {which}: {unknown}.{advice} Known are {sorted(known)}.",
        UserWarning,
        stacklevel=3,
    )
