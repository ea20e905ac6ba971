"""Kernels of explicit finite features: whatever is done to features must have the same effect on their covariances."""

import jax
import jax.numpy as jnp
import numpy as np

from neural_tangents._core.kernel import Kernel

LAYOUTS = [(batch, spatial) for batch in (False, True) for spatial in (False, True)]


def covariance(x1, x2, *, own=False, spatial=False, batch_axis=0, channel_axis=-1):
    """`mean_c x1[n1, ..., c] x2[n2, ..., c]`; equal inputs only where `own`, equal positions only where `spatial`."""
    x1, x2 = (np.moveaxis(x, (batch_axis, channel_axis), (0, -1)) for x in (x1, x2))
    last = x1.ndim - 1
    first = list(range(last))
    second = [axis if (own if axis == 0 else spatial) else axis + last + 1 for axis in first]
    out = [label for pair in zip(first, second, strict=True) for label in dict.fromkeys(pair)]
    return np.einsum(x1, [*first, last], x2, [*second, last], out) / x1.shape[-1]


def kernel(f1, f2, diagonal_batch=False, diagonal_spatial=False, batch_axis=0, channel_axis=-1, **fields):
    """The `Kernel` of pairs `(nngp features, ntk features)`; `f2` is None where both batches are the same."""
    axes = {"batch_axis": batch_axis, "channel_axis": channel_axis, "spatial": diagonal_spatial}
    g1, g2 = f1, f1 if f2 is None else f2
    fields = {"x1_is_x2": f2 is None, "is_gaussian": True, "is_reversed": False, "is_input": False, **fields}
    return Kernel(
        nngp=jnp.asarray(covariance(g1[0], g2[0], **axes)),
        ntk=jnp.asarray(covariance(g1[1], g2[1], **axes)),
        cov1=jnp.asarray(covariance(g1[0], g1[0], own=diagonal_batch, **axes)),
        cov2=None if f2 is None else jnp.asarray(covariance(g2[0], g2[0], own=diagonal_batch, **axes)),
        diagonal_batch=diagonal_batch,
        diagonal_spatial=diagonal_spatial,
        shape1=g1[0].shape,
        shape2=g2[0].shape,
        batch_axis=batch_axis % g1[0].ndim,
        channel_axis=channel_axis % g1[0].ndim,
        **fields,
    )


def features(seed, *shapes):
    """A pair `(nngp features, ntk features)` for each shape."""
    random = np.random.default_rng(seed)
    return [(random.normal(size=shape), random.normal(size=shape)) for shape in shapes]


def assert_equal(actual, expected, rtol=1e-10):
    """All fields of two kernels agree: static ones exactly, arrays to rounding."""
    leaves, structure = jax.tree.flatten(actual)
    wanted_leaves, wanted_structure = jax.tree.flatten(expected)
    assert structure == wanted_structure
    for leaf, wanted in zip(leaves, wanted_leaves, strict=True):
        assert jnp.shape(leaf) == jnp.shape(wanted)
        assert jnp.result_type(leaf) == jnp.result_type(wanted)
        np.testing.assert_allclose(np.asarray(leaf, float), np.asarray(wanted, float), rtol=rtol, atol=rtol)
