"""Kernels of infinite networks, estimated by averages over finite ones."""

import dataclasses
import functools
import inspect
import numbers
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, overload

import jax
import jax.numpy as jnp
import numpy as np

from neural_tangents._core.compiled import compiled
from neural_tangents._core.selection import canonical_get, check_names, result_type
from neural_tangents._core.tiling.call_form import filled_second
from neural_tangents._core.tiling.evaluation import TiledKernelFn
from neural_tangents._core.tiling.grid import TileSettings
from neural_tangents._core.tiling.traits import KernelTraits, with_traits
from neural_tangents._core.types import Axes, Get, PyTree
from neural_tangents.empirical._batches import check_samples
from neural_tangents.empirical._checks import check_function, noted
from neural_tangents.empirical._implementation import NtkImplementation
from neural_tangents.empirical._nngp_and_ntk import empirical_kernel_fn
from neural_tangents.empirical._samples import VMapAxes
from neural_tangents.empirical._signatures import EstimatedKernels, SeveralEstimates

_NAMES = ("nngp", "ntk")


class Estimate(NamedTuple):
    """A Monte Carlo estimate.

    Attributes:
      mean: the average over draws.
      standard_error: its standard deviation, `sqrt(sample variance / number of draws)`; infinite for one draw.
    """

    mean: Any
    standard_error: Any


@overload
def monte_carlo_kernel_fn(
    init_fn: Callable[..., PyTree],
    apply_fn: Callable[..., PyTree],
    key: jax.Array,
    n_samples: int,
    batch_size: int = ...,
    device_count: int = ...,
    store_on_device: bool = ...,
    trace_axes: Axes = ...,
    diagonal_axes: Axes = ...,
    vmap_axes: VMapAxes = ...,
    implementation: NtkImplementation | int = ...,
    _j_rules: bool = ...,
    _s_rules: bool = ...,
    _fwd: bool | None = ...,
) -> EstimatedKernels: ...


@overload
def monte_carlo_kernel_fn(
    init_fn: Callable[..., PyTree],
    apply_fn: Callable[..., PyTree],
    key: jax.Array,
    n_samples: int | Iterable[int],
    batch_size: int = ...,
    device_count: int = ...,
    store_on_device: bool = ...,
    trace_axes: Axes = ...,
    diagonal_axes: Axes = ...,
    vmap_axes: VMapAxes = ...,
    implementation: NtkImplementation | int = ...,
    _j_rules: bool = ...,
    _s_rules: bool = ...,
    _fwd: bool | None = ...,
    *,
    standard_error: bool = ...,
) -> SeveralEstimates: ...


def monte_carlo_kernel_fn(
    init_fn: Callable[..., PyTree],
    apply_fn: Callable[..., PyTree],
    key: jax.Array,
    n_samples: int | Iterable[int],
    batch_size: int = 0,
    device_count: int = -1,
    store_on_device: bool = True,
    trace_axes: Axes = (-1,),
    diagonal_axes: Axes = (),
    vmap_axes: VMapAxes = None,
    implementation: NtkImplementation | int = NtkImplementation.AUTO,
    _j_rules: bool = True,
    _s_rules: bool = True,
    _fwd: bool | None = None,
    *,
    standard_error: bool = False,
) -> Any:
    """Estimates the kernels of an infinite network by averages over draws of a wide finite one.

    `K(x1, x2) ≈ (1 / n) sum_{i=1}^{n} K_i(x1, x2)`, with `K_i` the empirical kernel for the `i`-th draw of parameters.

    Args:
      init_fn: draws parameters, `(rng, input_shape) -> (output_shape, params)`.
      apply_fn: the network, `(params, inputs, rng=..., **keywords) -> outputs`; if it takes no `rng`, it gets none.
      key: random key. Each call of the result starts from it again.
      n_samples: number of draws; or several numbers, for a generator of the averages over that many draws.
      batch_size: if positive, the largest number of inputs of either batch to compute kernels of at a time, along their
        first axis, which has to be the first of the outputs too. 0 for all at once.
      device_count: number of local devices that compute tiles side by side; -1 for all, 0 for one.
      store_on_device: whether kernels are kept on the device; otherwise in the memory of the host.
      trace_axes: axes of the outputs that both kernels are averaged over.
      diagonal_axes: axes of the outputs along which only equal entries are paired.
      vmap_axes: axes along which `apply_fn` acts on each sample alone, which makes the NTK cheaper; see
        `empirical_ntk_fn`.
      implementation: the algorithm for the NTK, a `NtkImplementation` or its number.
      _j_rules: has no effect; accepted for programs written for the archived library.
      _s_rules: has no effect, like `_j_rules`.
      _fwd: has no effect, like `_j_rules`.
      standard_error: whether to return an `Estimate` with the standard error in place of each array.

    Returns:
      `kernel_fn(x1, x2, get=None, **apply_fn_kwargs)`; see its own documentation, `help(kernel_fn)`. The axes of its
      kernels are those of `empirical_ntk_fn`.

    Raises:
      KeyError: there is no such implementation.
      TypeError: `init_fn` or `apply_fn` is not a function, `key` is not a random key, `n_samples` is neither an integer
        nor iterable, or `batch_size` or `device_count` is not an integer.
      ValueError: a number of draws is not positive or not an integer, or there are none; `batch_size` or `device_count`
        is out of range.

    Source: Novak et al., "Bayesian Deep Convolutional Networks with Many Channels are Gaussian Processes", 2019,
    https://arxiv.org/abs/1810.05148.
    """
    usage = "monte_carlo_kernel_fn(init_fn, apply_fn, key, n_samples)"
    check_function(init_fn, usage, "init_fn", "init_fn")
    check_function(apply_fn, usage, "apply_fn")
    _check_key(key, usage)
    counts = _counts(n_samples)
    exact = empirical_kernel_fn(apply_fn, trace_axes, diagonal_axes, vmap_axes, implementation)
    draw = compiled(functools.partial(_parameters, init_fn))

    checked: set[Any] = set()

    def check(x1: PyTree, params: PyTree, keywords: Mapping[str, Any]) -> None:
        check_samples(apply_fn, x1, params, keywords, vmap_axes, checked)

    def with_tiles(settings: TileSettings) -> EstimatedKernels:
        network = RandomNetwork(draw, TiledKernelFn(exact, settings), _takes_rng(apply_fn), check)
        return _estimator(network, key, counts, standard_error, with_tiles)

    del _j_rules, _s_rules, _fwd
    return with_tiles(TileSettings(batch_size, device_count, store_on_device))


