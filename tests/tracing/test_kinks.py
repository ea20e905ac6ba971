"""Where functions are not smooth."""

import numpy as np
import pytest

from neural_tangents.tracing._kinks import MOST, kinks


@pytest.mark.parametrize(
    ("f", "derivatives", "places"),
    [
        (np.sin, (np.cos,), [0]),
        (lambda x: np.maximum(x - 0.3, 0), (lambda x: (x > 0.3) * 1.0,), [0, 0.3]),
        (lambda x: np.clip(x, -1, 6), (lambda x: ((x > -1) & (x < 6)) * 1.0,), [-1, 0, 6]),
        (lambda x: np.where(x > 1 / 3, 1.0, x), (), [0, 1 / 3]),
        (lambda x: np.tanh(20 * x), (lambda x: 20 / np.cosh(20 * x) ** 2,), [0]),
    ],
)
def test_finds(f, derivatives, places):
    found = kinks(f, derivatives)
    assert len(found) == len(places)
    np.testing.assert_allclose(found, places, atol=1e-12)


def test_stops_at_many():
    assert len(kinks(lambda x: np.floor(8 * x), ())) == MOST + 1
