"""Helpers of layers and programs: trees, axes, and selection of results."""

import collections

import jax.numpy as jnp
import numpy as np
import pytest

from neural_tangents import Kernel, stax
from neural_tangents._src.utils import utils


def test_axes():
    x = np.arange(2 * 3 * 2 * 3).reshape(2, 3, 2, 3)
    assert utils.zip_axes(x).shape == (2, 2, 3, 3) and np.array_equal(utils.unzip_axes(utils.zip_axes(x)), x)
    assert utils.zip_flat((1, 2), "ab") == (1, "a", 2, "b")
    assert utils.canonicalize_axis((-1, 0, 3), x) == [0, 3] and utils.canonicalize_axis(-2, 5) == [3]
    assert utils.mod((-1, 0), x) == [3, 0] and utils.mod(-1, 3) == [2]
    assert utils.canonicalize_idx((0, ...), 3) == (0, slice(None), slice(None))
    assert utils.axis_after_dot(2, (0,), ()) == 1
    assert utils.size_at(x) == 36 and utils.size_at((2, 5, 7), (0, 2)) == 14 and utils.size_at(x, ()) == 1
    assert utils.canonicalize_axis(-1, stax.Dense(1)[2](x[0, 0])) == [1]


def test_matrix_of_pairs():
    x = np.arange(6.0).reshape(2, 3)
    kron = np.einsum("ij,kl->ikjl", x, x)  # (2, 2, 3, 3): pairs of axes with sizes (2, 2) and (3, 3)
    assert utils.make_2d(None) is None
    matrix = utils.make_2d(kron)
    assert matrix.shape == (6, 6)
    assert all(matrix[3 * i + j, 3 * k + m] == kron[i, k, j, m] for i, k, j, m in np.ndindex(kron.shape))


def test_network_trees():
    Pair = collections.namedtuple("Pair", "a b")
    x = np.ones((2, 3))
    assert utils.is_nt_tree_of([x, (jnp.ones(2),)], jnp.ndarray) and utils.is_nt_tree_of([x], np.ndarray)
    assert not utils.is_nt_tree_of([x, 1], np.ndarray) and not utils.is_nt_tree_of(Pair(x, x), np.ndarray)
    assert utils.is_nt_tree_of([stax.Dense(1)[2](x)], Kernel)
    assert utils.is_list_or_tuple([]) and not utils.is_list_or_tuple(Pair(1, 2))
    assert utils.all_none([None, (None,)]) and not utils.all_none([None, 1])
    assert utils.all_none([stax.Dense(1)[2](x)], "cov2") and not utils.all_none(stax.Dense(1)[2](x), "cov1")


def test_functions_of_trees():
    @utils.nt_tree_fn(nargs=2)
    def add(x, y, scale=1):
        return x + scale * (y or 0)

    assert add(1, 2) == 3 and add([1, (2, 3)], [10, (20, 30)], scale=2) == [21, (42, 63)]
    assert add([1, 2], None) == [1, 2]

    @utils.nt_tree_fn(reduce=all)
    def positive(x):
        return x > 0

    assert positive([1, (2, 3)]) and not positive([1, (2, -3)])


def test_get():
    assert utils.canonicalize_get(None) == (True, None)
    assert utils.canonicalize_get("NTK") == (True, ("ntk",))
    assert utils.canonicalize_get(("nngp", "NTK")) == (False, ("nngp", "ntk"))
    with pytest.raises(ValueError, match="duplicates"):
        utils.canonicalize_get(("ntk", "NTK"))


def test_named_tuples():
    @utils.get_namedtuple("Results")
    def results(x, get=None, scale=1):
        assert get is None or isinstance(get, tuple)
        return {"nngp": x, "ntk": scale * x}

    assert results(2, "NTK", scale=3) == 6
    found = results(2, get=("ntk", "nngp"))
    assert type(found).__name__ == "Results" and found._fields == ("ntk", "nngp") and found.nngp == 2
    assert results(2) == {"nngp": 2, "ntk": 2}

    @utils.get_namedtuple("Results")
    def attributes(kernels, get):
        return kernels

    kernel = stax.Dense(1)[2](np.ones((2, 3)))
    assert attributes([kernel], ("nngp",))[0].nngp is kernel.nngp
    assert attributes(kernel, "cov1") is kernel.cov1


def test_arrays_on_the_host():
    assert utils.is_on_cpu([np.ones(2), jnp.ones(2), 3.0]) == (jnp.ones(2).devices().pop().platform == "cpu")