def _estimator(
    network: "RandomNetwork",
    key: jax.Array,
    counts: int | tuple[int, ...],
    standard_error: bool,
    with_tiles: Callable[[TileSettings], EstimatedKernels],
) -> EstimatedKernels:
    """The function that averages the kernels of a random network over draws."""

    def averages(x1: PyTree, x2: PyTree, get: Get, kwargs: Mapping[str, Any]) -> Iterator[Any]:
        average, rest = Average(), key
        for count in counts if isinstance(counts, tuple) else (counts,):
            while average.count < count:
                rest, this = jax.random.split(rest)
                average.add(network.kernels(this, x1, x2, canonical_get(get) or _NAMES, kwargs))
            yield _named(average.estimates() if standard_error else average.mean, get)

    @with_traits(KernelTraits(with_tiles=with_tiles))
    def kernel_fn(x1: PyTree, x2: PyTree, get: Get = None, **apply_fn_kwargs: Any) -> Any:
        """Averages of the NNGP kernel, the NTK, or both, over random parameters.

        `K(x1, x2) ≈ (1 / n) sum_{i=1}^{n} K_i(x1, x2)`, with `K_i` the empirical kernel for the `i`-th draw of
        parameters, the same at each call. A draw is compiled once for inputs of one shape.

        Args:
          x1: the first batch of inputs, such as `(N1, ...)`; an array or a tree of arrays.
          x2: the second batch, such as `(N2, ...)`. None, or None in place of some of its arrays, stands for `x1`.
          get: `"nngp"` or `"ntk"`; a tuple of names; or None for both.
          **apply_fn_kwargs: keyword arguments of `apply_fn`, other than `rng`. Of a pair `(a, b)`, `a` goes with `x1`
            and `b` with `x2`; all else goes with both. With `batch_size`, arrays of pairs are cut along their first
            axes, as inputs are.

        Returns:
          For a name, the kernel, `(N1, N2)` for outputs `(N, O)` and default axes; for several names, a named tuple
          `MonteCarloKernel` in the order of `get`; for None, an `EmpiricalKernel` of both. With several outputs,
          each has its own. If there are several `n_samples`, a generator of these; with `standard_error`, an `Estimate`
          in place of each array.

        Raises:
          KeyError: `get` has an unknown name.
          TypeError: `get` is of another type, or `init_fn` does not return a pair.
          ValueError: `x1` and `x2` do not match; axes do not fit.
        """
        check_names(canonical_get(get), _NAMES)
        x2, one_batch = filled_second(x1, x2)
        found = averages(x1, x1 if one_batch else x2, get, apply_fn_kwargs)
        return found if isinstance(counts, tuple) else next(found)

    return kernel_fn


