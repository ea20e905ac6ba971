"""The NTK as an operator, compared with the same kernel as an array."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import neural_tangents as nt

AXES = [((-1,), ()), ((), ()), ((-1,), (0,)), ((0,), (-1,)), ((0, -1), ()), ((), (0, 1))]


def array(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.zeros(()).dtype)


def f(params, x, scale=1.0):
    h = jnp.tanh(x @ params["w"]) * scale
    return {"a": h.reshape(-1, 3, 2), "b": (h @ params["v"],)}


def setting():
    return {"w": array(0, 5, 6), "v": array(1, 6, 3)}, array(2, 4, 5), array(3, 4, 5)


def letters(ndim, trace_axes, diagonal_axes):
    """Axes of the first output, of the second, and of the kernel, without traced ones."""
    traced, diagonal = ({axis % ndim for axis in axes} for axes in (trace_axes, diagonal_axes))
    pairs = [(a, a if axis in diagonal else b) for axis, (a, b) in enumerate(zip("ijk", "xyz", strict=True))]
    kept = [pair for axis, pair in enumerate(pairs[:ndim]) if axis not in traced]
    kernel = "".join(dict.fromkeys("".join(map("".join, kept))))
    return "".join(a for a, _ in kept), "".join(b for _, b in kept), kernel


@pytest.mark.parametrize("axes", AXES, ids=str)
@pytest.mark.parametrize("vmap_axes", [None, 0])
def test_operator_is_the_kernel(axes, vmap_axes):
    with jax.enable_x64(True):
        params, x1, x2 = setting()
        kernels = nt.empirical_ntk_fn(f, *axes)(x1, x2, params)
        operator = nt.empirical_ntk_operator_fn(f, *axes, vmap_axes)(x1, x2, params)
        diagonals, traces = operator.diagonal(), operator.trace()
        v = jax.tree.map(lambda d: array(4, *d.shape), diagonals)
        products = jax.jit(operator.matvec)(v)
        leaves = (jax.tree.leaves(tree) for tree in (kernels, v, products, diagonals, traces))
        for ndim, kernel, vector, product, diagonal, trace in zip((3, 2), *leaves, strict=True):
            first, second, both = letters(ndim, *axes)
            np.testing.assert_allclose(product, np.einsum(f"{both},{second}->{first}", kernel, vector), rtol=1e-10)
            equal = both.translate(str.maketrans("xyz", "ijk"))
            np.testing.assert_allclose(diagonal, np.einsum(f"{equal}->{first}", kernel), rtol=1e-10)
            np.testing.assert_allclose(trace, np.sum(diagonal), rtol=1e-10)


@pytest.mark.slow
def test_rectangular_kernels_have_products_and_keywords_reach_the_network():
    params, x1, _ = setting()
    x2, scales = array(5, 2, 5), (array(6, 4, 1), array(7, 2, 1))
    operator = nt.empirical_ntk_operator_fn(f)(x1, x2, params, scale=scales)
    kernels = nt.empirical_ntk_fn(f)(x1, x2, params, scale=scales)
    v = {"a": array(8, 2, 3), "b": (array(9, 2),)}
    products = operator.matvec(v)
    np.testing.assert_allclose(products["a"], np.einsum("ixjy,xy->ij", kernels["a"], v["a"]), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(products["b"][0], kernels["b"][0] @ v["b"][0], rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="same size for x1 and x2"):
        operator.trace()


def test_solves_by_conjugate_gradients():
    with jax.enable_x64(True):
        params, x1, _ = setting()

        def g(params, x):
            return jnp.tanh(x @ params["w"]) @ params["v"]

        operator = nt.empirical_ntk_operator_fn(g)(x1, None, params)
        y = array(10, 4)
        solution, _ = jax.scipy.sparse.linalg.cg(operator.matvec, y, tol=1e-12)
        np.testing.assert_allclose(solution, np.linalg.solve(nt.empirical_ntk_fn(g)(x1, None, params), y), rtol=1e-8)


def test_empty_batches():
    params, x1, _ = setting()
    operator = nt.empirical_ntk_operator_fn(f, (), (0,))(x1[:0], None, params)
    v = {"a": jnp.zeros((0, 3, 2)), "b": (jnp.zeros((0, 3)),)}
    assert jax.tree.map(jnp.shape, operator.matvec(v)) == jax.tree.map(jnp.shape, v)


def test_vectors_of_another_shape_are_errors():
    params, x1, _ = setting()
    operator = nt.empirical_ntk_operator_fn(f)(x1, None, params)
    with pytest.raises(ValueError, match=r"Expected a vector of shape \(4, 3\)"):
        operator.matvec({"a": jnp.zeros((4, 3, 2)), "b": (jnp.zeros(4),)})
