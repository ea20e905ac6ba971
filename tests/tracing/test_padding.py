"""Paddings of convolutions, told from their windows."""

import numpy as np
import pytest

from neural_tangents.tracing._graph import Linear, Node, Weights, along
from neural_tangents.tracing._padding import Untranslated, window_of
from neural_tangents.tracing._rules.windows import window_places

WEIGHTS = Weights(0, (), (), (), 1.0, 1.0)
# Size, places, filter, stride, what is before the first position.
CASES = {"VALID": (7, 3, 3, 2, 0), "SAME": (7, 4, 3, 2, 1), "SAME of an even filter": (6, 6, 2, 1, 0)}


@pytest.mark.parametrize("name", CASES)
def test_padding(name):
    size, n, kernel, stride, low = CASES[name]
    child = Node((size,))
    conv = Linear((n,), child, WEIGHTS, 1, (window_places(size, n, kernel, stride, low, 1, 1),))
    found, window = window_of(conv, [0])
    assert found is child and window == ((kernel,), (stride,), name.split()[0]) or window.padding == name.split()[0]
    assert (window.filter_shape, window.strides) == ((kernel,), (stride,))


def test_positions_from_the_other_end():
    child = Node((5,))
    wrapped = along(child, 0, np.eye(5)[[4, 0, 1, 2, 3, 4, 0]])
    found, window = window_of(Linear((5,), wrapped, WEIGHTS, 1, (window_places(7, 5, 3, 1, 0, 1, 1),)), [0])
    assert found is child and window.padding == "CIRCULAR"


@pytest.mark.parametrize(("low", "dilation"), [(2, 1), (2, 2)])
def test_others_have_no_layer(low, dilation):
    conv = Linear((5,), Node((5,)), WEIGHTS, 1, (window_places(5, 5, 3, 1, low, 1, dilation),))
    with pytest.raises(Untranslated, match="padding"):
        window_of(conv, [0])
