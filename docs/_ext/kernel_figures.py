"""Pictures of the reference, drawn when the documentation is built: of each nonlinearity, and of each layer.

A nonlinearity is shown as a function, beside its kernels over the angle between two inputs; a layer by covariances of
all positions of two sequences, before and after it. The code of each is run, and shown above the picture.
"""

import contextlib
import warnings
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from neural_tangents import stax

NONLINEARITIES = {
    "ABRelu": ["ABRelu(-0.5, 1)", "ABRelu(2, 1)"],
    "Abs": ["Abs()"],
    "Cos": ["Cos()", "Cos(b=2)"],
    "Elementwise": ["Elementwise(jnp.sin, lambda k, q1, q2: jnp.exp(-(q1 + q2) / 2) * jnp.sinh(k))"],
    "ElementwiseNumerical": ["ElementwiseNumerical(jnp.tanh, deg=25)", "ElementwiseNumerical(jax.nn.silu, deg=25)"],
    "Erf": ["Erf()", "Erf(b=3)"],
    "Exp": ["Exp(b=0.5)", "Exp(b=0.8)"],
    "Elu": ["Elu()", "Elu(alpha=0.3)"],
    "ExpNormalized": ["ExpNormalized()", "ExpNormalized(gamma=4)"],
    "Gabor": ["Gabor()"],
    "Gaussian": ["Gaussian()", "Gaussian(b=-3)"],
    "Gelu": ["Gelu()"],
    "HardTanh": ["HardTanh()"],
    "Hermite": ["Hermite(1)", "Hermite(2)", "Hermite(3)"],
    "LeakyRelu": ["LeakyRelu(0.1)", "LeakyRelu(0.5)"],
    "LogCosh": ["LogCosh()"],
    "Mish": ["Mish()"],
    "Monomial": ["Monomial(1)", "Monomial(2)"],
    "Nonlinearity": ["Nonlinearity(lambda x: x / (1 + x**2))"],
    "Polynomial": ["Polynomial([0, 1, 0, -1 / 6])"],
    "Rbf": ["Rbf()", "Rbf(gamma=3)"],
    "RectifiedMonomial": ["RectifiedMonomial(0)", "RectifiedMonomial(1)", "RectifiedMonomial(2)"],
    "Relu": ["Relu()"],
    "Relu6": ["Relu6()"],
    "Selu": ["Selu()"],
    "Sigmoid": ["Sigmoid()"],
    "Sigmoid_like": ["Sigmoid_like()"],
    "Sign": ["Sign()"],
    "Silu": ["Silu()"],
    "Sin": ["Sin()", "Sin(b=2)"],
    "Softplus": ["Softplus()"],
    "Softsign": ["Softsign()"],
    "Squareplus": ["Squareplus()", "Squareplus(b=0.5)"],
    "Swish": ["Swish()"],
    "Tanh": ["Tanh()"],
}

# A layer that is shown acts on a sequence of 8 positions after a layer `Dense`. Those that join branches get two.
BRANCHES = "FanOut(2), parallel(Dense(64), Conv(64, (3,), padding='SAME'))"
LAYERS = {
    "Aggregate": "Aggregate()",
    "AvgPool": "AvgPool((2,), strides=(2,))",
    "Conv": "Conv(64, (3,), padding='SAME')",
    "ConvLocal": "ConvLocal(64, (3,), padding='SAME')",
    "ConvTranspose": "ConvTranspose(64, (3,), strides=(2,), padding='SAME')",
    "Dense": "Dense(64, W_std=1.5, b_std=0.5)",
    "DotGeneral": "DotGeneral(lhs=jnp.eye(8) - jnp.eye(8, k=-1), dimension_numbers=(((1,), (1,)), ((), ())))",
    "Dropout": "Dropout(0.5)",
    "FanInConcat": f"{BRANCHES}, FanInConcat(axis=1)",
    "FanInProd": f"{BRANCHES}, FanInProd()",
    "FanInSum": f"{BRANCHES}, FanInSum()",
    "Flatten": "Flatten()",
    "GlobalAvgPool": "GlobalAvgPool()",
    "GlobalSelfAttention": "GlobalSelfAttention(64, n_chan_key=64, n_chan_val=64, n_heads=8, W_key_std=2.0)",
    "GlobalSumPool": "GlobalSumPool()",
    "Identity": "Identity()",
    "ImageResize": "ImageResize((-1, 12, -1), 'linear')",
    "Index": "Index(Slice[:, 2:6])",
    "LayerNorm": "LayerNorm()",
    "SumPool": "SumPool((2,), strides=(2,))",
}

STYLE = {
    "svg.hashsalt": "neural_tangents",  # the same picture from the same numbers
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.size": 9,
    "axes.titlesize": 9,
    "figure.constrained_layout.use": True,
}


