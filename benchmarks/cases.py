"""The networks that are timed, as data."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Case:
    """One kernel computation, described so that any library with the same `stax` interface can run it.

    Attributes:
        name: what the command line and the table call it.
        network: a Python expression for an `(init_fn, apply_fn, kernel_fn)` triple, with `stax`, `jnp` and two numbers
            `w` and `b` in scope.
        shape1: shape of the first batch of inputs.
        shape2: shape of the second one, or `None` for the kernel of the first batch with itself.
        dtype: `'float32'` or `'float64'`.
        get: what is asked of `kernel_fn`.
        finite: for the NTK of a finite network, the implementation of the reference to compare the default of this
            library with; `network` is then an expression for `(f, params)`, with the functions of `finite_networks.py`
            in scope. `None` for an infinite network.
        derivative: `None` to time the kernel; `'inputs'` or `'hyperparameters'` for the gradient of the sum of its
            entries with respect to the first batch, or to the numbers `w` and `b` that occur in `network`.
        reference: whether the reference library can do it in reasonable time.
    """

    name: str
    network: str
    shape1: tuple[int, ...]
    shape2: tuple[int, ...] | None
    dtype: str
    get: str | tuple[str, ...]
    derivative: str | None = None
    reference: bool = True
    finite: int | None = None


def _fully_connected(nonlinearity: str, depth: int = 10) -> str:
    """Hidden layers, each with its nonlinearity, and a scalar readout."""
    return f"stax.serial(*[stax.Dense(512, 1.5, 0.05), stax.{nonlinearity}()] * {depth}, stax.Dense(1))"


def _convolutional(readout: str, depth: int = 21) -> str:
    """Convolutions of 3 x 3 with ReLU."""
    return f"stax.serial(*[{_CONV}, stax.Relu()] * {depth}, stax.{readout}())"


def _residual(channels: int, strides: tuple[int, int] | None) -> str:
    """A block of two convolutions and a shortcut, which has a convolution of its own where the block has strides."""
    conv = f"stax.Conv({channels}, (3, 3), {strides or (1, 1)}, 'SAME')"
    main = f"stax.serial(stax.Relu(), {conv}, stax.Relu(), stax.Conv({channels}, (3, 3), (1, 1), 'SAME'))"
    shortcut = "stax.Identity()" if strides is None else conv
    return f"stax.serial(stax.FanOut(2), stax.parallel({main}, {shortcut}), stax.FanInSum())"


def _wide_resnet(block_size: int, k: int) -> str:
    """The wide residual network of the reference's README."""
    groups = []
    for channels, strides in ((16 * k, (1, 1)), (32 * k, (2, 2)), (64 * k, (2, 2))):
        groups += [_residual(channels, strides), *[_residual(channels, None)] * (block_size - 1)]
    layers = ["stax.Conv(16, (3, 3), (1, 1), 'SAME')", *groups, "stax.AvgPool((8, 8))", "stax.Flatten()"]
    return f"stax.serial({', '.join(layers)}, stax.Dense(10))"


def _myrtle() -> str:
    """Myrtle-5 of Shankar et al., 2020 (arXiv:2003.02237): four convolutions and pools of 2 x 2."""
    conv, pool = f"{_CONV}, stax.Relu()", "stax.AvgPool((2, 2), (2, 2))"
    stages = [conv, conv, pool, conv, pool, conv, pool, pool, pool]
    return f"stax.serial({', '.join(stages)}, stax.Flatten(), stax.Dense(1))"


def _with_gradients(name: str, network: str, shape: tuple[int, ...]) -> list[Case]:
    """A kernel and its gradients, for the ratios of their times."""
    return [
        Case(f"{name}{tag}_f32", network, shape, shape, "float32", "ntk", derivative)
        for derivative, tag in ((None, ""), ("inputs", "_dx"), ("hyperparameters", "_dw"))
    ]


