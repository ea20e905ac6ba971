"""Kernels that are hard to invert: what is done about them, and that predictions tell."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neural_tangents import predict
from neural_tangents.predict._factorise import factorise
from neural_tangents.predict._linear_system import LinearSystem
from neural_tangents.predict._regularised import Regularised

EPS = {"float32": 2.0**-23, "float64": 2.0**-52}


def matrix_with(eigenvalues, seed=0):
    """A symmetric matrix with these eigenvalues, in float64."""
    n = len(eigenvalues)
    vectors = np.linalg.qr(np.random.default_rng(seed).normal(size=(n, n)))[0]
    return (vectors * np.asarray(eigenvalues)) @ vectors.T, vectors


def solved(matrix, rhs):
    matrix = Regularised.of(matrix)
    factors = factorise(matrix, matrix.kernel.dtype)
    return LinearSystem(matrix, factors, False).solve(rhs), factors


def test_well_conditioned_matrices_are_left_alone(dtype):
    matrix, _ = matrix_with([0.5, 1, 2, 3])
    rhs = np.arange(8.0).reshape(4, 2)
    x, factors = solved(jnp.asarray(matrix, dtype), jnp.asarray(rhs, dtype))
    assert factors.is_cholesky and factors.jitter == 0
    np.testing.assert_allclose(x, np.linalg.solve(matrix, rhs), rtol=100 * EPS[dtype.name], atol=100 * EPS[dtype.name])


def test_the_smallest_jitter_that_suffices_is_added(dtype):
    eps = EPS[dtype.name]
    matrix, _ = matrix_with([0, 1, 2, 3])
    matrix = jnp.asarray(matrix, dtype)
    rhs = matrix @ jnp.ones((4, 1), dtype)  # in the range of the matrix
    x, factors = solved(matrix, rhs)
    assert factors.is_cholesky
    scale = float(jnp.mean(jnp.diagonal(matrix)))
    assert eps * scale / 2 < factors.jitter <= 64 * eps * scale
    with_less = jnp.linalg.cholesky(matrix + factors.jitter / 4 * jnp.eye(4, dtype=dtype))
    pivots = jnp.diagonal(with_less) ** 2
    assert factors.jitter / 4 < eps * scale or not jnp.all(pivots > eps * scale)
    np.testing.assert_allclose(matrix @ x, rhs, atol=1000 * eps)


def test_eigenvalues_far_below_zero_are_left_out(dtype):
    values = np.asarray([-0.1, 0.5, 1, 2])
    matrix, vectors = matrix_with(values)
    x, factors = solved(jnp.asarray(matrix, dtype), jnp.asarray(np.eye(4), dtype))
    assert not factors.is_cholesky and factors.jitter == 0
    pseudo_inverse = (vectors * np.where(values > 0, 1 / values, 0)) @ vectors.T
    np.testing.assert_allclose(x, pseudo_inverse, atol=1000 * EPS[dtype.name])
    found = LinearSystem(Regularised.of(jnp.asarray(matrix, dtype)), factors, False).log_determinant()
    np.testing.assert_allclose(found, np.sum(np.log(values[1:])), atol=100 * EPS[dtype.name])


def test_a_matrix_of_zeros(dtype):
    x, factors = solved(jnp.zeros((3, 3), dtype), jnp.ones((3, 1), dtype))
    assert not factors.is_cholesky
    np.testing.assert_array_equal(x, np.zeros((3, 1)))


@pytest.mark.parametrize("transform", [jax.jit, lambda f: lambda *args: jax.vmap(f)(*(a[None] for a in args))[0]])
@pytest.mark.parametrize("smallest", [0.5, 0.0, -0.1])
def test_transformations(transform, smallest):
    matrix, _ = matrix_with([smallest, 1, 2, 3])
    rhs = matrix @ np.ones((4, 1))
    x, _ = solved(jnp.asarray(matrix), jnp.asarray(rhs))
    y = transform(lambda m, b: solved(m, b)[0])(jnp.asarray(matrix), jnp.asarray(rhs))
    np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_derivatives():
    """First and second derivatives of the solution and of the determinant, against numpy's own by differences."""
    with jax.enable_x64(True):
        matrix, _ = matrix_with([0.5, 1, 2])
        direction = np.random.default_rng(1).normal(size=(3, 3))
        direction = jnp.asarray(direction + direction.T)
        rhs = jnp.asarray([[1.0], [2.0], [-1.0]])

        def values(s):
            moved = Regularised.of(jnp.asarray(matrix) + s * direction)
            system = LinearSystem(moved, factorise(moved, rhs.dtype), False)
            return jnp.sum(system.solve(rhs) ** 2), system.log_determinant()

        def exact(s):
            moved = matrix + s * np.asarray(direction)
            return np.sum(np.linalg.solve(moved, rhs) ** 2), np.linalg.slogdet(moved)[1]

        h = 1e-4
        for i in range(2):
            first = jax.grad(lambda s, i=i: values(s)[i])
            numeric = (exact(h)[i] - exact(-h)[i]) / (2 * h)
            np.testing.assert_allclose(first(0.0), numeric, rtol=1e-6)
            second = (exact(h)[i] - 2 * exact(0)[i] + exact(-h)[i]) / h**2
            np.testing.assert_allclose(jax.jit(jax.grad(first))(0.0), second, rtol=1e-4)


