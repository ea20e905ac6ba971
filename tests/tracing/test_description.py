"""The table of parameters."""

import jax
import jax.numpy as jnp

from neural_tangents import tracing


def test_describes_each_parameter():
    def f(p, x):
        h = p["table"][x] + p["places"][None]
        h = jax.nn.relu(jax.lax.conv_general_dilated(h, p["u"], (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC")))
        return h.reshape(len(h), -1) @ p["w"] + p["b"][None]

    shapes = {"table": (9, 16), "places": (4, 16), "u": (3, 16, 8), "w": (32, 2), "b": (2,), "other": (5,)}
    variances = {"table": 1.0, "places": 0.5, "u": 2 / 48, "w": 1 / 32, "b": 0.0, "other": 1.0}
    lifted = tracing.lift(
        *(f, {k: jax.ShapeDtypeStruct(s, jnp.float32) for k, s in shapes.items()}, jnp.zeros((3, 4), int)),
        distribution=lambda path, _: variances[path[2:-2]],
        trainable=lambda path: path != "['w']",
    )
    rows = {line.split()[0][2:-2]: line.split()[1:] for line in lifted.describe().splitlines()[1:-1]}
    assert rows["table"] == ["9x16", "embedding", "0", "1", "yes"]
    assert rows["places"] == ["4x16", "bias", "0", "0.5", "yes"]
    assert rows["u"] == ["3x16x8", "weights", "0", "0.04167", "2", "yes"]
    assert rows["w"] == ["32x2", "weights", "0", "0.03125", "1", "no"]
    assert rows["b"] == ["2", "bias", "0", "0", "yes"]
    assert rows["other"] == ["5", "not", "used", "0", "1", "yes"]
    assert lifted.describe().splitlines()[-1].endswith("(backend 'direct').") and lifted.network is None
