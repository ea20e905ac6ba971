"""Rows and products of interleaved kernels against their matrices."""

import numpy as np
import pytest
from jax import numpy as jnp

from neural_tangents.predict._kernel_products import precision, product_of_array, rows_of_array
from neural_tangents.predict._outputs import Outputs


@pytest.mark.parametrize("shape, traced", [((6, 2), (1,)), ((6, 2), ()), ((3, 4, 2), (1,)), ((3,), (0,))])
def test_rows_and_products(shape, traced):
    outputs = Outputs(shape, traced)
    sizes = outputs.described_sizes
    kernel = jnp.asarray(np.random.default_rng(0).normal(size=[n for n in sizes for _ in range(2)]), "float32")
    matrix = np.asarray(outputs.matrix(kernel)) if sizes else np.full((1, 1), float(kernel))
    numbers = np.random.default_rng(1).integers(len(matrix), size=5)
    rows = rows_of_array(kernel, outputs, np.dtype("float32"))(jnp.asarray(numbers))
    np.testing.assert_array_equal(rows, matrix[numbers])
    v = np.random.default_rng(2).normal(size=(len(matrix), 3)).astype("float32")
    found = product_of_array(kernel, outputs, np.dtype("float32"))(jnp.asarray(v))
    np.testing.assert_allclose(found, matrix @ v, rtol=1e-5, atol=1e-5)


def test_precision_is_that_of_the_coarsest_type():
    assert precision("float32", "float64") == np.finfo("float32").eps
    assert precision(jnp.bfloat16, "float32") == 2.0**-7
    assert precision("int32", "float64") == np.finfo("float64").eps