# Through the predictors.


def duplicated(dtype):
    """A kernel of points of which two are the same, and consistent targets."""
    x = np.random.default_rng(2).normal(size=(5, 3))
    x = np.concatenate([x, x[:2]])
    kernel = np.exp(-np.sum((x[:, None] - x) ** 2, -1) / 9)
    return jnp.asarray(kernel, dtype), jnp.asarray(np.sin(x[:, :1]), dtype)


def check_finite(tree):
    assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(tree))


def predictions(kernel, y):
    """All predictors at all times, for test points equal to the training points, with their diagnostics."""
    gp = predict.gp_inference(kernel, y)
    mse = predict.gradient_descent_mse(kernel, y)
    ensemble = predict.gradient_descent_mse_ensemble(lambda x1, x2, get: kernel, np.arange(len(y)), y)
    found = [gp("nngp", kernel, kernel)]
    for t in (None, jnp.inf, 3.0):
        found += [mse(t, 0.0, 0.0, kernel), ensemble(t, np.arange(len(y)), "nngp", True)]
    return found, [gp.diagnostics()["kernel"], mse.diagnostics(), ensemble.diagnostics()["nngp"]]


def test_duplicated_points(dtype):
    kernel, y = duplicated(dtype)
    found, diagnostics = predictions(kernel, y)
    check_finite(found)
    tolerance = 30 * EPS[dtype.name] ** 0.5 * 0.1
    np.testing.assert_allclose(found[0].mean, y, atol=tolerance)
    np.testing.assert_allclose(found[0].covariance, 0, atol=tolerance)
    for d in diagnostics:
        assert d.jitter > 0 and d.left_out == 0 and abs(d.smallest_eigenvalue) < 100 * EPS[dtype.name]
        assert d.condition_number > 1e5


def test_kernels_of_zeros(dtype):
    found, diagnostics = predictions(jnp.zeros((4, 4), dtype), jnp.ones((4, 1), dtype))
    check_finite(found)
    np.testing.assert_array_equal(found[0].mean, np.zeros((4, 1)))
    for d in diagnostics:
        assert d.left_out == 4 and d.jitter == 0 and d.smallest_eigenvalue == 0 and jnp.isinf(d.condition_number)


def test_ill_conditioned_float32():
    matrix, _ = matrix_with(np.geomspace(1e-12, 1, 12))
    kernel = jnp.asarray((matrix + matrix.T) / 2, "float32")
    y = kernel @ jnp.ones((12, 1))
    found, diagnostics = predictions(kernel, y)
    check_finite(found)
    np.testing.assert_allclose(found[0].mean, y, atol=1e-3)
    for d in diagnostics:
        assert d.jitter > 0 and d.condition_number > 1e6


@pytest.mark.slow
def test_negative_eigenvalues_within_jitter_and_beyond():
    with jax.enable_x64(True):
        matrix, _ = matrix_with([-1e-6, 0.5, 1, 2, 3])
        found, diagnostics = predictions(jnp.asarray(matrix), jnp.asarray(matrix @ np.ones((5, 1))))
        check_finite(found)
        for d in diagnostics:
            assert d.left_out == 1 and jnp.isinf(d.condition_number)
            np.testing.assert_allclose(d.smallest_eigenvalue, -1e-6, rtol=1e-6)
    kernel = jnp.asarray(matrix, "float32")
    found, diagnostics = predictions(kernel, kernel @ jnp.ones((5, 1)))
    check_finite(found)
    assert all(d.jitter > 1e-6 and d.left_out == 0 for d in diagnostics)


def test_diagnostics_of_a_good_kernel_and_under_jit():
    matrix, _ = matrix_with([0.5, 1, 4])

    def diagnostics(kernel):
        return predict.gradient_descent_mse(kernel, jnp.ones((3, 1)), noise_variance=0.5).diagnostics()

    for d in (diagnostics(jnp.asarray(matrix)), jax.jit(diagnostics)(jnp.asarray(matrix))):
        np.testing.assert_allclose(d.smallest_eigenvalue, 1, rtol=1e-5)
        np.testing.assert_allclose(d.condition_number, 4.5, rtol=1e-5)
        assert d.jitter == 0 and d.left_out == 0


