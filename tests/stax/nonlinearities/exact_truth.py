"""Expectations over pairs of Gaussians by mpmath, to any number of digits: the truth for nested quadrature."""

from collections.abc import Callable, Sequence
from typing import Any

import mpmath as mp

SELU = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717


def _logistic(x: Any) -> Any:
    return 1 / (1 + mp.exp(-x))


def _softplus(x: Any) -> Any:
    return mp.log1p(mp.exp(x))


# The public nonlinearities without a closed form, by their names in `dual_cases.SERIES`.
FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "tanh": mp.tanh,
    "logistic": _logistic,
    "silu": lambda x: x * _logistic(x),
    "softplus": _softplus,
    "mish": lambda x: x * mp.tanh(_softplus(x)),
    "softsign": lambda x: x / (1 + abs(x)),
    "log cosh": lambda x: mp.log(mp.cosh(x)),
    "selu": lambda x: SELU[0] * (x if x > 0 else SELU[1] * mp.expm1(x)),
    "elu": lambda x: x if x > 0 else mp.mpf(0.8) * mp.expm1(x),
    "squareplus": lambda x: (x + mp.sqrt(x * x + 4)) / 2,
    "hard tanh": lambda x: min(max(x, -1), 1),
    "relu 6": lambda x: min(max(x, 0), 6),
}


def moment(f: Callable[[Any], Any], kinks: Sequence[float], q1: float, q2: float, rho: float, digits: int = 15) -> Any:
    """`E[f(u) f(v)]` for variances `q1`, `q2` and a correlation other than -1, 0 and 1."""
    with mp.workdps(digits + 5):
        s1, s2, rho = mp.sqrt(q1), mp.sqrt(q2), mp.mpf(rho)
        s = mp.sqrt(1 - rho**2)

        def cuts(places: Sequence[Any]) -> list[Any]:
            near = [place + step for place in places for step in (-2, -0.25, -1 / 64, 0, 1 / 64, 0.25, 2)]
            return sorted({mp.mpf(x) for x in (-9, -6, -3, 0, 3, 6, 9, *near) if abs(x) <= 9})

        def integral(g: Callable[[Any], Any], places: Sequence[Any]) -> Any:
            return mp.quad(lambda z: mp.npdf(z) * g(z), cuts(places), maxdegree=4, method="gauss-legendre")

        def inner(z: Any) -> Any:
            return integral(lambda w: f(s2 * (rho * z + s * w)), [(t / s2 - rho * z) / s for t in kinks])

        places = [t / s1 for t in kinks] + [t / (s2 * rho) for t in kinks]
        return integral(lambda z: f(s1 * z) * inner(z), places)
