"""The networks that are timed, as data."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Case:
    """One kernel computation, described so that any library with the same `stax` interface can run it.

    Attributes:
        name: what the command line and the table call it.
        network: a Python expression for an `(init_fn, apply_fn, kernel_fn)` triple, with `stax` and `jnp` in scope.
        shape1: shape of the first batch of inputs.
        shape2: shape of the second one, or `None` for the kernel of the first batch with itself.
        dtype: `'float32'` or `'float64'`.
        get: what is asked of `kernel_fn`.
    """

    name: str
    network: str
    shape1: tuple[int, ...]
    shape2: tuple[int, ...] | None
    dtype: str
    get: str | tuple[str, ...]


def _fully_connected(nonlinearity: str) -> str:
    """Ten hidden layers, each with its nonlinearity, and a scalar readout."""
    return f"stax.serial(*[stax.Dense(512, 1.5, 0.05), stax.{nonlinearity}()] * 10, stax.Dense(1))"


def _convolutional(readout: str) -> str:
    """Twenty-one convolutions of 3 x 3 with ReLU."""
    return f"stax.serial(*[stax.Conv(1, (3, 3), (1, 1), 'SAME'), stax.Relu()] * 21, stax.{readout}())"


CASES = (
    Case("fc_relu_small_f32", _fully_connected("Relu"), (50, 128), (50, 128), "float32", "ntk"),
    Case("fc_relu_f32", _fully_connected("Relu"), (2000, 128), (2000, 128), "float32", "ntk"),
    Case("fc_erf_f32", _fully_connected("Erf"), (2000, 128), (2000, 128), "float32", "ntk"),
    Case("fc_relu_f64", _fully_connected("Relu"), (2000, 128), (2000, 128), "float64", "ntk"),
    Case("fc_erf_f64", _fully_connected("Erf"), (2000, 128), (2000, 128), "float64", "ntk"),
    Case("cnn_flatten_f32", _convolutional("Flatten"), (64, 32, 32, 3), (64, 32, 32, 3), "float32", "ntk"),
    Case("cnn_gap_f32", _convolutional("GlobalAvgPool"), (4, 32, 32, 3), (4, 32, 32, 3), "float32", "ntk"),
)
