"""Products with parameters: which axes are summed, and which are channels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neural_tangents import tracing

X = jnp.asarray(np.random.RandomState(0).normal(size=(4, 2, 3)), jnp.float32)


def nngp(f, *shape, x=X, **options):
    struct = jax.ShapeDtypeStruct(shape, jnp.float32)
    return tracing.lift(f, struct, x, distribution=lambda *_: 0.5, **options).kernel_fn(x, None, "nngp")


def test_positions_are_kept_summed_or_have_their_own():
    kept = 0.5 * jnp.einsum("npf,mqf->nmpq", X, X)
    np.testing.assert_allclose(nngp(lambda p, x: jnp.einsum("npf,fc->npc", x, p), 3, 9), kept, rtol=1e-5, atol=1e-6)
    summed = jnp.trace(kept, axis1=2, axis2=3)
    np.testing.assert_allclose(
        nngp(lambda p, x: jnp.einsum("npf,pfc->nc", x, p), 2, 3, 9), summed, rtol=1e-5, atol=1e-6
    )
    own = kept * jnp.eye(2)[None, None]
    np.testing.assert_allclose(nngp(lambda p, x: jnp.einsum("npf,pfc->npc", x, p), 2, 3, 9), own, rtol=1e-5, atol=1e-6)


def test_embeddings():
    tokens = jnp.asarray([[0, 2], [2, 1]])
    got = nngp(lambda p, x: p[x], 3, 9, x=tokens)
    np.testing.assert_allclose(got, 0.5 * (tokens[:, None, :, None] == tokens[None, :, None]))


def test_weights_need_the_mean_0():
    with pytest.raises(tracing.LiftError, match="mean"):
        tracing.lift(
            lambda p, x: x @ p, jax.ShapeDtypeStruct((3, 9), jnp.float32), X, distribution=lambda *_: (1.0, 0.5)
        )