def layer_of(code: str) -> tuple:
    """What a table has: a layer, or several one after the other."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of those that are approximate, or right for unit variance only
        return stax.serial(*eval(f"({code},)", {**vars(stax), "jax": jax, "jnp": jnp}))


def of_nonlinearity(codes: list[str]) -> Figure:
    """The function, and kernels of `Dense, f, Dense` for two inputs of unit variance over the angle between them."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(7, 2.4))
    x, angles = np.linspace(-3, 3, 301), np.linspace(0, np.pi, 181)
    circle = np.sqrt(2) * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    for i, code in enumerate(codes):
        layer = layer_of(code)
        with contextlib.suppress(NotImplementedError):  # there may be no function for a kernel
            left.plot(x, layer[1]([()], x), color=f"C{i}", label=code)
        kernels = stax.serial(stax.Dense(1), layer, stax.Dense(1))[2](circle[:1], circle, ("nngp", "ntk"))
        right.plot(angles, kernels.nngp[0], color=f"C{i}", label="NNGP" if i == 0 else None)
        right.plot(angles, kernels.ntk[0], color=f"C{i}", linestyle="--", label="NTK" if i == 0 else None)
    if not left.lines:
        left.axis("off")
    left.set(title="f(x)" if left.lines else "no f(x) is known", xlabel="x")
    right.set(title="kernels of two inputs", xlabel="angle between them", xticks=[0, np.pi / 2, np.pi])
    right.set_xticklabels(["0", "π/2", "π"])
    right.legend(frameon=False)
    if len(codes) > 1 and left.lines:
        left.legend(frameon=False)
    return figure


def of_layer(code: str) -> Figure:
    """Covariances of all positions of two sequences: of the layer's inputs, and both kernels of its outputs."""
    before = stax.serial(stax.Dense(64))
    after = stax.serial(before, layer_of(code))
    options = {"pattern": (chain(), chain())} if code.startswith("Aggregate") else {}
    x = sequences()
    kernels = {
        "NNGP of the inputs": before[2](x, None, "nngp", diagonal_spatial=False),
        "NNGP of the outputs": full(after[2], x, "nngp", options),
        "NTK of the outputs": full(after[2], x, "ntk", options),
    }
    figure, axes = plt.subplots(1, 3, figsize=(7, 2.4))
    for ax, (title, kernel) in zip(axes, kernels.items(), strict=True):
        n = kernel.shape[0] * (kernel.shape[2] if kernel.ndim == 4 else 1)
        matrix = np.asarray(kernel if kernel.ndim == 2 else jnp.swapaxes(kernel, 1, 2)).reshape(n, n)
        image = ax.imshow(matrix, extent=(0, n, n, 0), vmin=min(0, matrix.min()), cmap="viridis")
        ax.axhline(n / 2, color="white", linewidth=1)
        ax.axvline(n / 2, color="white", linewidth=1)
        ax.set(title=title, xticks=[0, n // 2, n], yticks=[0, n // 2, n])
        figure.colorbar(image, ax=ax, shrink=0.8)
    return figure


def full(kernel_fn: Any, x: np.ndarray, name: str, options: dict[str, Any]) -> jax.Array:
    """A kernel with pairs of different positions, where there are positions."""
    try:
        return kernel_fn(x, None, name, diagonal_spatial=False, **options)
    except ValueError:
        return kernel_fn(x, None, name, **options)


def sequences() -> np.ndarray:
    """Two sequences of 8 positions, smooth, and growing a little."""
    rng = np.random.default_rng(0)
    walk = np.cumsum(rng.normal(size=(2, 8, 32)), axis=1) / np.sqrt(np.arange(1, 9))[:, None]
    return (walk * np.linspace(0.9, 1.1, 8)[:, None]).astype(np.float32)


def chain() -> np.ndarray:
    """A graph for each sequence, whose edges lead from each position to itself and to its neighbours."""
    return np.broadcast_to(np.eye(8) + np.eye(8, k=1) + np.eye(8, k=-1), (2, 8, 8)).astype(np.float32)


def draw(name: str, path: Path) -> None:
    with plt.style.context(STYLE):
        figure = of_nonlinearity(NONLINEARITIES[name]) if name in NONLINEARITIES else of_layer(LAYERS[name])
        figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def draw_all(app: Any) -> None:
    """Draws what is missing, or older than the library."""
    folder = Path(app.srcdir) / "_generated"
    folder.mkdir(exist_ok=True)
    sources = [*Path(stax.__file__).parents[1].rglob("*.py"), Path(__file__)]
    newest = max(path.stat().st_mtime for path in sources)
    matplotlib.use("Agg")
    for name in [*NONLINEARITIES, *LAYERS]:
        path = folder / f"{name}.svg"
        if not path.exists() or path.stat().st_mtime < newest:
            draw(name, path)


def add_figure(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Puts the picture of a layer between its equation and its arguments."""
    package, _, name = name.rpartition(".")
    if package != "neural_tangents.stax" or name not in NONLINEARITIES | LAYERS:
        return
    codes = NONLINEARITIES.get(name) or [f"serial(Dense(64), {LAYERS[name]})"]
    alt = f"{name} and its kernels" if name in NONLINEARITIES else f"covariances before and after {name}"
    picture = [".. code-block:: python", "", *(f"   {code}" for code in codes), ""]
    picture += [f".. image:: /_generated/{name}.svg", f"   :alt: {alt}", ""]
    sections = [i for i, line in enumerate(lines) if line.startswith((":param", ":returns:", "**Source"))]
    lines[sections[0] : sections[0]] = picture


def setup(app: Any) -> dict[str, bool]:
    app.connect("builder-inited", draw_all)
    app.connect("autodoc-process-docstring", add_figure, priority=900)  # after napoleon
    return {"parallel_read_safe": True}
