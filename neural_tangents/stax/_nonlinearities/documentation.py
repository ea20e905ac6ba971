"""What the documentation of all public nonlinearities has in common, written once."""

import inspect
import re
from collections.abc import Callable
from typing import ParamSpec

from neural_tangents._core.layer import Layer
from neural_tangents.stax._build import public_layer
from neural_tangents.stax._spec import LayerSpec

P = ParamSpec("P")

_SYMBOLS = """\
Take one entry of the layer's inputs, for two inputs of the network (and two positions): `u` and `v`, Gaussian with zero
mean, with variances `q1`, `q2` and covariance `k`. Let `p = q1 q2`, `s = q1 + q2`, and `theta = acos(k / sqrt(p))` be
the angle between them. Then, unless said otherwise above, the kernel of the outputs is

    nngp' = K = E[f(u) f(v)],    ntk' = K' ntk,    K' = dK / dk = E[f'(u) f'(v)].

"""

_RETURNS = """\
Returns:
  A layer without parameters that keeps the shape of its inputs. Its outputs are not Gaussian: put a layer with random
  weights, such as `Dense`, before the next nonlinearity.

"""

_RAISES = """\
Raises:
  ValueError: in `kernel_fn`, inputs that are not Gaussian: those of the network, or outputs of another nonlinearity.
"""

_SERIES = """\
With the normalised Hermite polynomials `h_n` and `a_n(q) = E[f(u) h_n(u / sqrt(q))]`, by Mehler's formula

    K = sum_n a_n(q1) a_n(q2) rho^n,    rho = k / sqrt(p),

and `K'` is the same of `f'`. It is evaluated as in `Nonlinearity`, with relative errors below 1e-9 in double and
1e-6 in single precision, for variances up to 1000.

"""

_SERIES_SOURCE = """\
Source: Daniely et al., "Toward Deeper Understanding of Neural Networks", 2016, https://arxiv.org/abs/1602.05897,
lemma 11.
"""

# The sections that a docstring ends with, in their order.
_SECTIONS = re.compile(r"^(?=(?:Args|Raises|Warns|Example|Source):)", flags=re.MULTILINE)


def public_nonlinearity(factory: Callable[P, LayerSpec]) -> Callable[P, Layer]:
    """`public_layer` for a nonlinearity, with the symbols of its formula, `Returns` and `Raises` in its documentation.

    The docstring of `factory` holds what is particular to it: a sentence, the equation, then the sections `Args`,
    `Raises`, `Warns`, `Example` and `Source`, in this order and each only if there is something to say.
    """
    factory.__doc__ = complete(inspect.getdoc(factory) or "")
    return public_layer(factory)


def public_series(factory: Callable[P, LayerSpec]) -> Callable[P, Layer]:
    """`public_nonlinearity` for one that is evaluated by series: its docstring has no equation of its own."""
    head, *sections = _SECTIONS.split(inspect.getdoc(factory) or "")
    own = [section.rstrip() + "\n\n" for section in sections]
    factory.__doc__ = "".join([head.rstrip() + "\n\n", _SERIES, *own, _SERIES_SOURCE])
    return public_nonlinearity(factory)


def complete(docstring: str) -> str:
    """A nonlinearity's own documentation with what all have in common."""
    head, *sections = _SECTIONS.split(docstring)
    named = {section.partition(":")[0]: section.rstrip() + "\n" for section in sections}
    raises = _RAISES + named.pop("Raises", "").removeprefix("Raises:\n")
    args = [named.pop("Args") + "\n"] if "Args" in named else []
    rest = [raises, *named.values()]
    return "".join([head.rstrip() + "\n\n", _SYMBOLS, *args, _RETURNS, "\n".join(rest)])
