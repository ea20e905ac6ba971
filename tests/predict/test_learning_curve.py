"""Learning curves, compared with measured errors of kernel regression."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import cdist

from neural_tangents import predict
from neural_tangents.predict import KernelSpectrum

MODES = 120
EIGENVALUES = np.arange(1, MODES + 1) ** -1.4
POWER = np.exp(-np.arange(MODES) / 10) / 10


@functools.cache
def errors_on_gaussian_features(n, ridge, noise, draws=100):
    """Returns errors on the test and on the training set for independent Gaussian features with these eigenvalues.

    The test error is the expectation over the distribution, in closed form for each draw of a training set.
    """
    rng = np.random.default_rng(n)
    features, signs = rng.normal(size=(draws, n, MODES)), rng.choice([-1, 1], (draws, MODES))
    truth = signs * np.sqrt(POWER)
    y = np.einsum("dni,di->dn", features, truth) + np.sqrt(noise) * rng.normal(size=(draws, n))
    kernel = (features * EIGENVALUES) @ np.swapaxes(features, 1, 2)
    solution = np.linalg.solve(kernel + ridge * np.eye(n), y[..., None])
    coefficients = EIGENVALUES * np.einsum("dni,dn->di", features, solution[..., 0])
    on_test = np.sum((coefficients - truth) ** 2, -1) + noise
    return np.stack([on_test, np.mean((kernel @ solution - y[..., None]) ** 2, (1, 2))])


@pytest.mark.parametrize(
    ("sizes", "ridge", "noise"), [([10, 30, 70], 0.05, 0.0), ([20, 60], 0.5, 0.3), ([30, 60], 1e-6, 0.1)]
)
def test_errors_of_a_known_distribution(sizes, ridge, noise, dtype):
    spectrum = KernelSpectrum(jnp.asarray(EIGENVALUES, dtype), jnp.sqrt(jnp.asarray(POWER, dtype))[:, None], noise)
    curve = spectrum.learning_curve(sizes, ridge, diag_reg_absolute_scale=True)
    assert {x.dtype for x in (curve.test_error, curve.train_error, curve.kappa)} == {dtype}
    for i, n in enumerate(sizes):
        found = errors_on_gaussian_features(n, ridge, noise)
        mean, error = found.mean(1), found.std(1) / np.sqrt(found.shape[1])
        for j, predicted in enumerate((curve.test_error[i], curve.train_error[i])):
            assert abs(predicted - mean[j]) < 4 * error[j] + 0.03 * mean[j]


def test_the_effective_regularisation_solves_its_equation(dtype):
    """At any shape of sizes, and in both scales of the regularisation."""
    spectrum = KernelSpectrum(jnp.asarray(EIGENVALUES, dtype), jnp.sqrt(jnp.asarray(POWER, dtype))[:, None])
    sizes = np.array([[3, 17], [150, 2000]])
    for absolute in (True, False):
        curve = spectrum.learning_curve(sizes, 0.01, absolute)
        ridge = 0.01 * (1 if absolute else EIGENVALUES.sum())
        kappa = np.asarray(curve.kappa, "float64")[..., None]
        dimension = np.sum(EIGENVALUES / (EIGENVALUES + kappa), -1)
        np.testing.assert_allclose(dimension + ridge / kappa[..., 0], sizes, rtol=1e-4 if dtype == "float32" else 1e-9)
        np.testing.assert_allclose(curve.effective_dimension, dimension, rtol=1e-4)
        np.testing.assert_allclose(spectrum.effective_dimension(curve.kappa), dimension, rtol=1e-4)
        assert curve.test_error.shape == sizes.shape
    np.testing.assert_allclose(spectrum.task_alignment, np.cumsum(POWER) / np.sum(POWER), rtol=1e-5)


@pytest.mark.slow
def test_errors_of_digits_at_any_fraction_of_them():
    """Training sets are drawn from the points of the kernel, and the others are tested on."""
    data, rng = pytest.importorskip("sklearn.datasets").load_digits(), np.random.default_rng(1)
    order = rng.permutation(1797)[:300]
    kernel, y = np.exp(-cdist(data.data[order], data.data[order]) / 40), np.eye(10)[data.target[order]] - 0.1
    with jax.enable_x64(True):
        spectrum = predict.spectrum(kernel, y)
        sizes, draws, ridges = [30, 90, 150, 270], [10, 10, 20, 40], [0.0, 0.05]
        curves = [spectrum.learning_curve(np.asarray(sizes), ridge) for ridge in ridges]
    for curve, ridge in zip(curves, ridges, strict=True):
        for i, (n, number) in enumerate(zip(sizes, draws, strict=True)):
            found = []
            for _ in range(number):
                order = rng.permutation(len(y))
                train, test = order[:n], order[n:]
                k_dd = kernel[np.ix_(train, train)]
                solution = np.linalg.solve(k_dd + ridge * np.eye(n), y[train])
                on_test = kernel[np.ix_(test, train)] @ solution - y[test]
                found.append([np.mean(on_test**2), np.mean((k_dd @ solution - y[train]) ** 2)])
            on_test, on_train = np.mean(found, axis=0)
            np.testing.assert_allclose(curve.test_error[i], on_test, rtol=0.05)
            np.testing.assert_allclose(curve.train_error[i], on_train, rtol=0.1, atol=1e-12)


@pytest.mark.parametrize(("shape", "trace_axes"), [((12, 2), (-1,)), ((6, 2, 3), (-1,))], ids=str)
@pytest.mark.parametrize("diag_reg", [0.0, 0.1])
def test_from_all_points_but_one(diag_reg, shape, trace_axes):
    """The error at the end of the curve is that of leaving one out, also of points with several outputs."""
    rng = np.random.default_rng(3)
    root, y = rng.normal(size=(12, 12)), rng.normal(size=shape)
    kernel = root @ root.T
    if len(shape) == 3:
        kernel = np.transpose(kernel.reshape(6, 2, 6, 2), (0, 2, 1, 3))
    with jax.enable_x64(True):
        predict_fn = predict.gp_inference(kernel, y, diag_reg, trace_axes=trace_axes)
        curve = predict.spectrum(kernel, y, trace_axes).learning_curve([shape[0]], diag_reg)
        left_out = np.mean((predict_fn.leave_one_out().mean - y) ** 2)
        np.testing.assert_allclose(curve.test_error, [left_out], rtol=1e-8)
        on_train = predict_fn("nngp", kernel) - y
        np.testing.assert_allclose(curve.train_error, [np.mean(on_train**2)], rtol=1e-8, atol=1e-18)


def test_small_fractions_of_a_matrix_are_the_distribution():
    """If eigenvectors favour no point: the discrete Fourier transform."""
    points = 512
    row = np.fft.ifft(np.maximum(np.minimum(np.arange(points), points - np.arange(points)), 1.0) ** -2.0).real
    kernel = row[(np.arange(points)[:, None] - np.arange(points)) % points]
    y = np.sin(2 * np.pi * np.arange(points) * 2 / points)[:, None]
    with jax.enable_x64(True):
        found = predict.spectrum(kernel, y)
        of_matrix, of_distribution = (
            spectrum.learning_curve([2, 4, 8], 0.01)
            for spectrum in (found, KernelSpectrum(found.eigenvalues, found.coefficients))
        )
    for a, b in [
        (of_matrix.test_error, of_distribution.test_error),
        (of_matrix.train_error, of_distribution.train_error),
        (of_matrix.kappa, of_distribution.kappa),
    ]:
        np.testing.assert_allclose(a, b, rtol=0.03)


@pytest.mark.parametrize(
    ("shape", "trace_axes"), [((6,), ()), ((6, 2), (-1,)), ((6, 2), ()), ((4, 2, 3), (1,))], ids=str
)
def test_spectra_of_matrices(shape, trace_axes, dtype):
    rng = np.random.default_rng(4)
    sizes = [n for axis, n in enumerate(shape) if axis not in {a % len(shape) for a in trace_axes}]
    rows, pairs = int(np.prod(sizes)), [axis for i in range(len(sizes)) for axis in (i, len(sizes) + i)]
    root, y = rng.normal(size=(rows, rows)), rng.normal(size=shape)
    matrix = root @ root.T
    kernel = np.transpose(matrix.reshape(*sizes, *sizes), pairs)
    found = predict.spectrum(kernel.astype(dtype), y.astype(dtype), trace_axes)
    assert found.points == shape[0] and found.noise == 0
    assert found.eigenvalues.dtype == found.power.dtype == dtype
    np.testing.assert_allclose(found.eigenvalues, np.linalg.eigvalsh(matrix)[::-1] / rows, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(np.sum(found.power), np.mean(y**2), rtol=1e-5)
    leading = np.linalg.eigh(matrix)[1][:, -1]
    y = np.moveaxis(y, 1, -1).reshape(rows, -1) if trace_axes == (1,) else y.reshape(rows, -1)
    np.testing.assert_allclose(found.power[0], np.mean((leading @ y) ** 2) / rows, rtol=1e-3)
    exact = predict.spectrum(kernel.astype(dtype), np.ones(shape, dtype), trace_axes, solve_in_float64=True)
    np.testing.assert_allclose(exact.eigenvalues, found.eigenvalues, rtol=1e-3, atol=1e-5)
    assert exact.eigenvalues.dtype == dtype


@pytest.mark.slow
def test_derivatives_and_compilation():
    """In a length scale and in the regularisation, against differences."""
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(20, 2)), rng.normal(size=(20, 1))
    squares = np.sum((x[:, None] - x) ** 2, -1)

    def errors(values):
        scale, diag_reg = values
        curve = predict.spectrum(jnp.exp(-scale * squares), y).learning_curve(np.array([5, 15]), diag_reg)
        return jnp.stack([curve.test_error[0], curve.train_error[1], curve.kappa[1]])

    with jax.enable_x64(True):
        values, h = np.array([0.7, 0.1]), 1e-5
        compiled = jax.jit(errors)
        np.testing.assert_allclose(compiled(values), errors(values), rtol=1e-12)
        exact = jax.jit(jax.jacrev(errors))(values)
        for i in range(2):
            step = h * np.eye(2)[i]
            numeric = (compiled(values + step) - compiled(values - step)) / (2 * h)
            np.testing.assert_allclose(exact[:, i], numeric, rtol=1e-5)


def test_errors():
    found = predict.spectrum(np.eye(4), np.ones((4, 1)))
    with pytest.raises(ValueError, match="from 1 to 4, got 2 to 5"):
        found.learning_curve([2, 5])
    with pytest.raises(ValueError, match="from 1 to 4, got 0 to 0"):
        found.learning_curve(0)
    with pytest.raises(ValueError, match="`diag_reg` >= 0"):
        found.learning_curve(2, -0.1)
    with pytest.raises(TypeError, match="array of numbers"):
        found.learning_curve("all")
    with pytest.raises(ValueError, match="one row for each"):
        KernelSpectrum(jnp.ones(3), jnp.ones(3)).learning_curve(2)
    with pytest.raises(ValueError, match="axis 0 of `y_train`"):
        predict.spectrum(np.eye(2), np.ones((4, 2)), trace_axes=(0,))
    with pytest.raises(ValueError, match="`k_train_train` of shape"):
        predict.spectrum(np.eye(3), np.ones((4, 2)))
    with pytest.raises(ValueError, match="symmetric"):
        predict.spectrum(np.triu(np.ones((4, 4))), np.ones((4, 2)))
