"""The direct back end: covariances and tangent kernels of pairs of nodes, each computed once."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from neural_tangents.tracing._axes_of_pairs import HIGHEST, contracted, contracted_product, mapped, same_positions
from neural_tangents.tracing._errors import LiftError
from neural_tangents.tracing._graph import (
    MAPS,
    Bias,
    Embedding,
    Fixed,
    Host,
    Linear,
    Node,
    Phi,
    Product,
    Scale,
    ScaleDerivative,
    Stopped,
    Sum,
    independent,
    is_gaussian,
    line_of,
    scales,
    walk,
)
from neural_tangents.tracing._moments import moments, size_of
from neural_tangents.tracing._scales import derivative

LARGEST = 2**33  # bytes of one covariance

Hosts = Callable[[Host], Array]


class Pairs:
    """Moments of nodes for two batches; `own` ones are of pairs of one input with itself, `[N, *fin_a, *fin_b]`.

    Arrays that are zero whatever the inputs are None.

    Args:
      hosts: for each batch, its numbers that depend on inputs alone; the same object twice for one batch.
      sizes: of both batches.
      dtype: of results.
    """

    def __init__(self, hosts: Sequence[Hosts], sizes: Sequence[int], dtype: Any) -> None:
        self.hosts, self.sizes, self.dtype = hosts, sizes, dtype
        self.same = hosts[0] is hosts[1]
        self.memo: dict[Any, Any] = {}

    def prepare(self, outputs: Sequence[Node], with_ntk: bool) -> None:
        """Computes what later calls need in the order of the graph, so that these are not deep recursions."""
        for node in walk(outputs):
            if isinstance(node, Linear):
                self.second(node, node)
                if with_ntk:
                    self.tangent(node, node)

    def check_size(self, a: Node, b: Node, lead: Sequence[int]) -> None:
        """Raises a `MemoryError` if a covariance is too large."""
        size = jnp.dtype(self.dtype).itemsize
        for n in (*lead, *a.fin, *b.fin):
            size *= n
        if size > LARGEST:
            raise MemoryError(
                f"A covariance of all pairs of {lead} inputs at {a.fin} and {b.fin} positions takes {size / 2**30:.0f} "
                "GiB, more than is allowed. Compute the kernel in smaller batches, by `nt.batch`, or of smaller inputs."
            )

    def second(self, a: Node, b: Node, sides: tuple[int, int] = (0, 1), own: bool = False) -> Any:
        """`E[a b]` of equal channels, `[N1, N2, *a.fin, *b.fin]`, or None."""
        sides = (0, 0) if self.same else sides
        key = ("second", a, b, sides, own)
        if key not in self.memo:
            turned = ("second", b, a, sides[::-1], own)
            lead = 1 if own else 2
            if turned in self.memo:
                self.memo[key] = _turned(self.memo[turned], lead, len(b.fin))
            else:
                self.check_size(a, b, [self.sizes[sides[0]]] if own else [self.sizes[i] for i in sides])
                self.memo[key] = self._linear(self.second, self._second, a, b, sides, own)
        return self.memo[key]

    def tangent(self, a: Node, b: Node, sides: tuple[int, int] = (0, 1), own: bool = False) -> Any:
        """The sum over parameters of rate times `E[da db]`, of the shape of `second`, or None."""
        sides = (0, 0) if self.same else sides
        key = ("tangent", a, b, sides, own)
        if key not in self.memo:
            self.memo[key] = self._linear(self.tangent, self._tangent, a, b, sides, own)
        return self.memo[key]

    def mean(self, a: Node, side: int = 0) -> Any:
        """`E[a]`, `[N, *a.fin]`, or None."""
        key = ("mean", a, 0 if self.same else side)
        if key not in self.memo:
            self.memo[key] = self._mean(a, key[2])
        return self.memo[key]

    def variance(self, a: Node, side: int) -> Array:
        """`E[a^2]`, `[N, *a.fin]`."""
        q = self.second(a, a, (side, side), own=True)
        if q is None:
            return jnp.zeros((self.sizes[side], *a.fin), self.dtype)
        return q if not a.fin else jax.vmap(jnp.diagonal)(q.reshape(len(q), size_of(a), size_of(a))).reshape(-1, *a.fin)

    def _linear(self, this: Any, rest: Any, a: Node, b: Node, sides: tuple[int, int], own: bool) -> Any:
        """Takes maps and sums off, first on the left, then on the right."""
        lead = 1 if own else 2
        if isinstance(a, MAPS):
            array = this(a.child, b, sides, own)
            return None if array is None else mapped(a, array, lead, 0, self.hosts[sides[0]])
        if isinstance(b, MAPS):
            array = this(a, b.child, sides, own)
            batch = 0 if own else 1
            return None if array is None else mapped(b, array, lead + len(a.fin), batch, self.hosts[sides[1]])
        if isinstance(a, Stopped) or isinstance(b, Stopped):
            if this == self.tangent:
                return None
            first, second = (node.child if isinstance(node, Stopped) else node for node in (a, b))
            return self.second(first, second, sides, own)
        if isinstance(a, Sum):
            return _added([this(term, b, sides, own) for term in a.terms])
        if isinstance(b, Sum):
            return _added([this(a, term, sides, own) for term in b.terms])
        if isinstance(a, Scale) and isinstance(b, Scale) and a.weights.place == b.weights.place:
            array = this(a.child, b.child, sides, own)
            if array is None:
                return None
            shared = same_positions(a.own, b.own, a.fin, b.fin, lead, array.dtype)
            return array * (a.mean * b.mean + a.weights.variance * shared)
        for node, other, left in ((a, b, True), (b, a, False)):
            if isinstance(node, Scale):
                pair = (node.child, other) if left else (other, node.child)
                array = None if not node.mean else this(*pair, sides, own)
                return None if array is None else array * node.mean
        return rest(a, b, sides, own)

    def _outer(self, x: Any, y: Any, a: Node, b: Node, own: bool) -> Any:
        if x is None or y is None:
            return None
        x = x.reshape(*x.shape[:1], *(() if own else (1,)), *a.fin, *(1,) * len(b.fin))
        y = y.reshape(*(() if own else (1,)), *y.shape[:1], *(1,) * len(a.fin), *b.fin)
        return x * y

    def _second(self, a: Node, b: Node, sides: tuple[int, int], own: bool) -> Any:
        lead = 1 if own else 2
        if isinstance(a, Fixed) and isinstance(b, Fixed) and a.host.channels and b.host.channels:
            x, y = (self.hosts[i](node.host) for node, i in zip((a, b), sides, strict=True))
            total = jnp.stack([self._outer(x[..., c], y[..., c], a, b, own) for c in range(x.shape[-1])])
            return total.mean(0).astype(self.dtype)
        if independent(a, b):
            return self._outer(self.mean(a, sides[0]), self.mean(b, sides[1]), a, b, own)
        if isinstance(a, Linear) and isinstance(b, Linear):
            array = self._products(a, b, sides, own)
            return None if array is None else a.weights.variance * a.width * array
        if isinstance(a, Bias) and isinstance(b, Bias) or isinstance(a, Embedding) and isinstance(b, Embedding):
            return None if not a.weights.variance else a.weights.variance * self._shared(a, b, sides, own)
        if isinstance(a, ScaleDerivative) and isinstance(b, ScaleDerivative):
            array = self.second(a.child, b.child, sides, own)
            shared = same_positions(a.own, b.own, a.fin, b.fin, lead, self.dtype)
            return None if array is None else array * shared
        if isinstance(a, Phi) and isinstance(b, Phi):
            return self._phi(a, b, sides, own)[0]
        if isinstance(a, Product) or isinstance(b, Product):
            return self._product(a, b, sides, own)[0]
        phi, gaussian, left = (a, b, True) if isinstance(a, Phi) else (b, a, False)
        if isinstance(phi, Phi) and is_gaussian(gaussian):  # Stein's lemma
            array = self.second(*((phi.child, gaussian) if left else (gaussian, phi.child)), sides, own)
            return self._sloped(array, phi, gaussian, left, sides, own)
        raise _mixed(a, b)

    def _products(self, a: Linear, b: Linear, sides: tuple[int, int], own: bool) -> Any:
        """The sum of `E[a b]` of what is multiplied by the same weights, over these."""
        key = ("products", a, b, sides, own)
        if key not in self.memo:
            if independent(a.child, b.child) and not (_varies(a.child) and _varies(b.child)):
                x, y = self.mean(a.child, sides[0]), self.mean(b.child, sides[1])
                missing = x is None or y is None
                self.memo[key] = None if missing else contracted_product(a.axes, b.axes, x, y, own)
            else:
                array = self.second(a.child, b.child, sides, own)
                lead = 1 if own else 2
                self.memo[key] = None if array is None else contracted(a.axes, b.axes, array, lead)
        return self.memo[key]

    def _sloped(self, array: Any, phi: Phi, other: Node, left: bool, sides: tuple[int, int], own: bool) -> Any:
        """An array times the mean slope of a nonlinearity on one side."""
        if array is None:
            return None
        side = sides[0 if left else 1]
        means = phi.activation.slope.mean(self.variance(phi.child, side))
        ones = jnp.ones((1, *(1,) * len(other.fin)), self.dtype)
        one = Node((1,) * len(other.fin))
        return array * (self._outer(means, ones, phi, one, own) if left else self._outer(ones, means, one, phi, own))

    def _tangent(self, a: Node, b: Node, sides: tuple[int, int], own: bool) -> Any:
        if independent(a, b):
            return None
        if isinstance(a, Linear) and isinstance(b, Linear):
            scaled = self._by_scales(a.child, b.child, sides, own) if a.channels else None
            inner = _added([self.tangent(a.child, b.child, sides, own), scaled])
            lead, terms = 1 if own else 2, []
            if inner is not None and a.weights.variance:
                terms.append(a.weights.variance * a.width * contracted(a.axes, b.axes, inner, lead))
            array = self._products(a, b, sides, own) if a.weights.rate else None
            if array is not None:
                terms.append(a.weights.rate * a.width * array)
            return _added(terms)
        if isinstance(a, Bias) and isinstance(b, Bias) or isinstance(a, Embedding) and isinstance(b, Embedding):
            return None if not a.weights.rate else a.weights.rate * self._shared(a, b, sides, own)
        if isinstance(a, Product) or isinstance(b, Product):
            return self._product(a, b, sides, own, tangent=True)[1]
        if isinstance(a, Phi) and isinstance(b, Phi):
            array = self.tangent(a.child, b.child, sides, own)
            return None if array is None else array * self._phi(a, b, sides, own)[1]
        phi, gaussian, left = (a, b, True) if isinstance(a, Phi) else (b, a, False)
        if isinstance(phi, Phi) and is_gaussian(gaussian):
            array = self.tangent(*((phi.child, gaussian) if left else (gaussian, phi.child)), sides, own)
            return self._sloped(array, phi, gaussian, left, sides, own)
        raise _mixed(a, b)

    def _by_scales(self, a: Node, b: Node, sides: tuple[int, int], own: bool) -> Any:
        """What trained scales of the same channels add to the tangent kernel, in the mean over channels."""
        of_b = {scale.weights.place for scale in scales(b)}
        rates = {s.weights.place: s.weights.rate for s in scales(a) if s.weights.place in of_b}
        terms = []
        for place, rate in rates.items():
            da, db = derivative(a, place), derivative(b, place)
            array = None if da is None or db is None else self.second(da, db, sides, own)
            terms.append(None if array is None else rate * array)
        return _added(terms)

    def _shared(self, a: Any, b: Any, sides: tuple[int, int], own: bool) -> Array:
        """Ones where two entries are the same entry of a parameter."""
        lead = 1 if own else 2
        shared = same_positions(a.own, b.own, a.fin, b.fin, lead, self.dtype)
        if isinstance(a, Bias):
            sizes = [self.sizes[sides[0]]] if own else [self.sizes[i] for i in sides]
            return jnp.broadcast_to(shared, (*sizes, *a.fin, *b.fin))
        x, y = (self.hosts[i](node.index) for node, i in zip((a, b), sides, strict=True))
        x, y = (jnp.broadcast_to(i, (len(i), *node.fin)) for i, node in ((x, a), (y, b)))
        x = x.reshape(len(x), *(() if own else (1,)), *a.fin, *(1,) * len(b.fin))
        y = y.reshape(*(() if own else (1,)), len(y), *(1,) * len(a.fin), *b.fin)
        return (x == y) * shared

    def _mean(self, a: Node, side: int) -> Any:
        if isinstance(a, MAPS):
            below = self.mean(a.child, side)
            return None if below is None else mapped(a, below, 1, 0, self.hosts[side])
        if isinstance(a, Stopped):
            return self.mean(a.child, side)
        if isinstance(a, Sum):
            return _added([self.mean(term, side) for term in a.terms])
        if isinstance(a, Fixed):
            host = self.hosts[side](a.host).astype(self.dtype)
            host = host.mean(-1) if a.host.channels else host
            return jnp.broadcast_to(host, (len(host), *a.fin))
        if isinstance(a, Scale):
            below = self.mean(a.child, side) if a.mean else None
            return None if below is None else a.mean * below
        if isinstance(a, Phi):
            return a.activation.mean(self.variance(a.child, side))
        if isinstance(a, Product):
            first, second, out = a.spec
            if independent(a.first, a.second):
                x, y = self.mean(a.first, side), self.mean(a.second, side)
                return None if x is None or y is None else a.width * _einsum(f"Z{first},Z{second}->Z{out}", x, y)
            array = self.second(a.first, a.second, (side, side), own=True)
            return None if array is None else a.width * _einsum(f"Z{first}{second}->Z{out}", array)
        return None

    def _phi(self, a: Phi, b: Phi, sides: tuple[int, int], own: bool) -> tuple[Array, Array]:
        """`E[f(u) g(v)]` and `E[f'(u) g'(v)]`."""
        key = ("phi", a, b, sides, own)
        if key not in self.memo:
            k = self.second(a.child, b.child, sides, own)
            q1, q2 = self.variance(a.child, sides[0]), self.variance(b.child, sides[1])
            if k is None:
                k = jnp.zeros((*q1.shape[:1], *(() if own else q2.shape[:1]), *a.fin, *b.fin), self.dtype)
            one = a is b and sides[0] == sides[1]
            self.memo[key] = moments(a, b, k, q1, q2, one, own)
        return self.memo[key]

    def _product(self, a: Node, b: Node, sides: tuple[int, int], own: bool, tangent: bool = False) -> tuple[Any, Any]:
        """Second moments and tangents of products of independent factors."""
        if not isinstance(a, Product) or not isinstance(b, Product):
            product, other, left = (a, b, True) if isinstance(a, Product) else (b, a, False)
            assert isinstance(product, Product)
            return self._one_product(product, other, left, sides, own, tangent)
        if not independent(a.first, a.second) or not independent(b.first, b.second):
            raise _dependent(a if not independent(a.first, a.second) else b)
        factors = (b.first, b.second)
        spec = b.spec
        if not (independent(a.first, b.second) and independent(a.second, b.first)):
            factors, spec = factors[::-1], (spec[1], spec[0], spec[2])
            if not (independent(a.first, factors[1]) and independent(a.second, factors[0])):
                raise _dependent(a)
        lead = "Z" if own else "YZ"
        names = {letter: chr(ord(letter) - 32) for letter in "abcdefghijklmnopqrstuvw"}
        (f, s, o), (f2, s2, o2) = a.spec, ("".join(names[c] for c in part) for part in spec)
        text = f"{lead}{f}{f2},{lead}{s}{s2}->{lead}{o}{o2}"

        def joint(x: Any, y: Any) -> Any:
            return None if x is None or y is None else max(a.width, 1) * _einsum(text, x, y)

        x = self.second(a.first, factors[0], sides, own)
        y = self.second(a.second, factors[1], sides, own)
        if not tangent:
            return joint(x, y), None
        dx = self.tangent(a.first, factors[0], sides, own)
        dy = self.tangent(a.second, factors[1], sides, own)
        return None, _added([joint(dx, y), joint(x, dy)])

    def _one_product(
        self, product: Product, other: Node, left: bool, sides: tuple[int, int], own: bool, tangent: bool
    ) -> Any:
        """Those of a product and something that shares parameters with one factor only."""
        if not independent(product.first, product.second):
            raise _dependent(product)
        first_is_free = independent(product.first, other)
        if not first_is_free and not independent(product.second, other):
            raise _dependent(product)
        free, bound = (product.first, product.second) if first_is_free else (product.second, product.first)
        specs = product.spec[:2] if first_is_free else product.spec[1::-1]
        mean = self.mean(free, sides[0 if left else 1])
        this = self.tangent if tangent else self.second
        array = this(*((bound, other) if left else (other, bound)), sides, own)
        if mean is None or array is None:
            return None, None
        rest = "ABCDEFGHIJKLMNOP"[: len(other.fin)]
        lead = "Z" if own else "YZ"
        batch = lead[0] if left else lead[-1]
        x, y = (
            (f"{specs[1]}{rest}", f"{product.spec[2]}{rest}")
            if left
            else (f"{rest}{specs[1]}", f"{rest}{product.spec[2]}")
        )
        result = product.width * _einsum(f"{batch}{specs[0]},{lead}{x}->{lead}{y}", mean, array)
        return (None, result) if tangent else (result, None)


def _varies(node: Node) -> bool:
    """Whether it may hold numbers that differ between channels."""
    return any(isinstance(part, Fixed) and part.host.channels for part in walk([node]))


def _einsum(spec: str, *arrays: Array) -> Array:
    return jnp.einsum(spec, *arrays, precision=HIGHEST)


def _added(terms: Sequence[Any]) -> Any:
    present = [term for term in terms if term is not None]
    return sum(present[1:], present[0]) if present else None


def _turned(array: Any, lead: int, n_first: int) -> Any:
    if array is None:
        return None
    axes = list(range(array.ndim))
    batches = axes[:lead][::-1]
    return array.transpose(*batches, *axes[lead + n_first :], *axes[lead : lead + n_first])


def _mixed(a: Node, b: Node) -> LiftError:
    names = " and ".join(type(x).__name__ for x in (a, b))
    return LiftError(f"The covariance of {names} that share weights is not known.{line_of(a, b)}")


def _dependent(product: Node) -> LiftError:
    return LiftError(
        "A product of activations that share weights has no Gaussian limit that is known; each factor needs weights of "
        f"its own.{line_of(product)}"
    )
