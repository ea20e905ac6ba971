"""Kernels, operators and products with vectors of complex networks, with and without conjugation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from finite_networks import COMPLEX, MLP_PARAMS, X1, X2, assert_close, full_ntk, jacobians, mlp, reduced

import neural_tangents as nt


def drawn(shapes, seed, real=False):
    """Complex arrays, or real ones."""
    random = np.random.default_rng(seed)
    return jax.tree.map(
        lambda s: random.normal(size=s.shape) + (0 if real else 1j * random.normal(size=s.shape)), shapes
    )


def times(kernel, v):
    return np.tensordot(kernel, v, v.ndim)


@pytest.mark.parametrize("hermitian", [False, True])
@pytest.mark.parametrize("name", COMPLEX)
def test_products_are_those_of_the_kernel(name, hermitian):
    """Also with complex vectors where outputs are real."""
    with jax.enable_x64(True):
        net = COMPLEX[name].cast(np.float64)
        f, params, x1, x2 = net.f, net.params, net.x1, net.x2
        outputs = jax.eval_shape(f, params, x2)
        v = drawn(outputs, 1)
        kernels = full_ntk(f, params, x1, x2, hermitian)

        operator = nt.empirical_ntk_operator_fn(f, (), hermitian=hermitian)(x1, x2, params)
        wanted = [times(k, vector) for k, vector in zip(kernels, jax.tree.leaves(v), strict=True)]
        for a, b in zip(jax.tree.leaves(jax.jit(operator.matvec)(v)), wanted, strict=True):
            assert_close(a, b)
        traced = nt.empirical_ntk_operator_fn(f, hermitian=hermitian)(x1, x2, params)
        found = traced.matvec(jax.tree.map(lambda vector: vector[:, 0], v))
        for a, k, vector in zip(jax.tree.leaves(found), kernels, jax.tree.leaves(v), strict=True):
            assert_close(a, reduced(k, (-1,)) @ vector[:, 0])

        if not hermitian:  # all outputs together: the vector is pulled back by all of them
            j1, j2 = ([np.concatenate(j, -1) for j in jacobians(f, params, x)] for x in (x1, x2))
            pulled = sum(np.tensordot(vector, j, vector.ndim) for vector, j in zip(jax.tree.leaves(v), j2, strict=True))
            found = nt.empirical_ntk_vp_fn(f, x1, x2, params)(v)
            assert jax.tree.structure(found) == jax.tree.structure(outputs)
            for a, j in zip(jax.tree.leaves(found), j1, strict=True):
                assert_close(a, j @ pulled)


@pytest.mark.slow
@pytest.mark.parametrize("hermitian", [False, True])
@pytest.mark.parametrize("name", COMPLEX)
def test_diagonal_and_trace(name, hermitian):
    with jax.enable_x64(True):
        net = COMPLEX[name].cast(np.float64)
        f, params, x1, x2 = net.f, net.params, net.x1[:2], net.x2
        for batches in ((x1, x2), (x2, None)):
            (a, b), axes = (batches[0], batches[0] if batches[1] is None else batches[1]), (-1,)
            operator = nt.empirical_ntk_operator_fn(f, vmap_axes=0, hermitian=hermitian)(*batches, params)
            for kernel, diagonal, trace in zip(
                full_ntk(f, params, a, b, hermitian),
                *map(jax.tree.leaves, (operator.diagonal(), operator.trace())),
                strict=True,
            ):
                assert_close(diagonal, np.diagonal(reduced(kernel, axes)))
                assert_close(trace, np.trace(reduced(kernel, axes)))


@pytest.mark.slow
@pytest.mark.parametrize("name", COMPLEX)
def test_hermitian_kernels(name):
    """All implementations; a batch with itself gives a Hermitian matrix without negative eigenvalues."""
    with jax.enable_x64(True):
        net = COMPLEX[name].cast(np.float64)
        f, params = net.f, net.params

        def kernels(x1, x2, params):
            return [
                nt.empirical_ntk_fn(f, (), (), v, implementation, hermitian=True)(x1, x2, params)
                for implementation in (0, 1, 2, 3)
                for v in (None, 0)
            ]

        for x1, x2 in ((net.x1, net.x2), (net.x1, None)):
            truth = full_ntk(f, params, x1, x1 if x2 is None else x2, True)
            for kernel in jax.jit(kernels)(x1, x2, params):
                for of_output, wanted in zip(jax.tree.leaves(kernel), truth, strict=True):
                    assert_close(of_output, reduced(wanted))
        for kernel in jax.tree.leaves(nt.empirical_ntk_fn(f, hermitian=True)(net.x1, None, params)):
            assert_close(kernel, kernel.conj().T)
            assert np.linalg.eigvalsh(kernel)[0] > -1e-10

        both = nt.empirical_kernel_fn(f, (), hermitian=True)(net.x1, net.x2, None, params)
        outputs1, outputs2 = (jax.tree.leaves(f(params, x)) for x in (net.x1, net.x2))
        alone = jax.tree.leaves(nt.empirical_nngp_fn(f, (), hermitian=True)(net.x1, net.x2, params))
        found = jax.tree.leaves(both, is_leaf=lambda k: hasattr(k, "nngp"))
        for k, nngp, out1, out2, wanted in zip(
            found, alone, outputs1, outputs2, full_ntk(f, params, net.x1, net.x2, True), strict=True
        ):
            assert_close(k.nngp, np.einsum("io,jp->ijop", out1, np.conj(out2)))
            assert_close(nngp, k.nngp)
            assert_close(k.ntk, reduced(wanted))


@pytest.mark.slow
@pytest.mark.parametrize("hermitian", [False, True])
def test_tiles(hermitian):
    """A tile below the diagonal is not the mirror image of one above it, if the kernel is Hermitian."""
    with jax.enable_x64(True):
        net = COMPLEX["both"].cast(np.float64)
        x = jnp.concatenate([net.x1, net.x2])
        for fn in (
            nt.empirical_ntk_fn(net.f, hermitian=hermitian),
            nt.empirical_nngp_fn(net.f, hermitian=hermitian),
        ):
            for batched in (nt.batch(fn, 2), jax.jit(nt.batch(fn, 2))):
                for found, wanted in zip(batched(x, None, net.params), fn(x, None, net.params), strict=True):
                    assert_close(found, wanted)
        operator_fn = nt.empirical_ntk_operator_fn(net.f, hermitian=hermitian)
        v = drawn(jax.tree.map(lambda out: out[:, 0], net.f(net.params, x)), 3)
        wanted = operator_fn(x, None, net.params).matvec(v)
        for a, b in zip(nt.batch(operator_fn, 2)(x, None, net.params).matvec(v), wanted, strict=True):
            assert_close(a, b)


@pytest.mark.slow
def test_real_networks_are_unchanged():
    """Nothing is conjugated, and nothing becomes complex unless the vector is."""
    one = nt.empirical_ntk_fn(mlp)(X1, X2, MLP_PARAMS)
    other = nt.empirical_ntk_fn(mlp, hermitian=True)(X1, X2, MLP_PARAMS)
    np.testing.assert_array_equal(one, other)
    for hermitian in (False, True):
        matvec = nt.empirical_ntk_operator_fn(mlp, hermitian=hermitian)(X1, X2, MLP_PARAMS).matvec
        v = np.array([1.0, -2.0])
        assert matvec(v).dtype == np.float64
        assert_close(matvec(v), one @ v)
        assert matvec(1j * v).dtype == np.complex128
        assert_close(matvec(v + 2j * v), (1 + 2j) * (one @ v))
    vp = nt.empirical_ntk_vp_fn(mlp, X1, X2, MLP_PARAMS)
    v = drawn(jax.ShapeDtypeStruct((2, 3), np.float64), 0).astype(np.complex128)
    assert_close(vp(v), vp(v.real) + 1j * vp(v.imag))


def test_integer_outputs_have_no_part_in_products():
    def f(p, x):
        return {"y": jnp.exp(1j * (x @ p["w"])), "n": jnp.argmax(x, 1)}

    params = {"w": MLP_PARAMS["w"]}
    vp = nt.empirical_ntk_vp_fn(f, X1, X2, params)
    v = drawn(jax.ShapeDtypeStruct((2, 6), np.float64), 0).astype(np.complex128)
    found = vp({"y": v, "n": np.zeros((2,), jax.dtypes.float0)})
    alone = nt.empirical_ntk_vp_fn(lambda p, x: f(p, x)["y"], X1, X2, params)(v)
    np.testing.assert_allclose(found["y"], alone, rtol=1e-12)
    assert found["n"].dtype == jax.dtypes.float0


def waves(params, x):
    return jnp.exp(1j * x @ params["w"]) @ params["v"]


REAL_OF_COMPLEX = {
    "square of the absolute value": lambda params, x: jnp.abs(waves(params, x)) ** 2,
    "logarithm of the absolute value": lambda params, x: jnp.log(jnp.abs(waves(params, x))),
    "real part": lambda params, x: waves(params, x).real,
    "Fourier transform": lambda params, x: jnp.abs(jnp.fft.fft(x @ params["w"])) @ params["v"],
}


@pytest.mark.parametrize("implementation", [0, 1, 2, 3])
@pytest.mark.parametrize("name", REAL_OF_COMPLEX)
def test_real_networks_that_compute_with_complex_numbers(name, implementation):
    random = np.random.default_rng(0)
    f, x = REAL_OF_COMPLEX[name], random.normal(size=(4, 3))
    params = {"w": random.normal(size=(3, 5)), "v": random.normal(size=(5, 2))}
    with jax.enable_x64(True):
        jacobian = jax.tree.leaves(jax.jacobian(f)(params, x))
        wanted = sum(np.einsum("iaw,jbw->ijab", *[j.reshape(4, 2, -1)] * 2) for j in jacobian)
        assert_close(nt.empirical_ntk_fn(f, (), implementation=implementation)(x, None, params), wanted)
