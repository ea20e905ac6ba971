"""Errors inside networks say in which layer."""

import jax
import numpy as np
import pytest

from neural_tangents.stax import AvgPool, Conv, Dense, FanInSum, FanOut, Identity, Relu, layer, parallel, repeat, serial

X = np.ones((2, 3))
IMAGES = np.ones((2, 4, 4, 3))
KEY = jax.random.key(0)


def notes(call):
    with pytest.raises(Exception) as caught:
        call()
    return [note for note in getattr(caught.value, "__notes__", []) if not note.startswith("---")]  # jax's own


@layer
def Broken():
    def fail(*args, **kwargs):
        raise RuntimeError("broken")

    return lambda rng, shape: (shape, ()), fail, fail


def test_kernels_name_layers_of_nested_sequences_from_the_inside_out():
    inner = serial(Dense(3), Relu(), Relu())
    found = notes(lambda: serial(Dense(3), Relu(), inner)[2](X))
    assert found == [
        "in layer 3 of 3 of `serial`: Relu()",
        "in layer 3 of 3 of `serial`: serial(Dense(3), Relu(), Relu())",
    ]


@pytest.mark.slow
def test_convolutions_that_are_streamed():
    net = serial(Conv(1, (3, 3), padding="SAME"), Relu(), Relu(), AvgPool((2, 2)))
    assert notes(lambda: net[2](IMAGES, None, "ntk")) == ["in layer 3 of 4 of `serial`: Relu()"]


@pytest.mark.parametrize(
    "call",
    [
        lambda net: net[0](KEY, IMAGES.shape),
        lambda net: net[1]([(), ()], IMAGES),
        lambda net: net[2](IMAGES),
    ],
    ids=["init", "apply", "kernel"],
)
def test_all_three_functions(call):
    assert notes(lambda: call(serial(Identity(), AvgPool((5, 5))))) == ["in layer 2 of 2 of `serial`: AvgPool((5, 5))"]


def test_branches_and_copies():
    branches = serial(FanOut(2), parallel(Dense(3), Broken()), FanInSum())
    assert notes(lambda: branches[2](X))[:2] == [
        "in layer 2 of 2 of `parallel`: Broken()",
        "in layer 2 of 3 of `serial`: parallel(Dense(3), Broken())",
    ]
    assert notes(lambda: repeat(Broken(), 3)[2](X)) == ["in layer 1 of 1 of `repeat`: Broken()"]


def test_correlated_branches_and_shapes():
    same = serial(Dense(3), serial(FanOut(2), FanInSum()))
    assert notes(lambda: same[2](X))[0] == "in layer 2 of 2 of `serial`: FanInSum()"
    unequal = serial(FanOut(2), parallel(Dense(3), Dense(4)), FanInSum())
    assert notes(lambda: unequal[0](KEY, X.shape))[0] == "in layer 3 of 3 of `serial`: FanInSum()"


def test_long_layers_are_shortened():
    (note,) = notes(lambda: serial(serial(*[Dense(3), Relu()] * 50), Relu())[2](X))
    assert note == "in layer 2 of 2 of `serial`: Relu()"
    found = notes(lambda: serial(serial(*[Dense(3), Relu()] * 50, Relu()), Dense(1))[2](X))
    assert found[0] == "in layer 101 of 101 of `serial`: Relu()"
    assert found[1].startswith("in layer 1 of 2 of `serial`: serial( Dense(3), Relu(),") and len(found[1]) < 250


def test_parameters_of_another_network():
    net = serial(Dense(3), Relu())
    with pytest.raises(ValueError, match="serial of 2 layers needs a list or tuple of 2 parameters, got 1"):
        net[1]([()], X)
    with pytest.raises(ValueError, match="got a ndarray"):
        net[1](X, X)
    with pytest.raises(ValueError, match="parallel of 2 layers needs .* 2 parameters, got 3"):
        parallel(Dense(3), Dense(3))[1]([(), (), ()], [X, X])