@dataclasses.dataclass(frozen=True)
class RandomNetwork:
    """A network with random parameters.

    Attributes:
      draw: draws parameters, `(key, shapes of inputs) -> params`.
      kernel_fn: the empirical kernels, `(x1, x2, names, params, **keywords) -> named tuples`, in tiles.
      takes_rng: whether the network takes a random key, as the keyword argument `rng`.
      check: `(x1, params, keywords)`, raises an error if the network does not act on each sample alone, but has to.
    """

    draw: Callable[[jax.Array, PyTree], PyTree]
    kernel_fn: Callable[..., PyTree]
    takes_rng: bool
    check: Callable[[PyTree, PyTree, Mapping[str, Any]], None]

    def kernels(
        self, key: jax.Array, x1: PyTree, x2: PyTree, names: tuple[str, ...], kwargs: Mapping[str, Any]
    ) -> PyTree:
        """The kernels of one draw of parameters; `x2` is the object `x1` if the batches are the same."""
        key_parameters, key_apply = jax.random.split(key)
        params = self.draw(key_parameters, jax.tree.map(jnp.shape, x1))
        keywords = {**kwargs, "rng": key_apply} if self.takes_rng else kwargs
        with noted(_about_rng, lambda error: isinstance(error, TypeError) and "'rng'" in str(error)):
            self.check(x1, params, keywords)
            return self.kernel_fn(x1, x2, names, params, **keywords)


def _parameters(init_fn: Callable[..., PyTree], key: jax.Array, shapes: PyTree) -> PyTree:
    """The parameters that `init_fn` draws."""
    with noted(lambda: f"`init_fn` was called as init_fn(rng, input_shape) with input_shape={shapes}."):
        found = init_fn(key, shapes)
        if not isinstance(found, tuple | list) or len(found) != 2:
            raise TypeError(f"Expected `init_fn` to return `(output_shape, params)`, got {type(found).__name__}.")
    return found[1]


class Average:
    """The running average of trees of arrays, and its standard error, by Welford's method."""

    def __init__(self) -> None:
        self.count = 0
        self.mean: PyTree = None
        self.squares: PyTree = None  # the sum of squared distances from the mean

    def add(self, sample: PyTree) -> None:
        self.count += 1
        if self.count == 1:
            self.mean, self.squares = sample, jax.tree.map(lambda x: 0 * abs(x), sample)
            return
        before = jax.tree.map(lambda x, mean: x - mean, sample, self.mean)
        self.mean = jax.tree.map(lambda mean, step: mean + step / self.count, self.mean, before)
        self.squares = jax.tree.map(
            lambda squares, step: squares + abs(step) ** 2 * (1 - 1 / self.count), self.squares, before
        )

    def estimates(self) -> PyTree:
        """The average with its standard error, in place of each array."""
        n = self.count

        def estimate(mean: Any, squares: Any) -> Estimate:
            return Estimate(mean, (squares / (n - 1) / n) ** 0.5 if n > 1 else squares + np.inf)

        return jax.tree.map(estimate, self.mean, self.squares)


def _about_rng() -> str:
    return (
        "`apply_fn` was given a random key `rng`, since it takes any keyword arguments. If it has no use for one, pass "
        "`lambda params, x: apply_fn(params, x)`."
    )


def _takes_rng(apply_fn: Callable[..., PyTree]) -> bool:
    """Whether a function has the keyword argument `rng`, as far as can be known."""
    try:
        parameters = inspect.signature(apply_fn).parameters.values()
    except (TypeError, ValueError):  # there is no signature to be read
        return True
    return any(p.name == "rng" or p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters)


def _named(kernels: PyTree, get: Get) -> PyTree:
    """Kernels in the form that `get` asks for: bare, or in a named tuple."""
    names = canonical_get(get)
    if names is None:
        return kernels

    def named(kernel: Any) -> Any:
        return kernel[0] if isinstance(get, str) else result_type("MonteCarloKernel", names)(*kernel)

    found = result_type("EmpiricalKernel", names)
    return jax.tree.map(named, kernels, is_leaf=lambda kernel: isinstance(kernel, found))


def _check_key(key: Any, usage: str) -> None:
    if not isinstance(key, jax.Array | np.ndarray) or jnp.ndim(key) > 1:
        raise TypeError(
            f"Expected `key` in `{usage}` to be a random key, got {type(key).__name__}. Make one with "
            "`jax.random.key(0)`."
        )


def _counts(n_samples: Any) -> int | tuple[int, ...]:
    """One number of draws, or several in increasing order."""
    if isinstance(n_samples, numbers.Integral):
        several: tuple[Any, ...] = (n_samples,)
    elif isinstance(n_samples, Iterable):
        several = tuple(n_samples)
    else:
        raise TypeError(f"Expected `n_samples` to be an integer or several of them, got {type(n_samples).__name__}.")
    if not several or not all(isinstance(n, numbers.Integral) and int(n) > 0 for n in several):
        raise ValueError(f"Expected `n_samples` to be positive integers, got {n_samples!r}.")
    counts = tuple(sorted(int(n) for n in several))
    return counts[0] if isinstance(n_samples, numbers.Integral) else counts
