"""Covariances and cosine distances as one array, so that a loop over layers passes over no more memory for both."""

import dataclasses

import jax.numpy as jnp

from neural_tangents._core.kernel import Kernel
from neural_tangents._core.numerics import along_rows, length


def coded(k: Kernel) -> Kernel:
    """The kernel with its distances in place of covariances, with their signs; as it is if it has none."""
    if k.distance is None:
        return k
    value = k.distance.value
    negative = -value - jnp.finfo(value.dtype).tiny  # not -0, which compares equal to 0
    code = k.distance.choose(k.nngp, negative, value)
    return k.replace(nngp=code, distance=dataclasses.replace(k.distance, value=None))


def decoded(k: Kernel) -> Kernel:
    """Inverse of `coded`."""
    if k.distance is None or k.distance.value is not None:
        return k
    distance = dataclasses.replace(k.distance, value=k.distance.choose(k.nngp, -k.nngp, k.nngp))
    r1, r2 = k.layout.spread(*map(length, k.variances))
    product = along_rows(r1, k.nngp.shape) * r2
    return k.replace(nngp=distance.correlation(k.nngp) * product, distance=distance)
