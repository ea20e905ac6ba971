"""`conjugate_gradients` against dense solutions in float64."""

import subprocess
import sys
from typing import NamedTuple

import jax
import linear_models
import numpy as np
import pytest
from jax import numpy as jnp

import neural_tangents as nt
from neural_tangents import predict
from neural_tangents.predict import _conjugate_gradients, _kernel_products
from neural_tangents.predict._outputs import Outputs

POINTS = np.random.default_rng(0).normal(size=(300, 3))


def smooth_kernel(x=POINTS, width=1.0):
    """A kernel with quickly decaying eigenvalues."""
    return np.exp(-np.sum((x[:, None] - x[None]) ** 2, -1) / (2 * width**2))


def targets(columns=2, n=300):
    return np.random.default_rng(1).normal(size=(n, columns))


def relative(got, want):
    return np.linalg.norm(np.asarray(got) - want) / np.linalg.norm(want)


def as_function(kernel):
    """`v -> K v` for an interleaved kernel."""
    half = kernel.ndim // 2
    return lambda v: jnp.tensordot(kernel, v, [list(range(1, 2 * half, 2)), list(range(half))])


@pytest.mark.parametrize("shape, trace_axes", [linear_models.SHAPES_AND_TRACES[i] for i in (0, 2, 3, 4, 9)])
def test_dense_solution(shape, trace_axes):
    """Of kernels as arrays and as functions, with noise for each point where they tell points apart."""
    problem = linear_models.problem(shape, trace_axes, [60, len(shape), len(trace_axes)])
    kernel, y = problem.ntk["dd"], problem.y
    noise = np.linspace(0.1, 1, shape[0]) if 0 in linear_models.described(shape, trace_axes) else 0.2
    shift = np.diag(np.broadcast_to(np.reshape(noise, (-1, *(1,) * (len(shape) - 1))), shape).ravel())
    matrix = problem.dense(problem.ntk, "dd")
    options = dict(diag_reg=0.1, noise_variance=noise, trace_axes=trace_axes, tolerance=1e-11)
    with jax.enable_x64(True):
        found = [
            predict.conjugate_gradients(kernel, y, rank=3, **options),
            predict.conjugate_gradients(as_function(kernel), y, rank=0, diag_reg_absolute_scale=True, **options),
        ]
    for (solution, iterations, residual), absolute in zip(jax.tree.map(np.asarray, found), (False, True), strict=True):
        assert solution.shape == shape and solution.dtype == "float64"
        full = linear_models.regularised(matrix, 0.1, absolute) + shift
        np.testing.assert_allclose(solution.ravel(), np.linalg.solve(full, y.ravel()), rtol=1e-8, atol=1e-9)
        assert residual <= 1e-11 and abs(relative(full @ solution.ravel(), y.ravel()) - residual) < 1e-13
        assert 0 < iterations <= y.size + 2


@pytest.mark.slow
def test_operator_of_a_network():
    w = [jax.random.normal(jax.random.key(i), shape) / 3 for i, shape in enumerate([(4, 9), (9, 3)])]
    x, y = jax.random.normal(jax.random.key(2), (6, 4)), jax.random.normal(jax.random.key(3), (6, 3))

    def f(w, x):
        return jnp.tanh(x @ w[0]) @ w[1]

    product = nt.empirical_ntk_operator_fn(f)(x, None, w).matvec
    found = predict.conjugate_gradients(product, y, noise_variance=0.1, rank=0, tolerance=1e-5)
    kernel = np.asarray(nt.empirical_ntk_fn(f)(x, None, w), "float64")
    np.testing.assert_allclose(found.solution, np.linalg.solve(kernel + 0.1 * np.eye(6), y), rtol=1e-3, atol=1e-3)


def test_mean_of_a_gaussian_process():
    problem = linear_models.problem((12, 3), (-1,), 62)
    k_dd, k_td, y = (a.astype("float32") for a in (problem.ntk["dd"], problem.ntk["td"], problem.y))
    found = predict.conjugate_gradients(k_dd, y, diag_reg=0.1, noise_variance=0.05, tolerance=1e-5)
    assert found.solution.dtype == found.residual.dtype == "float32"
    assert jnp.issubdtype(found.iterations.dtype, jnp.integer)
    want = predict.gp_inference(k_dd, y, 0.1, noise_variance=0.05)("ntk", k_td)
    np.testing.assert_allclose(k_td @ found.solution, want, rtol=1e-3, atol=1e-4)


