"""What varies along axes of a mesh; one device is enough, since it is a matter of types."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import PartitionSpec as P

from neural_tangents._core import mesh_axes
from neural_tangents._core.mesh_axes import axes_of, struct_like, varying_like

X = np.arange(12.0, dtype=np.float32).reshape(4, 3)


def sharded(fn, x=X, check_vma=True):
    """`fn` of an array that varies along one of two axes, and of one that does not."""
    mesh = jax.make_mesh((1, 1), ("i", "j"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    spread = functools.partial(jax.shard_map, mesh=mesh, in_specs=(P("i"), P()), out_specs=P("i"), check_vma=check_vma)
    return jax.jit(spread(fn))(x, x[0])


def test_axes():
    def found(x, shared):
        assert axes_of(x) == axes_of({"a": (x, None, shared, "text")}) == {"i"} and not axes_of((shared, 1.0))
        cast = varying_like((x, shared, 1.0, jax.random.key(0)), [x])
        assert all(axes_of(leaf) == {"i"} for leaf in cast) and cast[0] is x
        assert varying_like(shared, 2.0) is shared
        for array in (x, varying_like(jax.random.split(jax.random.key(0)), x)):
            like = struct_like(array, (5, 6))
            assert (like.shape, like.dtype, axes_of(like)) == ((5, 6), array.dtype, {"i"})
        return x

    sharded(found)
    assert not axes_of(X) and varying_like(X, 1.0) is X and struct_like(X, (2,)).shape == (2,)


@pytest.mark.parametrize("check_vma", [True, False])
def test_scan(check_vma):
    """What varies may reach the carry at once, or only after a few steps."""

    def step(carry, x):
        a, b, c = carry
        return (a + 1, b + x, c + b), x

    def looped(x, shared):
        (a, b, c), every = mesh_axes.scan(step, (jnp.zeros(3), jnp.zeros(3), shared), x)
        assert [axes_of(out) for out in (a, b, c)] == [set(), *[{"i"} if check_vma else set()] * 2]
        none, _ = mesh_axes.scan(step, (shared, shared, shared), x[:0])
        assert not axes_of(mesh_axes.scan(lambda c, _: (c + 1, None), shared, None, 2)[0])
        return jnp.concatenate([every, jnp.stack([a, b, c, *none])])

    carry, _ = lax.scan(step, (jnp.zeros(3), jnp.zeros(3), jnp.asarray(X[0])), X)
    np.testing.assert_array_equal(sharded(looped, check_vma=check_vma), [*X, *carry, X[0], X[0], X[0]])


def test_cond():
    def chosen(x, shared):
        one = mesh_axes.cond(x[0, 0] < 1, lambda a, b: (a[0], b), lambda a, b: (b, b), x, shared)
        other = mesh_axes.cond(shared[0] > 1, lambda: (x[0], shared), lambda: (jnp.zeros(3), 2 * shared))
        assert [axes_of(out) for out in other] == [{"i"}, set()]
        return jnp.stack([*one, *other])

    np.testing.assert_array_equal(sharded(chosen), [X[0], X[0], np.zeros(3), 2 * X[0]])
    assert mesh_axes.cond(True, lambda: 1, lambda: 2) == 1
