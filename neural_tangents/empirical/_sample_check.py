"""Whether a network acts on each sample alone, as `vmap_axes` promises: derivatives for two samples tell."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from neural_tangents._core.concrete import is_concrete
from neural_tangents._core.types import PyTree
from neural_tangents.empirical._samples import Samples, VMapAxes

# Derivatives for two samples may differ from those for each alone by this many roots of the precision of their type,
# but never by more than the second number, of the largest of them.
_DIFFERENCE = 30.0, 0.3


def check_each_alone(batch: Samples, params: PyTree, vmap_axes: VMapAxes, rng: Any = None) -> None:
    """Raises `ValueError` if derivatives of a sample's outputs depend on which other samples are in its batch.

    The first two samples are given to the network together and one by one. Derivatives are compared, and not outputs,
    which may be zero, or differences that are almost zero, for some parameters. With a random key, each of which draws
    other numbers for a batch than for a sample, they are compared with a batch of the first sample twice. Nothing is
    checked if values are not known yet, or if there are fewer samples.
    """
    if batch.together is None or batch.n_samples < 2 or not is_concrete((params, batch.data, batch.shared)):
        return
    try:
        both = [np.asarray(out[0] if rng is not None else out) for out in _derivatives(batch, params, [0, 1])]
        if rng is not None:
            alone = [np.asarray(out[0]) for out in _derivatives(batch, params, [0, 0])]
        else:
            found = [_derivatives(batch, params, [i]) for i in (0, 1)]
            alone = [np.concatenate([np.asarray(out) for out in outs]) for outs in zip(*found, strict=True)]
    except Exception:  # it may know single samples only: then there is nothing to compare
        return
    for one, other in zip(both, alone, strict=True):
        if error := _difference(one, other):
            raise ValueError(
                f"`vmap_axes={vmap_axes!r}` says that the network acts on each sample alone, but derivatives of "
                f"outputs for the first two samples differ by up to {100 * error:.2g} % from those without the other "
                "one. Leave out `vmap_axes`, as for BatchNorm in training mode, or make outputs of a sample "
                "independent of others, as BatchNorm with running averages does."
            )


def _derivatives(batch: Samples, params: PyTree, numbers: list[int]) -> list[Any]:
    """Derivatives of the outputs for some samples, as one batch, along one direction of the parameters."""
    assert batch.together is not None
    network = batch.together
    chosen = jax.tree.map(lambda x: x[np.asarray(numbers)], batch.data)
    leaves, structure = jax.tree.flatten(params)
    random = np.random.RandomState(0)
    direction = [jnp.asarray(random.normal(size=np.shape(leaf)), jnp.result_type(leaf)) for leaf in leaves]

    def along(params: PyTree, data: PyTree) -> list[Any]:
        tangent = jax.tree.unflatten(structure, direction)
        return jax.jvp(lambda params: network(params, data), (params,), (tangent,))[1]

    return list(jax.jit(along)(params, chosen))


def _difference(x: np.ndarray, y: np.ndarray) -> float:
    """The largest difference, as a fraction of the largest entry; 0.0 if rounding may be the cause."""
    if x.shape != y.shape or not jnp.issubdtype(x.dtype, jnp.inexact):
        return 0.0
    factor, most = _DIFFERENCE
    allowed = min(most, factor * float(jnp.finfo(x.dtype).eps) ** 0.5)
    x, y = (np.asarray(a, complex) for a in (x, y))
    known = np.isfinite(x) & np.isfinite(y)
    if np.any(np.isfinite(x) != np.isfinite(y)):
        return 1.0
    largest = max(np.max(np.abs(a), initial=0.0, where=known) for a in (x, y))
    error = np.max(np.abs(np.where(known, x - y, 0)), initial=0.0)
    return float(error / largest) if error > allowed * largest else 0.0
