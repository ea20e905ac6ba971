"""Second moments of two nonlinearities: by the layer of one, or by quadrature if they differ."""

import functools

import jax
import jax.numpy as jnp
from jax import Array

from neural_tangents._core.kernel import Kernel
from neural_tangents.tracing import _expectations as expectations
from neural_tangents.tracing._graph import Node, Phi
from neural_tangents.tracing._recognised import Activation


def moments(a: Phi, b: Phi, k: Array, q1: Array, q2: Array, one: bool, own: bool) -> tuple[Array, Array]:
    """`E[f(u) g(v)]` and `E[f'(u) g'(v)]` of two nonlinearities.

    Args:
      a: the first one.
      b: the second one.
      k: covariances `[N1, N2, *a.fin, *b.fin]` of their arguments; `[N, *a.fin, *b.fin]` if `own`.
      q1: variances `[N1, *a.fin]`.
      q2: variances `[N2, *b.fin]`.
      one: whether both are the same, for the same inputs.
      own: whether pairs are those of one input with itself.
    """
    shape, m, n = k.shape, size_of(a), size_of(b)
    if own:
        k, q1, q2 = k.reshape(-1, m, n), q1.reshape(-1, m), q2.reshape(-1, n)
    else:
        k = k.reshape(*shape[:2], m, n).swapaxes(1, 2).reshape(shape[0] * m, shape[1] * n)
        q1, q2 = q1.reshape(-1), q2.reshape(-1)

    of_matrix = functools.partial(_of_matrix, a.activation, b.activation, one)
    results = jax.vmap(of_matrix)(k, q1, q2) if own else of_matrix(k, q1, q2)
    if own:
        return results[0].reshape(shape), results[1].reshape(shape)
    value, slope = (r.reshape(shape[0], m, shape[1], n).swapaxes(1, 2).reshape(shape) for r in results)
    return value, slope


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _of_matrix(f: Activation, g: Activation, one: bool, k: Array, q1: Array, q2: Array) -> tuple[Array, Array]:
    """Both moments for a matrix of covariances `[m, n]` and variances `[m]`, `[n]`."""
    if f is not g or f.needs_quadrature:
        r1, r2 = jnp.broadcast_to(q1[:, None], k.shape), jnp.broadcast_to(q2[None], k.shape)
        slopes = expectations.pair(f.rough.slope, g.rough.slope, k, r1, r2)
        return expectations.pair(f.rough, g.rough, k, r1, r2), slopes
    before = Kernel(
        *(k, jnp.ones_like(k), q1, None if one else q2, one, True, False, False, True, False),
        *((len(q1), 1), (len(q2), 1), 0, 1),
    )
    after = f.layer.kernel_fn(before)
    return after.nngp, after.ntk


def size_of(node: Node) -> int:
    """The number of entries of all finite axes."""
    size = 1
    for n in node.fin:
        size *= n
    return size
