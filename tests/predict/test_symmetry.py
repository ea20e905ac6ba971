"""Kernels far from symmetric, wherever the difference is."""

import jax.numpy as jnp
import numpy as np
import pytest

from neural_tangents.predict._symmetry import check_symmetric


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
@pytest.mark.parametrize(("n", "at"), [(3, (0, 2)), (300, (299, 0)), (600, (400, 500)), (600, (10, 290))])
def test_one_entry_is_found(n, at, dtype):
    kernel = np.eye(n, dtype="float32")
    kernel[at] = 0.25
    with pytest.raises(ValueError, match="differs from its transpose by up to 0.25, with entries up to 1"):
        check_symmetric(jnp.asarray(kernel, dtype))
    kernel[at[::-1]] = 0.2505
    check_symmetric(jnp.asarray(kernel, dtype))


def test_axes_in_pairs():
    matrix = np.arange(36.0, dtype="float32").reshape(6, 6)
    symmetric = matrix + matrix.T
    for values, right in ((symmetric, True), (matrix, False)):
        kernel = jnp.asarray(values.reshape(3, 2, 3, 2).transpose(0, 2, 1, 3))
        if right:
            check_symmetric(kernel)
        else:
            with pytest.raises(ValueError, match="differs from its transpose by up to 25"):
                check_symmetric(kernel)


def test_nothing_to_compare():
    check_symmetric(jnp.zeros((0, 0)))
    check_symmetric(jnp.zeros(()))
