"""`conjugate_gradients` against dense solutions in float64, and its preconditioner against the dense formula."""

import os
import subprocess
import sys
from typing import NamedTuple

import jax
import linear_models
import numpy as np
import pytest
from jax import numpy as jnp
from jax.test_util import check_grads

import neural_tangents as nt
from neural_tangents import predict
from neural_tangents.predict import _conjugate_gradients
from neural_tangents.predict._nystrom import nystrom

RNG = np.random.default_rng(0)
POINTS = RNG.normal(size=(300, 3))


def smooth_kernel(x=POINTS, width=1.0):
    """A kernel with quickly decaying eigenvalues."""
    return np.exp(-np.sum((x[:, None] - x[None]) ** 2, -1) / (2 * width**2))


def targets(columns=2, n=len(POINTS)):
    return np.random.default_rng(1).normal(size=(n, columns))


def relative(got, want):
    return np.linalg.norm(np.asarray(got) - want) / np.linalg.norm(want)


@pytest.mark.parametrize("rank", [0, 3])
@pytest.mark.parametrize("shape, trace_axes", linear_models.SHAPES_AND_TRACES)
def test_dense_solution(shape, trace_axes, rank):
    problem = linear_models.problem(shape, trace_axes, [60, len(shape), len(trace_axes)])
    absolute = len(trace_axes) == 1
    per_point = 0 in linear_models.described(shape, trace_axes)
    noise = RNG.uniform(0.1, 1, shape[0]) if per_point else 0.2
    matrix = linear_models.regularised(problem.dense(problem.ntk, "dd"), 0.1, absolute)
    matrix += np.diag(np.broadcast_to(np.reshape(noise, (-1, *(1,) * (len(shape) - 1))), shape).ravel())
    with jax.enable_x64(True):
        found = predict.conjugate_gradients(
            problem.ntk["dd"],
            problem.y,
            diag_reg=0.1,
            diag_reg_absolute_scale=absolute,
            noise_variance=noise,
            trace_axes=trace_axes,
            rank=rank,
            tolerance=1e-11,
        )
    assert found.solution.shape == shape and found.solution.dtype == "float64"
    np.testing.assert_allclose(found.solution.ravel(), np.linalg.solve(matrix, problem.y.ravel()), rtol=1e-8, atol=1e-9)
    residual = relative(matrix @ np.asarray(found.solution).ravel(), problem.y.ravel())
    assert residual <= found.residual + 1e-13 <= 1e-11 + 1e-13
    assert 0 < found.iterations <= problem.y.size + 2


@pytest.mark.parametrize("shape, trace_axes", linear_models.SHAPES_AND_TRACES[1:9:2])
def test_function_is_the_same_as_array(shape, trace_axes):
    problem = linear_models.problem(shape, trace_axes, [61, len(shape), len(trace_axes)])
    kept = tuple(shape[axis] for axis in linear_models.described(shape, trace_axes))
    kernel = problem.ntk["dd"]
    half = kernel.ndim // 2

    def product(v):
        assert v.shape == kept
        return jnp.einsum(
            kernel, list(range(2 * half)), v, [2 * i + 1 for i in range(half)], [2 * i for i in range(half)]
        )

    options = dict(diag_reg=0.1, diag_reg_absolute_scale=True, trace_axes=trace_axes, rank=3, tolerance=1e-10)
    with jax.enable_x64(True):
        found = predict.conjugate_gradients(product, problem.y, **options)
        want = predict.conjugate_gradients(kernel, problem.y, **options)
    np.testing.assert_allclose(found.solution, want.solution, rtol=1e-7, atol=1e-9)
    assert found.iterations == want.iterations


def test_operator_of_a_network():
    w = [jax.random.normal(jax.random.key(i), shape) / 3 for i, shape in enumerate([(4, 9), (9, 3)])]
    x, y = jax.random.normal(jax.random.key(2), (6, 4)), jax.random.normal(jax.random.key(3), (6, 3))

    def f(w, x):
        return jnp.tanh(x @ w[0]) @ w[1]

    for trace_axes in ((-1,), ()):
        kernel = nt.empirical_ntk_fn(f, trace_axes)(x, None, w)
        want = predict.gp_inference(kernel, y, 0.1, True, trace_axes)("ntk", kernel)
        product = nt.empirical_ntk_operator_fn(f, trace_axes)(x, None, w).matvec
        found = predict.conjugate_gradients(
            product, y, diag_reg=0.1, diag_reg_absolute_scale=True, trace_axes=trace_axes, tolerance=1e-5
        )
        np.testing.assert_allclose(y - 0.1 * found.solution, want, atol=1e-3)


