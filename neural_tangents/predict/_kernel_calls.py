"""Calls of `kernel_fn` for the training and the test set, and the keyword arguments of each."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp

from neural_tangents._core.concrete import is_concrete
from neural_tangents.predict._arguments import as_kernel
from neural_tangents.predict._finite import check_finite
from neural_tangents.predict._regularised import diagonal

# Test points for which a kernel is computed at once if only its diagonal is needed.
_AT_ONCE = 64


def evaluate(
    kernel_fn: Callable[..., Any], inputs: Mapping[str, Any], names: tuple[str, ...], kwargs: Mapping[str, Any]
) -> dict[str, jax.Array]:
    """The named kernels, by one call of `kernel_fn`, or by none if there are no names.

    Args:
      kernel_fn: the function.
      inputs: its one or two sets of inputs, under names that errors give them.
      names: of kernels.
      kwargs: its keyword arguments.

    Raises:
      ValueError: inputs are seen to be infinite, unless there is a `mask_constant`, or a kernel is seen not to be
        finite. It may be finite although inputs are NaN, where these stand for missing values.
      TypeError: `kernel_fn` returns something other than kernels.
    """
    if not names:
        return {}
    if "mask_constant" not in kwargs:
        _check_inputs(inputs, missing=True)
    x1, x2 = (*inputs.values(), None)[:2]
    try:
        return _evaluate(kernel_fn, x1, x2, names, kwargs)
    except ValueError:
        _check_inputs(inputs, missing=False)  # which says more, if that is why
        raise


def evaluate_diagonal(
    kernel_fn: Callable[..., Any], inputs: Mapping[str, Any], names: tuple[str, ...], kwargs: Mapping[str, Any]
) -> dict[str, jax.Array]:
    """The diagonals of the named kernels of one set with itself, from kernels of some of its inputs at a time.

    Each is of the shape of outputs that the kernel describes. For inputs, or keyword arguments, of which it is not
    clear what belongs to one input, the kernels are computed as a whole.
    """
    ((label, x),) = inputs.items()
    leaves = jax.tree.leaves(x)
    lengths = {np.shape(leaf)[0] if np.ndim(leaf) else 0 for leaf in leaves}
    count = max(lengths, default=0)
    is_clear = len(lengths) == 1 and "batch_axis" not in kwargs and all(hasattr(leaf, "shape") for leaf in leaves)
    is_clear = is_clear and all(np.shape(leaf)[:1] != (count,) for leaf in jax.tree.leaves(kwargs))

    def diagonals(some: Any) -> dict[str, jax.Array]:
        return {name: jnp.asarray(diagonal(k)) for name, k in evaluate(kernel_fn, {label: some}, names, kwargs).items()}

    if not names or not is_clear or count <= _AT_ONCE:
        return diagonals(x)
    # The last ones overlap with those before, so that `kernel_fn` is compiled for one shape.
    starts = np.minimum(np.arange(0, count, _AT_ONCE), count - _AT_ONCE)
    parts = [jax.tree.map(lambda leaf, start=start: leaf[start : start + _AT_ONCE], x) for start in starts]
    if is_concrete(x):
        found = [diagonals(part) for part in parts]
    else:
        stacked = lax.map(diagonals, jax.tree.map(lambda *leaves: jnp.stack(leaves), *parts))
        found = [jax.tree.map(lambda a, i=i: a[i], stacked) for i in range(len(parts))]
    rest = count - _AT_ONCE * (len(parts) - 1)
    found[-1] = {name: part[_AT_ONCE - rest :] for name, part in found[-1].items()}
    return {name: jnp.concatenate([part[name] for part in found]) for name in names}


def _check_inputs(inputs: Mapping[str, Any], missing: bool) -> None:
    for name, x in inputs.items():
        for leaf in jax.tree.leaves(x):
            check_finite(leaf, name, missing)


def _evaluate(
    kernel_fn: Callable[..., Any], x1: Any, x2: Any, names: tuple[str, ...], kwargs: Mapping[str, Any]
) -> dict[str, jax.Array]:
    if len(names) == 1:
        return {names[0]: as_kernel(kernel_fn(x1, x2, names[0], **kwargs), f"kernel_fn(x1, x2, {names[0]!r})")}
    kernels = kernel_fn(x1, x2, names, **kwargs)
    if not all(hasattr(kernels, name) for name in names):
        raise TypeError(
            f"Expected `kernel_fn(x1, x2, {names})` to return an object with the attributes {names}, got "
            f"{type(kernels).__name__}. Return a named tuple, or ask for one prediction with `get`."
        )
    return {name: as_kernel(getattr(kernels, name), f"kernel_fn(x1, x2, {names}).{name}") for name in names}


def check_kernel_fn(kernel_fn: Any) -> None:
    """Raises `TypeError` if it is not a function."""
    if not callable(kernel_fn):
        raise TypeError(
            f"Expected `kernel_fn` to be a function of inputs, got {type(kernel_fn).__name__}. Of a layer, pass the "
            "third element, `_, _, kernel_fn = stax.serial(...)`; kernels that were computed are for `gp_inference`."
        )


def check_lengths(x_train: Any, y_train: jax.Array, kwargs: Mapping[str, Any]) -> None:
    """Raises `ValueError` if there are more or fewer inputs than targets."""
    if "batch_axis" in kwargs:
        return  # inputs are not counted along axis 0: the shapes of kernels will tell
    lengths = {np.shape(x)[0] for x in jax.tree.leaves(x_train) if np.ndim(x)}
    if lengths - {y_train.shape[0]}:
        raise ValueError(
            f"Expected one row of `y_train` for each input, got {y_train.shape[0]} rows for `x_train` of length "
            f"{', '.join(map(str, sorted(lengths)))}. Pass inputs and targets of the same data."
        )


def split_keywords(train: Mapping[str, Any], test: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The keywords of `kernel_fn` for test-train and for test-test kernels."""
    test_train, test_test = dict(train), dict(train)
    for name, value in test.items():
        if name not in train:
            raise KeyError(
                f"Expected keywords that were also given for the training set, {tuple(train)}, got {name!r}. Pass "
                f"{name!r} to `gradient_descent_mse_ensemble` too."
            )
        if _is_pair(value) and _is_pair(train[name]):
            test_train[name] = (value[0], train[name][1])
        elif not _are_equal(value, train[name]):
            raise ValueError(
                f"Expected keyword {name!r} to be the same for the training and the test set, or a pair for both, got "
                f"{train[name]!r} for the training set and {value!r} for the test set."
            )
        test_test[name] = value
    return test_train, test_test


def _is_pair(value: Any) -> bool:
    return type(value) is tuple and len(value) == 2


def _are_equal(a: Any, b: Any) -> bool:
    """Whether two trees have the same structure and leaves. Leaves not known yet are equal to themselves only."""
    structures: list[Any] = [jax.tree.structure(tree) for tree in (a, b)]
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=False)
    return structures[0] == structures[1] and all(
        x is y or (is_concrete((x, y)) and np.array_equal(x, y)) for x, y in pairs
    )