def test_tolerance_with_float64_targets_for_a_float32_kernel(monkeypatch):
    """Of a size that leaves a smaller block of rows at the end."""
    monkeypatch.setattr(_kernel_products, "BLOCK", 70 * 300)
    kernel, y = smooth_kernel().astype("float32"), targets()
    matrix = kernel.astype("float64") + 0.0123 * np.eye(300)
    iterations = []
    for tolerance in (None, 1e-11):
        with jax.enable_x64(True):
            options = dict(noise_variance=0.0123, rank=0, tolerance=tolerance)
            found = jax.tree.map(np.asarray, predict.conjugate_gradients(kernel, y, **options))
        assert abs(relative(matrix @ found.solution, y) - found.residual) < 1e-12
        assert found.residual <= (tolerance or 1e-6)
        iterations.append(found.iterations)
    assert iterations[0] < iterations[1]
    assert relative(found.solution, np.linalg.solve(matrix, y)) < 1e-8


def test_float32_reaches_its_default_tolerance():
    kernel, y = smooth_kernel().astype("float32"), targets()
    found = predict.conjugate_gradients(kernel, y, diag_reg=1e-2)
    assert found.residual <= 1e-3
    assert relative(found.solution, np.linalg.solve(kernel.astype(float) + 1e-2 * np.eye(300), y)) < 1e-2
    with pytest.raises(RuntimeError, match=r"at most 1\.0e-08, got .* rounding in float32.*targets in float64"):
        predict.conjugate_gradients(kernel, y, diag_reg=1e-2, rank=0, tolerance=1e-8)


@pytest.mark.parametrize("rank", [0, 100])
def test_units_do_not_matter(rank):
    """There are so many targets that lineax by itself would take the first step for a breakdown."""
    kernel, y = smooth_kernel().astype("float32"), targets(400).astype("float32")
    want = predict.conjugate_gradients(kernel, y, diag_reg=0.1, rank=rank)
    for scale, size in ((1e10, 1e-6), (1e-10, 1e6)):
        found = predict.conjugate_gradients(np.float32(scale) * kernel, np.float32(size) * y, diag_reg=0.1, rank=rank)
        assert abs(found.iterations / want.iterations - 1) < 0.2
        np.testing.assert_allclose(found.solution * (scale / size), want.solution, atol=0.05)


def test_preconditioner_saves_iterations():
    kernel, y = smooth_kernel(), targets()
    with jax.enable_x64(True):
        iterations = [
            int(predict.conjugate_gradients(kernel, y, diag_reg=1e-3, rank=rank).iterations) for rank in (0, 100)
        ]
    assert iterations[0] > 4 * iterations[1]


@pytest.mark.slow
def test_more_columns_save_iterations():
    """Also by default, and for the pseudo-inverse that a function takes in their place."""
    kernel, y = smooth_kernel(width=0.3), targets()
    with jax.enable_x64(True):
        options = dict(diag_reg=1e-3, diag_reg_absolute_scale=True)
        few, default, many, all_ = (
            int(predict.conjugate_gradients(kernel, y, rank=rank, **options).iterations)
            for rank in (20, None, 200, 400)
        )
        function = int(predict.conjugate_gradients(as_function(kernel), y, rank=200, **options).iterations)
    assert few > default > many > all_ and all_ <= 2
    assert function < default


def test_key_of_the_preconditioner():
    kernel, y = smooth_kernel().astype("float32"), targets()
    first, same, other = (
        predict.conjugate_gradients(kernel, y, diag_reg=0.1, rank=20, key=key).solution
        for key in (None, jax.random.key(0), jax.random.key(1))
    )
    np.testing.assert_array_equal(first, same)
    assert np.any(first != other)


def test_zero_targets():
    found = predict.conjugate_gradients(smooth_kernel().astype("float32"), np.zeros((300, 2), "float32"), diag_reg=0.1)
    assert not found.solution.any() and found.iterations == 0 and found.residual == 0


@pytest.mark.slow
def test_transformations():
    kernel, y = smooth_kernel(POINTS[:50]), targets(2, 50)

    def solve(kernel, y, diag_reg):
        return predict.conjugate_gradients(kernel, y, diag_reg=diag_reg, rank=10, tolerance=1e-9)

    with jax.enable_x64(True):
        jitted = jax.jit(solve)(kernel, y, 0.1)
        mapped = jax.vmap(solve)(np.stack([2 * kernel, kernel]), np.stack([y, y]), jnp.asarray([1.0, 0.1]))
    for found in jax.tree.map(np.asarray, (jitted, jax.tree.map(lambda a: a[1], mapped))):
        np.testing.assert_allclose(found.solution, np.linalg.solve(kernel + 0.1 * np.eye(50), y), rtol=1e-6, atol=1e-7)
        assert found.residual <= 1e-9 and abs(found.iterations - int(jitted.iterations)) <= 1