def test_float64_on_request():
    """Solving in float64 leaves the error of rounding the kernel, which is far smaller than that of factorising."""
    values = np.geomspace(1e-5, 1, 20)
    matrix, _ = matrix_with(values)
    kernel = np.asarray((matrix + matrix.T) / 2, "float32")
    y = np.random.default_rng(3).normal(size=(20, 1)).astype("float32")
    exact = kernel.astype("float64") @ np.linalg.solve(kernel.astype("float64"), y)
    weights = np.linalg.solve(kernel.astype("float64"), y)
    assert np.allclose(exact, y)

    def error(wide):
        test = np.eye(20, dtype="float32")  # the prediction is then the weights themselves
        mean = predict.gp_inference(kernel, y, solve_in_float64=wide)("nngp", test)
        assert mean.dtype == "float32"
        return np.linalg.norm(mean - weights) / np.linalg.norm(weights)

    assert error(True) < 1e-6 < 3e-5 < error(False)


def test_float64_on_request_can_be_differentiated_and_compiled():
    matrix, _ = matrix_with([0.5, 1, 2])
    y, test = jnp.ones((3, 1)), jnp.eye(3)

    def total(kernel, wide):
        predict_fn = predict.gp_inference(kernel, y, solve_in_float64=wide)
        return jnp.sum(predict_fn("nngp", test) ** 2) + predict_fn.log_marginal_likelihood()

    kernel = jnp.asarray(matrix, "float32")
    for wide in (False, True):
        value, gradient = jax.jit(jax.value_and_grad(total), static_argnums=1)(kernel, wide)
        assert gradient.dtype == "float32"
        if not wide:
            expected = value, gradient
    np.testing.assert_allclose(value, expected[0], rtol=1e-5)
    np.testing.assert_allclose(gradient, expected[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_kernels_that_are_not_finite_are_errors(wrong):
    kernel = np.eye(3)
    kernel[0, 1] = kernel[1, 0] = wrong
    for make in (predict.gp_inference, predict.gradient_descent_mse):
        with pytest.raises(ValueError, match="2 of 9 entries that are NaN or infinite"):
            make(kernel, np.ones((3, 1)))
    predict_fn = predict.gradient_descent_mse_ensemble(lambda x1, x2, get: kernel, np.arange(3), np.ones((3, 1)))
    with pytest.raises(ValueError, match="2 of 9 entries that are NaN or infinite"):
        predict_fn(1.0, None, "ntk")


def test_kernels_far_from_symmetric_are_errors():
    kernel = np.eye(3)
    kernel[0, 1] = 0.5
    with pytest.raises(ValueError, match="differs from its transpose by up to 0.5"):
        predict.gp_inference(kernel, np.ones((3, 1)))
    kernel[0, 1] = 1e-4
    predict.gp_inference(kernel, np.ones((3, 1)))


# Noise.


@pytest.mark.parametrize("trace_axes", [(-1,), ()])
def test_noise_of_each_point_is_added_to_the_diagonal(trace_axes):
    rng = np.random.default_rng(4)
    size = 4 if trace_axes else 8
    matrix = rng.normal(size=(size, size))
    matrix = matrix @ matrix.T
    y, noise = rng.normal(size=(4, 2)), np.asarray([0.1, 0.2, 0.3, 0.4])
    kernel = matrix if trace_axes else np.transpose(matrix.reshape(4, 2, 4, 2), (0, 2, 1, 3))
    shift = np.diag(noise if trace_axes else np.repeat(noise, 2)) + 0.7 * np.eye(size)
    columns = y if trace_axes else y.reshape(8, 1)
    expected = (matrix @ np.linalg.solve(matrix + shift, columns)).reshape(4, 2)
    options = {"diag_reg": 0.7, "diag_reg_absolute_scale": True, "trace_axes": trace_axes, "noise_variance": noise}
    with jax.enable_x64(True):
        found = [
            predict.gp_inference(kernel, y, **options)("nngp", kernel),
            predict.gradient_descent_mse(kernel, y, **options)(None, None, 0.0, kernel),
            predict.gradient_descent_mse_ensemble(lambda x1, x2, get: kernel, np.arange(4), y, **options)(
                None, np.arange(4), "ntk"
            ),
        ]
        for mean in found:
            np.testing.assert_allclose(mean, expected, rtol=1e-9)
        same = predict.gp_inference(kernel, y, **{**options, "noise_variance": 0.3, "diag_reg": 0.4})("nngp", kernel)
        only = predict.gp_inference(kernel, y, **{**options, "noise_variance": None})("nngp", kernel)
        np.testing.assert_allclose(same, only, rtol=1e-9)


@pytest.mark.parametrize(
    ("noise", "trace_axes", "message"),
    [
        (-0.1, (-1,), "`noise_variance` >= 0"),
        (np.nan, (-1,), "finite numbers in `noise_variance`"),
        (np.ones(3), (-1,), "one number for each training point"),
        (np.ones(4), (0,), "axis 0 of `y_train`"),
    ],
)
def test_errors_in_noise(noise, trace_axes, message):
    kernel = np.eye(4 if trace_axes == (-1,) else 2)
    with pytest.raises(ValueError, match=message):
        predict.gp_inference(kernel, np.ones((4, 2)), trace_axes=trace_axes, noise_variance=noise)
