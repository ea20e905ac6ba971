"""Batches cut into samples: each is what the network gives for it alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from finite_networks import MLP_PARAMS, X1, assert_close, mlp, normal

from neural_tangents.empirical._samples import samples

PARAMS = {"w": normal(5, 3)}


def f(p, x, scale=1.0, name=""):
    """Outputs `(N, 3)` and `(3, 1, N)` of `{"a": (N, 5), "b": (5, N)}`."""
    y = np.sqrt(2) * x["a"] * x["b"].T @ p["w"] * scale
    return y, {"z": y.T[:, None]}


def test_without_axes_the_batch_is_one_sample():
    with jax.enable_x64(True):
        batch = samples(mlp, MLP_PARAMS, X1, {}, None)
        assert not batch.mapped and batch.shapes == ((3, 3),)
        (out,) = batch.map(lambda sample: batch.apply(MLP_PARAMS, sample))
        assert_close(out, np.asarray(mlp(MLP_PARAMS, X1))[None])
        assert batch.labels(0, ("i", "j")) == ("one sample", "i", "j")


@pytest.mark.parametrize("negative", [False, True])
def test_samples_along_any_axis(negative):
    with jax.enable_x64(True):
        x = {"a": normal(4, 5), "b": normal(5, 4)}
        scale = normal(4, 1)
        axes = ({"a": 0, "b": 1}, (0, {"z": 2}), {"scale": 0})
        if negative:
            axes = ({"a": -2, "b": -1}, (-2, -1), {"scale": -2})
        batch = samples(f, PARAMS, x, {"scale": scale, "name": "a keyword that is not an array"}, axes)
        assert batch.mapped and batch.batch_axes == (0, 2) and batch.shapes == ((4, 3), (3, 1, 4))
        y, z = batch.map(lambda sample: batch.apply(PARAMS, sample))
        expected = f(PARAMS, x, scale)
        assert_close(y, expected[0])
        assert_close(np.moveaxis(z, 0, 2), expected[1]["z"])
        assert batch.labels(0, ("i", "j")) == ("i", "j") and batch.labels(1, ("i", "j", "k")) == ("k", "i", "j")
        assert jax.tree.unflatten(batch.structure, [0, 1]) == (0, {"z": 1})


def test_axes_that_are_none_are_shared():
    with jax.enable_x64(True):
        x = {"a": normal(4, 5), "b": normal(5, 1)}
        batch = samples(f, PARAMS, x, {}, ({"a": 0, "b": None}, (0, 2), {}))
        y, _ = batch.map(lambda sample: batch.apply(PARAMS, sample))
        assert_close(y, f(PARAMS, x)[0])


def test_one_number_is_for_all_arrays():
    with jax.enable_x64(True):
        x = (normal(4, 5), [normal(4, 5)])
        batch = samples(lambda p, x: {"y": (x[0] + x[1][0]) @ p["w"]}, PARAMS, x, {}, 0)
        (y,) = batch.map(lambda sample: batch.apply(PARAMS, sample))
        assert_close(y, (x[0] + x[1][0]) @ PARAMS["w"])


X = {"a": normal(4, 5), "b": normal(5, 4)}


@pytest.mark.parametrize(
    ("vmap_axes", "message"),
    [
        (0, r"one size along `vmap_axes=0`, got \[4, 5\]"),
        (({"a": None, "b": None}, (0, 2), {}), "got no axes"),
        (({"a": 0}, (0, 2), {}), "`vmap_axes` of inputs to be an integer, or a tree of integers that fits them"),
        (({"a": 0, "b": 1}, (0, 2, 3), {}), "`vmap_axes` of outputs to be an integer, or a tree of integers that fits"),
        (({"a": 0, "b": 2}, (0, 2), {}), r"`vmap_axes` has 2 for an array of shape \(5, 4\).*from -2 to 1"),
        (({"a": 0, "b": 1}, (0, -4), {}), r"`vmap_axes` has -4 for an array of shape \(3, 1, 1\)"),
        (({"a": 0, "b": 1}, (0, None), {}), r"`vmap_axes` has None for an array of shape \(3, 1, 1\)"),
        (({"a": 0, "b": "b"}, (0, 2), {}), "`vmap_axes` has 'b'"),
        (({"a": 0, "b": 1}, (0, 0), {}), r"size 1 along axis 0, got shape \(3, 1, 1\).*acts on each sample alone"),
        (({"a": 0, "b": 1}, (0, 2), {"mask": 0}), r"keyword arguments \['mask'\], which are not given"),
    ],
)
def test_axes_that_do_not_fit(vmap_axes, message):
    with pytest.raises(ValueError, match=message):
        samples(f, PARAMS, X, {}, vmap_axes)


def test_networks_that_fail_for_one_sample_are_told_why():
    """Axis 1 is that of features, which the network needs all of."""
    with pytest.raises(TypeError) as failure:
        samples(lambda p, x, name: x @ p, jnp.ones((3, 2)), jnp.ones((4, 3)), {"name": "any"}, 1)
    note = (
        "The network was given a single sample, of shape (4, 1). Choose `vmap_axes` along which it acts on each sample "
        "alone, or None."
    )
    assert note in failure.value.__notes__