_FULLY_CONNECTED = "stax.serial(*[stax.Dense(512, w, b), stax.Relu()] * 10, stax.Dense(1))"
_CONVOLUTIONAL = "stax.serial(*[stax.Conv(1, (3, 3), (1, 1), 'SAME', w, b), stax.Relu()] * 7, stax.GlobalAvgPool())"
_CONV = "stax.Conv(1, (3, 3), (1, 1), 'SAME')"


def _images(n: int, side: int = 32) -> tuple[int, ...]:
    return (n, side, side, 3)


def _finite(name: str, network: str, shape: tuple[int, ...]) -> list[Case]:
    """The NTK of a finite network against each implementation of the reference; its default is 1."""
    return [
        Case(f"{name}_{tag}_f32", network, shape, shape, "float32", "ntk", finite=implementation)
        for implementation, tag in ((1, "jacobian"), (2, "products"), (3, "structured"))
    ]


CASES = (
    Case("fc_relu_small_f32", _fully_connected("Relu"), (50, 128), (50, 128), "float32", "ntk"),
    Case("fc_relu_f32", _fully_connected("Relu"), (2000, 128), (2000, 128), "float32", "ntk"),
    Case("fc_erf_f32", _fully_connected("Erf"), (2000, 128), (2000, 128), "float32", "ntk"),
    Case("fc_gelu_f32", _fully_connected("Gelu"), (2000, 128), (2000, 128), "float32", "ntk"),
    Case("fc_relu_f64", _fully_connected("Relu"), (2000, 128), (2000, 128), "float64", "ntk"),
    Case("fc_erf_f64", _fully_connected("Erf"), (2000, 128), (2000, 128), "float64", "ntk"),
    Case("fc_shallow_relu_f32", _fully_connected("Relu", depth=3), (2000, 128), (2000, 128), "float32", "ntk"),
    Case("fc_shallow_relu_f64", _fully_connected("Relu", depth=3), (2000, 128), (2000, 128), "float64", "ntk"),
    Case("fc_shallow_erf_f32", _fully_connected("Erf", depth=3), (2000, 128), (2000, 128), "float32", "ntk"),
    Case("cnn_flatten_f32", _convolutional("Flatten"), _images(64), _images(64), "float32", "ntk"),
    Case("cnn_flatten_f64", _convolutional("Flatten"), _images(64), _images(64), "float64", "ntk"),
    Case("cnn_gap_f32", _convolutional("GlobalAvgPool"), _images(4), _images(4), "float32", "ntk"),
    Case("cnn_gap_one_batch_f32", _convolutional("GlobalAvgPool"), _images(4), None, "float32", "ntk"),
    Case("cnn_gap_f64", _convolutional("GlobalAvgPool"), _images(4), _images(4), "float64", "ntk"),
    Case("cnn_gap_shallow_f64", _convolutional("GlobalAvgPool", 7), _images(4), _images(4), "float64", "ntk"),
    Case("wide_resnet_f32", _wide_resnet(4, 1), _images(2), _images(2), "float32", "ntk"),
    Case("myrtle5_f32", _myrtle(), _images(4), _images(4), "float32", "ntk"),
    Case(
        "cnn_gap_large_f32",
        _convolutional("GlobalAvgPool"),
        _images(4, 64),
        _images(4, 64),
        "float32",
        "ntk",
        None,
        False,
    ),
    Case("cnn_gap_many_f32", _convolutional("GlobalAvgPool"), _images(64), _images(64), "float32", "ntk", None, False),
    *_with_gradients("gradients_fc", _FULLY_CONNECTED, (1000, 128)),
    *_with_gradients("gradients_cnn", _CONVOLUTIONAL, _images(4, 16)),
    *_finite("finite_fc", "fully_connected(width=512, depth=5, outputs=10, inputs=3072)", (32, 3072)),
    *_finite("finite_cnn", "convolutional(channels=64, depth=5, outputs=10, inputs=3)", (8, 16, 16, 3)),
    *_finite("finite_resnet18", "resnet18(outputs=10)", _images(4)),
)