def test_under_jit_the_residual_tells():
    solve = jax.jit(lambda k, y: predict.conjugate_gradients(k, y, diag_reg=1e-3, rank=0, max_iterations=3))
    found = solve(smooth_kernel().astype("float32"), targets())
    assert found.iterations == 3 and found.residual > 1e-2
    assert np.isnan(solve(np.full((300, 300), np.nan), targets()).residual)


@pytest.mark.slow
@pytest.mark.parametrize("trace_axes, convert", [((-1,), as_function), ((), jnp.asarray)], ids=["function", "array"])
def test_gradients(trace_axes, convert):
    problem = linear_models.problem((5, 2), trace_axes, 63)
    kernel, matrix = problem.ntk["dd"], problem.dense(problem.ntk, "dd")
    arguments = np.asarray(1.3), problem.y, np.asarray(0.2), np.linspace(0.1, 0.5, 5)
    direction = jax.tree.map(lambda a: np.random.default_rng(2).normal(size=a.shape), arguments)

    def loss(factor, y, diag_reg, noise):
        options = dict(diag_reg_absolute_scale=True, trace_axes=trace_axes, rank=3, tolerance=1e-12)
        kernel_ = convert(factor * kernel)
        found = predict.conjugate_gradients(kernel_, y, diag_reg=diag_reg, noise_variance=noise, **options)
        return jnp.sum(jnp.sin(found.solution))

    def dense(step):
        factor, y, diag_reg, noise = jax.tree.map(lambda a, d: a + step * d, arguments, direction)
        return np.sum(np.sin(np.linalg.solve(factor * matrix + np.diag(diag_reg + np.repeat(noise, 2)), y.ravel())))

    want = (dense(1e-5) - dense(-1e-5)) / 2e-5
    with jax.enable_x64(True):
        _, forward = jax.jit(lambda *a: jax.jvp(loss, a, direction))(*arguments)
        backward = jax.jit(jax.grad(loss, (0, 1, 2, 3)))(*arguments)
    np.testing.assert_allclose(forward, want, rtol=1e-7)
    np.testing.assert_allclose(sum(np.vdot(a, b) for a, b in zip(backward, direction, strict=True)), want, rtol=1e-7)


def test_gradient_in_a_float32_kernel_with_float64_targets():
    kernel, y = smooth_kernel(POINTS[:20]).astype("float32"), targets(1, 20)
    with jax.enable_x64(True):
        found = jax.jit(
            jax.grad(lambda k: jnp.sum(predict.conjugate_gradients(k, y, noise_variance=0.1, rank=0).solution))
        )(kernel)
    inverse = np.linalg.inv(kernel.astype("float64") + 0.1 * np.eye(20))
    assert found.dtype == "float32"
    np.testing.assert_allclose(found, -np.outer(inverse.sum(0), inverse @ y), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    "dtype, shape, kernel_shape, trace_axes",
    [("float32", (20_000, 10), (20_000,) * 2, (-1,)), ("float64", (5_000, 4), (5_000, 5_000, 4, 4), ())],
)
def test_memory(dtype, shape, kernel_shape, trace_axes):
    """Little is needed besides a kernel in float32, also if it has to be converted and rearranged."""
    settings = _conjugate_gradients._Settings(Outputs.create(shape, trace_axes), False, 100, 1e-6, 1000)
    with jax.enable_x64(dtype == "float64"):
        kernel, y = jax.ShapeDtypeStruct(kernel_shape, "float32"), jax.ShapeDtypeStruct(shape, dtype)
        lowered = _conjugate_gradients._solve_array.lower(settings, kernel, y, 0.1, 0.1, jax.random.key(0))
        memory = lowered.compile().memory_analysis()
    assert memory.temp_size_in_bytes < 0.1 * 4 * 20_000**2


