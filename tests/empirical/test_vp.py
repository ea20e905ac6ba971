"""Products of the NTK with vectors, against the kernel as an array."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from finite_networks import MLP_PARAMS, NETWORKS, X1, X2, assert_close, full_ntk, jacobians, mlp, normal

import neural_tangents as nt


@pytest.mark.parametrize("name", ["mlp", "conv", "attention", "tied", "holomorphic"])
def test_product_with_a_vector(name):
    with jax.enable_x64(True):
        net = NETWORKS[name].cast(np.float64)
        (truth,) = full_ntk(net.f, net.params, net.x1, net.x2)
        vector = normal(*truth.shape[truth.ndim // 2 :]).astype(truth.dtype)
        product = jax.jit(lambda x1, x2, p, v: nt.empirical_ntk_vp_fn(net.f, x1, x2, p)(v))
        found = product(net.x1, net.x2, net.params, vector)
        assert_close(found, np.tensordot(truth, vector, vector.ndim))


def test_products_are_those_of_all_outputs_together():
    """Outputs in a tree are one vector: there are terms of each output with each other."""
    with jax.enable_x64(True):
        net = NETWORKS["two outputs"].cast(np.float64)
        vector = {"mean": normal(2, 2), "rest": (normal(2, 2, 2),)}
        found = nt.empirical_ntk_vp_fn(net.f, net.x1, net.x2, net.params)(vector)
        first, second = (jacobians(net.f, net.params, x) for x in (net.x1, net.x2))
        for output, of_first in zip(jax.tree.leaves(found), first, strict=True):
            terms = [
                np.tensordot(j1, np.tensordot(v, j2, v.ndim), 1)
                for v, of_second in zip(jax.tree.leaves(vector), second, strict=True)
                for j1, j2 in zip(of_first, of_second, strict=True)
            ]
            assert_close(output, sum(terms))


@pytest.mark.slow
def test_under_transformations(dtype):
    params, x1, x2 = (jax.tree.map(lambda a: jnp.asarray(a, dtype), tree) for tree in (MLP_PARAMS, X1, X2))
    with jax.enable_x64(True):
        (truth,) = full_ntk(mlp, MLP_PARAMS, X1, X2)
        (alone,) = full_ntk(mlp, MLP_PARAMS, X1, X1)
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    product = nt.empirical_ntk_vp_fn(mlp, x1, x2, params)
    vectors = np.eye(6).reshape(6, 2, 3).astype(dtype)
    columns = jax.jit(jax.vmap(product))(vectors)
    assert columns.dtype == dtype
    assert_close(np.moveaxis(columns, 0, -1), truth.reshape(3, 3, 6), tolerance)
    # A product is linear, so its derivative is itself; the adjoint of Θ(x1, x1) is Θ(x1, x1).
    of_one_batch = nt.empirical_ntk_vp_fn(mlp, x1, None, params)
    v, w = (jnp.asarray(normal(3, 3), dtype) for _ in range(2))
    assert_close(jax.vjp(of_one_batch, v)[1](w)[0], np.tensordot(alone, np.asarray(w), 2), tolerance)


def test_keyword_arguments():
    def f(p, x, scale, rng):
        return mlp(p, x) * scale * jax.random.normal(rng, x.shape[:1])[:, None]

    key = jax.random.key(2)
    with jax.enable_x64(True):
        (truth,) = full_ntk(mlp, MLP_PARAMS, X1, X2)
        v = normal(2, 3)
        found = nt.empirical_ntk_vp_fn(f, X1, X2, MLP_PARAMS, scale=(2.0, 3.0), rng=key)(v)
        noise1, noise2 = jax.random.normal(key, (3,)), jax.random.normal(jax.random.fold_in(key, 1), (2,))
        assert_close(found, np.einsum("iajb,jb,i,j->ia", truth, v, 2 * noise1, 3 * noise2))


def test_errors():
    with pytest.raises(TypeError, match=r"at params\['b'\]"):
        nt.empirical_ntk_vp_fn(mlp, X1, X2, {**MLP_PARAMS, "b": np.arange(6)})
    with pytest.raises(ValueError, match="trees of arrays of the same structure"):
        nt.empirical_ntk_vp_fn(mlp, X1, [X2], MLP_PARAMS)