def test_mean_of_a_gaussian_process(dtype):
    problem = linear_models.problem((12, 3), (-1,), 62)
    k_dd, k_td, y = (a.astype(dtype) for a in (problem.ntk["dd"], problem.ntk["td"], problem.y))
    found = predict.conjugate_gradients(k_dd, y, diag_reg=0.1, noise_variance=0.05, tolerance=1e-5)
    assert found.solution.dtype == found.residual.dtype == dtype
    assert jnp.issubdtype(found.iterations.dtype, jnp.integer)
    want = predict.gp_inference(k_dd, y, 0.1, noise_variance=0.05)("ntk", k_td)
    np.testing.assert_allclose(k_td @ found.solution, want, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kernel_dtype", ["float32", "float64"])
def test_tolerance(kernel_dtype):
    """Also of a kernel in float32, of a size that leaves a smaller block of rows at the end."""
    kernel, y = smooth_kernel().astype(kernel_dtype), targets()
    matrix = kernel.astype("float64") + 1e-2 * np.eye(len(y))
    iterations = []
    with jax.enable_x64(True), pytest.MonkeyPatch.context() as patch:
        patch.setattr(_conjugate_gradients, "_BLOCK", 70 * len(y))
        jax.clear_caches()
        for tolerance in (None, 1e-2, 1e-11):
            found = predict.conjugate_gradients(
                kernel, y, diag_reg=1e-2, diag_reg_absolute_scale=True, rank=20, tolerance=tolerance
            )
            assert abs(relative(matrix @ found.solution, y) - found.residual) < 1e-12
            assert found.residual < (tolerance or 1e-6)
            iterations.append(int(found.iterations))
    assert iterations[1] < iterations[0] < iterations[2]
    assert relative(found.solution, np.linalg.solve(matrix, y)) < 1e-8


def test_float32_reaches_its_default_tolerance():
    kernel, y = smooth_kernel().astype("float32"), targets()
    found = predict.conjugate_gradients(kernel, y, diag_reg=1e-2)
    assert found.residual <= 1e-3
    assert relative(found.solution, np.linalg.solve(kernel.astype(float) + 1e-2 * np.eye(len(y)), y)) < 1e-2
    with pytest.raises(RuntimeError, match=r"at most 1\.0e-08, got .* rounding in float32.*targets in float64"):
        predict.conjugate_gradients(kernel, y, diag_reg=1e-2, tolerance=1e-8)


def test_units_do_not_matter(dtype):
    """Of the many targets, there are so many that lineax by itself would take the first step for a breakdown."""
    kernel, y = smooth_kernel().astype(dtype), targets(400).astype(dtype)
    base = predict.conjugate_gradients(kernel, y, diag_reg=0.1, tolerance=1e-3)
    for rank in (0, 100):
        base = predict.conjugate_gradients(kernel, y, diag_reg=0.1, tolerance=1e-3, rank=rank)
        for scale, size in ((1e10, 1e-6), (1e-10, 1e6)):
            scaled, larger = (scale * kernel).astype(dtype), (size * y).astype(dtype)
            found = predict.conjugate_gradients(scaled, larger, diag_reg=0.1, tolerance=1e-3, rank=rank)
            assert abs(int(found.iterations) - int(base.iterations)) <= 1
            np.testing.assert_allclose(found.solution * (scale / size), base.solution, rtol=1e-2, atol=1e-2)


def test_preconditioner_saves_iterations():
    kernel, y = smooth_kernel(), targets()
    with jax.enable_x64(True):
        iterations = [
            int(predict.conjugate_gradients(kernel, y, diag_reg=1e-4, rank=rank).iterations) for rank in (0, 50, 150)
        ]
    assert iterations[0] > 3 * iterations[1] > 6 * iterations[2]


def test_key_of_the_preconditioner():
    kernel, y = smooth_kernel().astype("float32"), targets()
    solutions = [
        predict.conjugate_gradients(kernel, y, diag_reg=0.1, rank=20, key=key).solution
        for key in (None, jax.random.key(0), jax.random.PRNGKey(0), jax.random.key(1))
    ]
    np.testing.assert_array_equal(solutions[0], solutions[1])
    np.testing.assert_array_equal(solutions[0], solutions[2])
    assert np.any(solutions[0] != solutions[3])


@pytest.mark.parametrize("noise", [np.full(40, 0.1), np.linspace(0, 2, 40)], ids=["uniform", "per point"])
def test_preconditioner_is_the_inverse_of_its_formula(noise):
    kernel, rank, key = smooth_kernel(POINTS[:40], 2.0), 7, jax.random.key(3)
    with jax.enable_x64(True):
        found = nystrom(lambda v: kernel @ v, jnp.asarray(noise), rank, key, 1e-16).solve(jnp.eye(40))
        omega = np.asarray(jax.random.normal(key, (40, rank), "float64"))
    sketch = kernel @ omega
    values, vectors = np.linalg.eigh(sketch @ np.linalg.solve(omega.T @ sketch, sketch.T))
    values, vectors = values[-rank:], vectors[:, -rank:]
    rest = np.eye(40) - vectors @ vectors.T
    matrix = vectors * values @ vectors.T + values[0] * rest + np.diag(noise)
    np.testing.assert_allclose(found, np.linalg.inv(matrix), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(found, found.T, atol=1e-12)
    if np.ptp(noise) == 0:  # as in the paper
        mu = noise[0]
        paper = (values[0] + mu) * (vectors / (values + mu)) @ vectors.T + rest
        np.testing.assert_allclose(found * (values[0] + mu), paper, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("noise", [0.0, 1e-6, 1.0])
def test_preconditioner_is_positive_definite(dtype, noise):
    """Also of kernels of lower rank than its own, and of zero."""
    x = POINTS[:60].astype(dtype)
    for kernel in (x @ x.T, smooth_kernel(x, 3.0).astype(dtype), np.zeros((60, 60), dtype)):
        eps = float(jnp.finfo(dtype).eps)
        inverse = nystrom(lambda v, k=kernel: k @ v, jnp.full(60, noise, dtype), 30, jax.random.key(0), eps)
        assert np.linalg.eigvalsh(np.asarray(inverse.solve(jnp.eye(60, dtype=dtype)), "float64"))[0] > 0


def test_zero_targets():
    found = predict.conjugate_gradients(smooth_kernel().astype("float32"), np.zeros((300, 2), "float32"), diag_reg=0.1)
    assert not found.solution.any() and found.iterations == 0 and found.residual == 0


def test_transformations():
    kernel, y = smooth_kernel(POINTS[:50]), targets(2, 50)

    def solve(kernel, y, diag_reg, noise):
        return predict.conjugate_gradients(kernel, y, diag_reg=diag_reg, noise_variance=noise, rank=10, tolerance=1e-9)

    with jax.enable_x64(True):
        want = solve(kernel, y, 0.1, 0.01)
        for found in (
            jax.jit(solve)(kernel, y, 0.1, 0.01),
            jax.tree.map(lambda a: a[1], jax.vmap(solve, (None, 0, None, None))(kernel, np.stack([-y, y]), 0.1, 0.01)),
            jax.tree.map(
                lambda a: a[1], jax.vmap(solve, (0, None, 0, None))(np.stack([kernel] * 2), y, np.r_[2, 0.1], 0.01)
            ),
        ):
            np.testing.assert_allclose(found.solution, want.solution, rtol=1e-6, atol=1e-7)
            assert abs(int(found.iterations) - int(want.iterations)) <= 1
            assert found.residual <= 1e-9


def test_under_jit_the_residual_tells():
    solve = jax.jit(lambda k, y: predict.conjugate_gradients(k, y, diag_reg=1e-3, rank=0, max_iterations=3))
    found = solve(smooth_kernel().astype("float32"), targets())
    assert found.iterations == 3 and found.residual > 1e-2
    assert np.isnan(solve(np.full((300, 300), np.nan), targets()).residual)


@pytest.mark.parametrize("trace_axes", [(-1,), ()])
def test_gradients(trace_axes):
    problem = linear_models.problem((5, 2), trace_axes, 63)
    kernel = problem.ntk["dd"]
    half = kernel.ndim // 2
    matrix = linear_models.dense(kernel, problem.y.shape, problem.y.shape, trace_axes)

    def solution(factor, y, diag_reg, noise, get):
        scaled = factor * kernel
        if get == "function":
            axes = [range(1, 2 * half, 2), range(half)]
            scaled = lambda v, k=scaled: jnp.tensordot(k, v, axes)  # noqa: E731
        return predict.conjugate_gradients(
            scaled,
            y,
            diag_reg=diag_reg,
            diag_reg_absolute_scale=True,
            noise_variance=noise,
            trace_axes=trace_axes,
            rank=3,
            tolerance=1e-12,
        ).solution

    def dense(factor, y, diag_reg, noise):
        full = factor * matrix + diag_reg * jnp.eye(y.size) + jnp.diag(jnp.repeat(noise, 2))
        return jnp.linalg.solve(full, y.ravel()).reshape(y.shape)

    with jax.enable_x64(True):
        arguments = 1.3, jnp.asarray(problem.y), 0.2, jnp.linspace(0.1, 0.5, 5)
        for get in ("array", "function"):

            def loss(*arguments, get=get):
                return jnp.sum(jnp.sin(solution(*arguments, get)))

            check_grads(loss, arguments, 1, modes=["fwd", "rev"], rtol=1e-5, atol=1e-6)
            want = jax.grad(lambda *arguments: jnp.sum(jnp.sin(dense(*arguments))), (0, 1, 2, 3))(*arguments)
            found = jax.jit(jax.grad(loss, (0, 1, 2, 3)))(*arguments)
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9), found, want)


def test_gradient_in_a_float32_kernel_with_float64_targets():
    kernel, y = smooth_kernel(POINTS[:20]).astype("float32"), targets(1, 20)
    with jax.enable_x64(True):
        found = jax.grad(lambda k: jnp.sum(predict.conjugate_gradients(k, y, noise_variance=0.1).solution))(kernel)
    inverse = np.linalg.inv(kernel.astype("float64") + 0.1 * np.eye(20))
    assert found.dtype == "float32"
    np.testing.assert_allclose(found, -np.outer(inverse.sum(0), inverse @ y), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    "shape, kernel_shape, trace_axes",
    [((20_000, 10), (20_000, 20_000), (-1,)), ((5_000, 4), (5_000, 5_000, 4, 4), ())],
)
def test_memory(shape, kernel_shape, trace_axes):
    """That of the kernel and of a few vectors, also if the kernel has to be converted or rearranged."""
    y, kernel = jax.ShapeDtypeStruct(shape, "float32"), jax.ShapeDtypeStruct(kernel_shape, "float32")
    for dtype in ("float32", "float64"):
        with jax.enable_x64(dtype == "float64"):
            outputs = _conjugate_gradients.Outputs.create(shape, trace_axes)
            settings = _conjugate_gradients._Settings(outputs, False, 100, 1e-6, 1000)
            y = jax.ShapeDtypeStruct(shape, dtype)
            lowered = _conjugate_gradients._solve_array.lower(settings, kernel, y, 0.1, 0.1, jax.random.key(0))
            memory = lowered.compile().memory_analysis()
        assert memory.temp_size_in_bytes < 0.1 * 4 * 20_000**2


def test_errors(monkeypatch):
    kernel, y = smooth_kernel().astype("float32"), targets()

    def solve(kernel=kernel, y=y, **options):
        return predict.conjugate_gradients(kernel, y, **options)

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
    for tolerance in (0, 1, -1e-3, np.nan):
        with pytest.raises(ValueError, match="`tolerance` between 0 and 1"):
            solve(tolerance=tolerance)
    for rank in (-1, 1.5):
        with pytest.raises(ValueError, match="`rank` to be an integer >= 0"):
            solve(rank=rank)
    with pytest.raises(ValueError, match="`max_iterations` to be an integer >= 1"):
        solve(max_iterations=0)
    with pytest.raises(RuntimeError, match="after 2 iterations. Pass a larger `max_iterations`"):
        solve(diag_reg=1e-3, rank=0, max_iterations=2)
    with pytest.raises(RuntimeError, match="singular"):
        solve(0 * kernel)
    with pytest.raises(RuntimeError):
        solve(-kernel, noise_variance=0.01)
    for where in (0, 7):
        broken = kernel.copy()
        broken[where, where] = np.nan
        with pytest.raises(ValueError, match="finite numbers in `kernel`"):
            solve(broken, diag_reg=0.1)
        with pytest.raises(ValueError, match="finite numbers in `y_train`"):
            solve(y=np.where(np.arange(300)[:, None] == where, np.inf, y), diag_reg=0.1)
    with pytest.raises(RuntimeError, match="singular, or not finite"):
        solve(lambda v: v * jnp.nan)
    monkeypatch.setitem(sys.modules, "lineax", None)
    with pytest.raises(ImportError, match=r"pip install 'neural-tangents\[large\]'"):
        solve()


DEVICES = """
import re, sys, jax, numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from neural_tangents import predict
from neural_tangents.predict import _conjugate_gradients as module
assert "lineax" not in sys.modules

mesh = Mesh(np.asarray(jax.devices()).reshape(2, 2), ("a", "b"))
rng = np.random.default_rng(0)
x, y = rng.normal(size=(240, 4)), rng.normal(size=(240, 3))
dense = np.exp(-np.sum((x[:, None] - x[None]) ** 2, -1))
want = np.linalg.solve(dense + 0.1 * np.eye(240), y)
options = dict(diag_reg=0.1, rank=20)

def check(kernel, targets, **more):
    found = predict.conjugate_gradients(kernel, targets, **options, **more)
    assert found.residual <= 1e-6
    np.testing.assert_allclose(np.reshape(found.solution, want.shape), want, rtol=1e-3, atol=1e-4)

def no_gathering(sharding, shape, y_shape, trace_axes):
    settings = module._Settings(module.Outputs.create(y_shape, trace_axes), False, 20, 1e-6, 100)
    kernel = jax.ShapeDtypeStruct(shape, "float32", sharding=sharding)
    for dtype in ("float32", "float64"):
        y = jax.ShapeDtypeStruct(y_shape, dtype)
        compiled = module._solve_array.lower(settings, kernel, y, 0.1, None, jax.random.key(0)).compile()
        memory = compiled.memory_analysis()
        assert memory.temp_size_in_bytes < 0.4 * 4 * 2400**2 / 4, (sharding, memory)
        moved = re.findall(r"\\w+\\[([\\d,]+)\\]\\S* (?:all-gather|all-to-all|collective-permute)\\(", compiled.as_text())
        assert all(np.prod([int(n) for n in sizes.split(",")]) <= 2400 * 20 for sizes in moved), moved

with jax.enable_x64(True):
    for spec in (("a",), (("a", "b"),), (None, "b"), ("a", "b")):
        sharding = NamedSharding(mesh, jax.P(*spec))
        check(jax.device_put(dense.astype("float32"), sharding), y)
    check(jax.device_put(dense, sharding), jax.device_put(y, NamedSharding(mesh, jax.P("a"))))
    blocks = dense.reshape(60, 4, 60, 4).transpose(0, 2, 1, 3)
    check(jax.device_put(np.kron(np.eye(3), dense).reshape(3, 240, 3, 240).transpose(1, 3, 0, 2), sharding), y, trace_axes=())
    module._BLOCK = 2**17
    for spec in ((("a", "b"),), ("a", "b")):
        sharding = NamedSharding(mesh, jax.P(*spec))
        no_gathering(sharding, (2400, 2400), (2400, 3), (-1,))
        no_gathering(sharding, (600, 600, 4, 4), (600, 4), ())
    explicit = jax.make_mesh((4,), ("a",), axis_types=(AxisType.Explicit,))
    try:
        check(jax.device_put(dense, NamedSharding(explicit, jax.P("a"))), y)
    except ValueError as error:
        print(error)
"""


def test_kernels_spread_over_devices():
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    found = subprocess.run([sys.executable, "-c", DEVICES], env=environment, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert "of type Auto, got float64[240@a,240]" in found.stdout