def test_errors(monkeypatch):
    kernel, y = smooth_kernel().astype("float32"), targets().astype("float32")

    def solve(kernel=kernel, y=y, rank=0, **options):
        return predict.conjugate_gradients(kernel, y, rank=rank, **options)

    class Operator(NamedTuple):
        matvec: object

    with pytest.raises(ValueError, match=r"`kernel` of shape \(300, 300\).*got shape \(299, 300\)"):
        solve(kernel[1:])
    with pytest.raises(ValueError, match=r"Pass its `.matvec`"):
        solve(Operator(lambda v: v))
    with pytest.raises(ValueError, match=r"arrays of shape \(300,\) to arrays of this shape.*got \(3,\)"):
        solve(lambda v: v[:3])
    with pytest.raises(ValueError, match=r"absolute scale.*`diag_reg_absolute_scale=True`"):
        solve(lambda v: v, diag_reg=0.1)
    with pytest.raises(ValueError, match="`diag_reg` >= 0"):
        solve(diag_reg=-1.0)
    with pytest.raises(ValueError, match=r"`noise_variance`.*\(300,\)"):
        solve(noise_variance=np.ones(2))
    with pytest.raises(ValueError, match="finite numbers in `tolerance`"):
        solve(tolerance=np.nan)
    for tolerance in (0, 1, -1e-3):
        with pytest.raises(ValueError, match="`tolerance` between 0 and 1"):
            solve(tolerance=tolerance)
    for rank in (-1, 1.5):
        with pytest.raises(ValueError, match="`rank` to be an integer >= 0"):
            solve(rank=rank)
    with pytest.raises(ValueError, match="`max_iterations` to be an integer >= 1"):
        solve(max_iterations=0)
    with pytest.raises(RuntimeError, match="after 2 iterations. Pass a larger `max_iterations`"):
        solve(max_iterations=2)
    with pytest.raises(RuntimeError, match="singular"):
        solve(0 * kernel)
    with pytest.raises(RuntimeError, match="Expected a residual"):
        solve(-kernel)
    for where in (0, 7):
        broken = kernel.copy()
        broken[where, where] = np.nan
        with pytest.raises(ValueError, match="finite numbers in `kernel`"):
            solve(broken)
        with pytest.raises(ValueError, match="finite numbers in `y_train`"):
            solve(y=np.where(np.arange(300)[:, None] == where, np.inf, y))
    with pytest.raises(RuntimeError, match="singular, or not finite"):
        solve(lambda v: v * jnp.nan)
    monkeypatch.setitem(sys.modules, "lineax", None)
    with pytest.raises(ImportError, match="pip install lineax"):
        solve()


DEVICES = """
import re, sys, jax, numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from neural_tangents import predict
from neural_tangents.predict import _conjugate_gradients as module, _kernel_products
assert "lineax" not in sys.modules

mesh = Mesh(np.asarray(jax.devices()).reshape(2, 2), ("a", "b"))
rng = np.random.default_rng(0)
x, y = rng.normal(size=(240, 4)), rng.normal(size=(240, 3))
dense = np.exp(-np.sum((x[:, None] - x[None]) ** 2, -1))
want = np.linalg.solve(dense + 0.1 * np.eye(240), y)

def sharding(*spec):
    return NamedSharding(mesh, jax.P(*spec))

def check(kernel, targets):
    found = predict.conjugate_gradients(kernel, targets, diag_reg=0.1, rank=20)
    assert found.residual <= 1e-6
    np.testing.assert_allclose(found.solution, want, rtol=1e-3, atol=1e-4)

def check_messages(sharding, shape, y_shape, dtype, trace_axes):
    kernel, y = jax.ShapeDtypeStruct(shape, "float32", sharding=sharding), jax.ShapeDtypeStruct(y_shape, dtype)
    settings = module._Settings(module.Outputs.create(y_shape, trace_axes), False, 20, 1e-6, 100)
    compiled = module._solve_array.lower(settings, kernel, y, 0.1, None, jax.random.key(0)).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 0.4 * 4 * 2400**2 / 4, compiled.memory_analysis()
    sent = re.findall(r"\\w+\\[([\\d,]+)\\]\\S* (?:all-gather|all-to-all|collective-permute)\\(", compiled.as_text())
    assert all(np.prod([int(n) for n in sizes.split(",")]) <= 2400 * 20 for sizes in sent), sent

with jax.enable_x64(True):
    check(jax.device_put(dense.astype("float32"), sharding("a", "b")), y)
    check(jax.device_put(dense, sharding(("a", "b"))), jax.device_put(y, sharding("a")))
    _kernel_products.BLOCK = 2**17
    check_messages(sharding("a", "b"), (600, 600, 4, 4), (600, 4), "float64", ())
    explicit = jax.make_mesh((4,), ("a",), axis_types=(AxisType.Explicit,))
    try:
        check(jax.device_put(dense, NamedSharding(explicit, jax.P("a"))), y)
    except ValueError as error:
        print(error)
"""


@pytest.mark.slow
def test_kernels_spread_over_devices(four_devices):
    """No device gets the rows of another, and lineax is not imported before it is needed."""
    found = subprocess.run([sys.executable, "-c", DEVICES], env=four_devices, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert "of type Auto, got float64[240@a,240]" in found.stdout
