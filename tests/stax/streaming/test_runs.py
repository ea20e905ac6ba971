"""`find_run`: which layers are evaluated together, and what `explain` says of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neural_tangents import stax
from neural_tangents.stax import AvgPool, Conv, ConvTranspose, Dense, Flatten, GlobalAvgPool, Relu, serial
from neural_tangents.stax._streaming import slabs

IMAGES = (8, 32, 32, 3)


def convolutions(n=3):
    return [Conv(8, (3, 3), padding="SAME"), Relu()] * n


def scale(pointwise):
    @stax.layer
    def Scale(c):
        @stax.requires(pointwise=pointwise)
        def kernel_fn(k):
            return k * c

        return lambda rng, shape: (shape, ()), lambda params, x: c * x, kernel_fn

    return Scale(3.0)


def stages(*layers, shape=IMAGES, get="ntk", **options):
    return stax.explain(serial(*layers)[2], shape, get=get, **options).stages


def test_a_run_ends_with_its_pool():
    run, rest = stages(*convolutions(), GlobalAvgPool(), Dense(1))
    assert run.streamed and len(run.layers) == 7 and run.layers[-1] == "GlobalAvgPool()"
    assert "adds up" in run.reason and not rest.streamed and rest.layers == ("Dense(1)",)
    run, *_ = stages(*convolutions(), AvgPool((2, 2), (2, 2)), Flatten())
    assert run.streamed and run.layers[-1] == "AvgPool((2, 2), strides=(2, 2))"


def test_a_layer_that_mixes_offsets_ends_a_run():
    first, second, third = stages(*convolutions(), ConvTranspose(8, (3, 3), padding="SAME"), Relu(), GlobalAvgPool())
    assert first.streamed and len(first.layers) == 6 and "ConvTranspose" in first.reason
    assert not second.streamed and second.layers[0].startswith("ConvTranspose")
    assert third.streamed and third.layers == ("Relu()", "GlobalAvgPool()")


def test_users_layers_keep_networks_streamed_if_they_say_so():
    (whole,) = stages(*convolutions(), scale(True), *convolutions(), GlobalAvgPool())
    assert whole.streamed and len(whole.layers) == 14
    first, middle, last = stages(*convolutions(), scale(False), *convolutions(), GlobalAvgPool())
    assert first.streamed and last.streamed and not middle.streamed
    assert middle.layers == ("Scale(3.0)",) and "requires(pointwise=True)" in middle.reason
    assert middle.memory > 2**29 > 16 * whole.memory


def test_pointwise_layers_of_users_are_right():
    x = np.random.RandomState(0).normal(size=(2, 5, 4, 3)).astype(np.float32)
    networks = [serial(*convolutions(2), scale(p), *convolutions(2), GlobalAvgPool()) for p in (True, False)]
    streamed, whole = (jax.jit(lambda x, f=net[2]: f(x, None, ("nngp", "ntk")))(x) for net in networks)
    np.testing.assert_allclose(streamed, whole, rtol=2e-5)


@pytest.mark.slow
def test_temporaries_are_bounded(optimised):
    def temporaries(*layers):
        kernel_fn = jax.jit(lambda x: serial(*layers, GlobalAvgPool())[2](x, None, "ntk"))
        lowered = kernel_fn.lower(jax.ShapeDtypeStruct(IMAGES, jnp.float32))
        return lowered.compile(optimised).memory_analysis().temp_size_in_bytes

    # 19 to 31 MiB, depending on the release of jaxlib.
    assert temporaries(*convolutions(), scale(True), *convolutions()) <= slabs.DEFAULT_BUDGET
    all_pairs = 4 * 8**2 * 32**4  # of positions of all pairs of inputs, in single precision
    assert temporaries(*convolutions(), scale(False), *convolutions()) >= 2 * all_pairs


def test_branches_are_listed_below_their_network():
    branch = serial(*convolutions(1), GlobalAvgPool(), Dense(1))
    outer, *inner, last = stages(stax.FanOut(2), stax.parallel(branch, branch), stax.FanInSum())
    assert outer.depth == last.depth == 0 and len(outer.layers) == 2 and not outer.streamed
    assert [(stage.depth, stage.streamed) for stage in inner] == [(1, True), (1, False)]  # equal ones once


def test_small_networks_and_diagonals_are_evaluated_at_once():
    (small,) = stages(*convolutions(), shape=(2, 4, 4, 3), diagonal_spatial=False)
    assert not small.streamed and "fewer than" in small.reason
    (diagonal,) = stages(*convolutions(), shape=(64, 8, 8, 3), diagonal_spatial=True)
    assert not diagonal.streamed and "equal positions" in diagonal.reason
    (vectors,) = stages(Dense(3), Relu(), shape=(2, 3))
    assert not vectors.streamed and "no pairs of positions" in vectors.reason


def test_budget_bounds_slabs():
    large, small = (stages(*convolutions(), GlobalAvgPool(), memory_budget=2**n)[0].memory for n in (25, 20))
    assert small <= 2**20 < large <= 2**25


def test_explain_takes_inputs_of_all_kinds_and_prints_lines():
    kernel_fn = serial(*convolutions(), GlobalAvgPool(), Dense(1))[2]
    abstract = jax.ShapeDtypeStruct(IMAGES, jnp.float32)
    texts = {repr(stax.explain(kernel_fn, x, get="ntk")) for x in (IMAGES, abstract, np.zeros(IMAGES, np.float32))}
    (text,) = texts
    first, second = text.splitlines()
    assert first.startswith("Conv(8, (3, 3), padding='SAME') ... GlobalAvgPool() (7 layers): slab by slab, ")
    assert "MiB" in first and second.startswith("Dense(1): at once, ")
    pair = serial(stax.parallel(Dense(2), Dense(2)), stax.FanInSum())[2]
    assert "several inputs" in repr(stax.explain(pair, [(2, 3), (2, 4)]))


def test_explain_leaves_nothing_behind():
    kernel_fn = serial(Dense(2), Relu())[2]
    with pytest.raises(ValueError, match="at least 2 axes"):
        stax.explain(kernel_fn, (3,))
    assert stax.explain(kernel_fn, (2, 3)).stages == stax.explain(kernel_fn, (2, 3)).stages != ()
    with pytest.raises(TypeError, match="`kernel_fn` of a network"):
        stax.explain(lambda x1, x2, get: x1, (2, 3))
