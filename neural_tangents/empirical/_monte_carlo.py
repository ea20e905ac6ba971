"""Kernels of infinite networks, estimated by averages over finite ones."""

import functools
import numbers
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from neural_tangents._core.selection import canonical_get, result_type
from neural_tangents._core.tiles import Tiles
from neural_tangents._core.types import Axes, Get, PyTree
from neural_tangents.empirical._batches import fill_second, split_keywords
from neural_tangents.empirical._implementation import NtkImplementation
from neural_tangents.empirical._nngp_and_ntk import empirical_kernel_fn
from neural_tangents.empirical._output_axes import check_axes
from neural_tangents.empirical._samples import VMapAxes


class Estimate(NamedTuple):
    """A Monte Carlo estimate.

    Attributes:
      mean: the average over draws.
      standard_error: its standard deviation, `sqrt(sample variance / number of draws)`; infinite for one draw.
    """

    mean: Any
    standard_error: Any


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
) -> Callable[..., Any]:
    """Estimates the kernels of an infinite network by averages over draws of a wide finite one.

    `K(x1, x2) ≈ (1 / n) sum_{i=1}^{n} K_i(x1, x2)`, with `K_i` the empirical kernel for the `i`-th draw of parameters.

    Args:
      init_fn: draws parameters, `(rng, input_shape) -> (output_shape, params)`.
      apply_fn: the network, `(params, inputs, rng=..., **keywords) -> outputs`.
      key: random key. Each call of the result starts from it again.
      n_samples: number of draws; or several numbers, for a generator of the averages over that many draws.
      batch_size: if positive, the largest number of inputs of either batch to compute kernels of at a time, along their
        first axis, which has to be the first of the outputs too. 0 for all at once.
      device_count: number of devices that rows of `x1` are spread over, -1 for as many as divide them evenly.
      store_on_device: whether kernels are kept on the device; otherwise in the memory of the host, block by block.
      trace_axes: see `empirical_ntk_fn`; so are `diagonal_axes`, `vmap_axes` and `implementation`.
      standard_error: whether to return an `Estimate` with the standard error in place of each array.

    Returns:
      `kernel_fn(x1, x2, get=None, **apply_fn_kwargs)`: an array for `get` of `'nngp'` or `'ntk'`, a named tuple
      `MonteCarloKernel` for several names, an `EmpiricalKernel` of both for None; if `n_samples` are several, a
      generator of these. `x2=None` stands for `x1`. With `batch_size`, keyword arguments that are pairs of arrays are
      cut along their first axes, as inputs are. A draw is compiled once for inputs of one shape.

    Raises:
      ValueError: a number of draws is not positive or not an integer, or there are none; `batch_size` or `device_count`
        do not fit.
      TypeError: `n_samples` is neither an integer nor iterable.

    Source: Novak et al., "Bayesian Deep Convolutional Networks with Many Channels are Gaussian Processes", 2019,
    https://arxiv.org/abs/1810.05148.
    """
    counts = _counts(n_samples)
    tiles = Tiles(batch_size, device_count, store_on_device)

    def f(params: PyTree, x: PyTree, **kwargs: Any) -> PyTree:
        outputs = apply_fn(params, x, **kwargs)
        if tiles.size:
            jax.tree.map(lambda out: _check_batch_axis(trace_axes, diagonal_axes, jnp.ndim(out)), outputs)
        return outputs

    drawn = compiled(lambda key, shapes: init_fn(key, shapes)[1])
    computed = compiled(
        empirical_kernel_fn(f, trace_axes, diagonal_axes, vmap_axes, implementation, _j_rules, _s_rules, _fwd)
    )

    def draw(key: jax.Array, x1: PyTree, x2: PyTree, names: tuple[str, ...], kwargs: Mapping[str, Any]) -> PyTree:
        """The kernels of one draw of parameters."""
        key_parameters, key_apply = jax.random.split(key)
        params = drawn(key_parameters, jax.tree.map(jnp.shape, x1))
        first, second = split_keywords({"rng": key_apply}, x1, x2, x2 is x1)

        def of_tile(part1: PyTree, part2: PyTree, i: int, j: int) -> PyTree:
            rng = (first["rng"], second["rng"])
            if tiles.size:  # random numbers of different inputs differ
                rng = (jax.random.fold_in(rng[0], i), jax.random.fold_in(rng[1], j))
            of_batches = {name: tiles.keyword(value, i, j) for name, value in kwargs.items()}
            if x2 is x1 and i == j:
                return computed(part1, None, names, params, **{**of_batches, "rng": rng[0]})
            return computed(part1, part2, names, params, **{**of_batches, "rng": rng})

        return tiles.kernel(of_tile, x1, x2)

    def averages(x1: PyTree, x2: PyTree, get: Get, kwargs: Mapping[str, Any]) -> Iterator[Any]:
        names = canonical_get(get)
        x2, one_batch = fill_second(x1, x2)
        average, rest = Average(), key
        for count in counts if isinstance(counts, tuple) else (counts,):
            while average.count < count:
                rest, this = jax.random.split(rest)
                average.add(draw(this, x1, x1 if one_batch else x2, names or ("nngp", "ntk"), kwargs))
            estimates = average.estimates() if standard_error else average.mean
            yield _named(estimates, get)

    def kernel_fn(x1: PyTree, x2: PyTree, get: Get = None, **apply_fn_kwargs: Any) -> Any:
        found = averages(x1, x2, get, apply_fn_kwargs)
        return found if isinstance(counts, tuple) else next(found)

    return kernel_fn


class Average:
    """The average of trees of arrays, and how much it would vary, by Welford's method."""

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


def compiled(fn: Callable[..., PyTree]) -> Callable[..., PyTree]:
    """`fn`, compiled once for shapes of the arrays, and values of all else, among its arguments."""

    @functools.partial(jax.jit, static_argnums=(1, 2))
    def of_arrays(arrays: list[Any], others: tuple[Any, ...], structure: Any) -> PyTree:
        leaves = [other if array is None else array for array, other in zip(arrays, others, strict=True)]
        args, kwargs = jax.tree.unflatten(structure, leaves)
        return fn(*args, **kwargs)

    def call(*args: Any, **kwargs: Any) -> PyTree:
        leaves, structure = jax.tree.flatten((args, kwargs))
        is_array = [isinstance(leaf, jax.Array | np.ndarray) for leaf in leaves]
        arrays = [leaf if there else None for leaf, there in zip(leaves, is_array, strict=True)]
        others = tuple(None if there else leaf for leaf, there in zip(leaves, is_array, strict=True))
        return of_arrays(arrays, others, structure)

    return call


def _named(kernels: PyTree, get: Get) -> PyTree:
    """Results of the type that `get` asks for."""
    names = canonical_get(get)
    if names is None:
        return kernels

    def named(kernel: Any) -> Any:
        return kernel[0] if isinstance(get, str) else result_type("MonteCarloKernel", names)(*kernel)

    found = result_type("EmpiricalKernel", names)
    return jax.tree.map(named, kernels, is_leaf=lambda kernel: isinstance(kernel, found))


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


def _check_batch_axis(trace_axes: Axes, diagonal_axes: Axes, ndim: int) -> None:
    """Raises `ValueError` if the first axis of outputs, along which inputs are cut, is not an axis of the kernel."""
    if any(0 in axes for axes in check_axes(trace_axes, diagonal_axes, ndim)):
        raise ValueError(
            f"With `batch_size`, axis 0 of the outputs can be neither in `trace_axes={trace_axes!r}` nor in "
            f"`diagonal_axes={diagonal_axes!r}`. Take it out, or use `batch_size=0`."
        )
