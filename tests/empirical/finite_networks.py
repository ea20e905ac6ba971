"""Small networks that differ in how they use their parameters, and their kernels by definition."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

RANDOM = np.random.RandomState(0)


def normal(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape) / np.sqrt(shape[-2] if len(shape) > 1 else 1)


# Kernels by definition.


def jacobians(f: Callable[..., Any], params: Any, *args: Any, **kwargs: Any) -> list[list[np.ndarray]]:
    """For each output and leaf of the parameters, `(*output.shape, parameters of the leaf)`.

    With respect to a complex parameter `x + i y` it is `(∂f/∂x - i ∂f/∂y) / 2` for a holomorphic `f`, and without the
    division for a real one; each is what `jax.grad` calls the derivative of such functions.
    """
    leaves, structure = jax.tree.flatten(params)
    parts = [(jnp.real(p), jnp.imag(p)) if jnp.iscomplexobj(p) else (p,) for p in map(jnp.asarray, leaves)]

    def of_parts(parts: Any) -> list[tuple[jax.Array, jax.Array]]:
        whole = [part[0] + 1j * part[1] if len(part) == 2 else part[0] for part in parts]
        outputs = jax.tree.leaves(f(jax.tree.unflatten(structure, whole), *args, **kwargs))
        return [(jnp.real(out), jnp.imag(out)) if jnp.iscomplexobj(out) else (out,) for out in outputs]

    found = jax.jit(jax.jacobian(of_parts))(parts)
    of_outputs = []
    for output in found:
        of_leaves = []
        for leaf, original in enumerate(leaves):
            # The derivative of the real and of the imaginary part of the output, for each part of the parameter.
            whole = [
                sum(np.asarray(part[leaf][number]) * (1j if k else 1) for k, part in enumerate(output))
                for number in range(len(parts[leaf]))
            ]
            scale = 2 if len(output) == 2 else 1
            total = whole[0] if len(whole) == 1 else (whole[0] - 1j * whole[1]) / scale
            out_ndim = total.ndim - np.ndim(original)
            of_leaves.append(total.reshape(*total.shape[:out_ndim], np.size(original)))
        of_outputs.append(of_leaves)
    return of_outputs


def full_ntk(
    f: Callable[..., Any], params: Any, x1: Any, x2: Any, hermitian: bool = False, **kwargs: Any
) -> list[np.ndarray]:
    """`J(x1) J(x2)ᵀ` of each output, or `J(x1) J(x2)ᴴ`, with all axes of the first output and then of the second."""
    first, second = jacobians(f, params, x1, **kwargs), jacobians(f, params, x2, **kwargs)
    return [
        sum(
            np.tensordot(j1, np.conj(j2) if hermitian else j2, (-1, -1))
            for j1, j2 in zip(of_first, of_second, strict=True)
        )
        for of_first, of_second in zip(first, second, strict=True)
    ]


def reduced(full: np.ndarray, trace_axes: Any = (), diagonal_axes: Any = ()) -> np.ndarray:
    """A kernel from one with all axes of both outputs."""
    ndim = full.ndim // 2
    traced, diagonal = ({axis % ndim for axis in axes} for axes in (trace_axes, diagonal_axes))
    first = [chr(ord("a") + axis) for axis in range(ndim)]
    second = [a if axis in traced | diagonal else a.upper() for axis, a in enumerate(first)]
    kept = [
        a if axis in diagonal else a + b
        for axis, (a, b) in enumerate(zip(first, second, strict=True))
        if axis not in traced
    ]
    sizes = [full.shape[axis] for axis in traced]
    return np.einsum(f"{''.join(first + second)}->{''.join(kept)}", full) / np.prod(sizes)


def assert_close(kernel: Any, expected: Any, tolerance: float = 1e-10) -> None:
    """Shapes are equal, and entries up to a fraction of the largest one."""
    kernel, expected = np.asarray(kernel), np.asarray(expected)
    assert kernel.shape == expected.shape
    largest = np.abs(expected).max(initial=0.0)
    np.testing.assert_allclose(kernel, expected, rtol=0, atol=tolerance * largest)


# Networks.


class Network(NamedTuple):
    """A network `f(params, x)`, two batches, whether it acts on each input alone, and has a forward derivative."""

    f: Callable[..., Any]
    params: Any
    x1: Any
    x2: Any
    independent: bool = True
    forward: bool = True

    def cast(self, dtype: Any) -> "Network":
        """With all numbers that are not integers of a type, as arrays of jax."""

        def cast(x: Any) -> Any:
            is_float = np.asarray(x).dtype == np.float64
            return jnp.asarray(x, dtype if is_float else None)

        return self._replace(**{name: jax.tree.map(cast, getattr(self, name)) for name in ("params", "x1", "x2")})


def layer_norm(x, scale, shift):
    centred = x - x.mean(-1, keepdims=True)
    leading = (1,) * (x.ndim - 1)
    normalised = centred / jnp.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    return normalised * scale.reshape(*leading, -1) + shift.reshape(*leading, -1)


X1, X2 = normal(3, 5), normal(2, 5)
IMAGE1, IMAGE2 = normal(3, 5, 4, 4), normal(2, 5, 4, 4)
TOKENS1, TOKENS2 = RANDOM.randint(0, 7, (3, 4)), RANDOM.randint(0, 7, (2, 4))
MLP_PARAMS = {"w": normal(5, 6), "b": normal(6), "v": normal(6, 3)}


def mlp(p, x):
    return jnp.tanh(x @ p["w"] + p["b"][None]) @ p["v"]


def conv_net(padding, strides=(1, 1), groups=1, **kwargs):
    def f(p, x):
        numbers = ("NHWC", "HWIO", "NHWC")
        h = lax.conv_general_dilated(
            x, p["w"], strides, padding, dimension_numbers=numbers, feature_group_count=groups, **kwargs
        )
        return jax.nn.relu(h + p["b"].reshape(1, 1, 1, -1)).mean((1, 2)) @ p["v"]

    return Network(f, {"w": normal(3, 2, 4 // groups, 6), "b": normal(6), "v": normal(6, 2)}, IMAGE1, IMAGE2)


def attention_net(p, x):
    """One block of a transformer, from tokens."""
    h = p["table"][x] + p["position"][None]
    normalised = layer_norm(h, p["scale"], p["shift"])
    q, k, v = (jnp.einsum("ntd,dhk->nthk", normalised, p[name]) for name in "qkv")
    weights = jax.nn.softmax(jnp.einsum("nthk,nshk->nhts", q, k) / 3**0.5)
    h = h + jnp.einsum("nhts,nshk,hkd->ntd", weights, v, p["o"])
    return h.mean(1) @ p["out"]


ATTENTION_PARAMS = {
    **{"table": normal(7, 4), "position": normal(4, 4), "scale": 1 + 0.1 * normal(4), "shift": normal(4)},
    **{name: normal(4, 2, 3) for name in "qkv"},
    **{"o": normal(2, 3, 4), "out": normal(4, 2)},
}


def mixer(p, x):
    """An MLP-Mixer block: layers across positions and across channels, with skip connections."""
    h = x + jnp.einsum("nsc,st,tu->nuc", layer_norm(x, p["scale"], p["shift"]), p["t1"], p["t2"])
    return (h + jax.nn.gelu(h @ p["c1"]) @ p["c2"]).mean(1)


def stacks(p, x):
    """Arrays of parameters, of data, and of both that are put into a new axis, or taken out of one."""
    first, second = jnp.unstack(p["w"])
    h = jnp.tanh(jnp.tanh(x @ first) @ second)
    h = jnp.stack([h, jnp.broadcast_to(p["c"][None], h.shape)], 1)
    return jnp.sin(h * jnp.stack([p["a"], p["b"]])[None]).sum(1)


def variational(p, x):
    """An encoder with two outputs, as of a variational autoencoder, in a nested structure."""
    h = jnp.tanh(x @ p["w"])
    return {"mean": h @ p["mean"], "rest": (jnp.exp(h @ p["log_std"]).reshape(-1, 2, 2),)}


@jax.custom_jvp
def wrong_square(x):
    return x**2


wrong_square.defjvp(lambda primals, tangents: (primals[0] ** 2, 3.0 * tangents[0]))


@jax.custom_vjp
def product_with_wrong_derivative(x, w):
    return x @ w


product_with_wrong_derivative.defvjp(
    lambda x, w: (x @ w, (x, w)), lambda kept, ct: (ct @ kept[1].T, 2.0 * kept[0].T @ ct)
)

# Networks all of whose parameters are differentiated by structure.
STRUCTURED = {
    "mlp": Network(mlp, MLP_PARAMS, X1, X2),
    "conv": conv_net("SAME"),
    "conv, valid, strides": conv_net("VALID", (2, 1)),
    "conv, dilated": conv_net([(2, 1), (0, 3)], (1, 2), lhs_dilation=(2, 1), rhs_dilation=(1, 2)),
    "conv, groups, crop": conv_net([(-1, 1), (0, 0)], groups=2),
    "conv, channels first": Network(
        lambda p, x: lax.conv_general_dilated(x, p["w"], (1, 1), "SAME").mean((2, 3)),
        {"w": normal(3, 5, 2, 2)},
        IMAGE1,
        IMAGE2,
    ),
    "attention": Network(attention_net, ATTENTION_PARAMS, TOKENS1, TOKENS2),
    "mixer": Network(
        mixer,
        {
            **{"scale": 1 + normal(5), "shift": normal(5), "t1": normal(4, 3), "t2": normal(3, 4)},
            **{"c1": normal(5, 6), "c2": normal(6, 5)},
        },
        normal(3, 4, 5),
        normal(2, 4, 5),
    ),
    "two outputs": Network(variational, {"w": normal(5, 6), "mean": normal(6, 2), "log_std": normal(6, 4)}, X1, X2),
    "scaled": Network(
        lambda p, x: jnp.tanh(x @ (p["w"] * 2 / 5**0.5) + jnp.exp(p["b"])[None]) @ (p["v"].T / 3).T,
        MLP_PARAMS,
        X1,
        X2,
    ),
    "stacked": Network(
        lambda p, x: jnp.tanh(jnp.tanh(x @ p["w"][0]) @ p["w"][1] + p["b"][-1:]) @ p["w"][2],
        {"w": normal(3, 5, 5), "b": normal(4, 5)},
        X1,
        X2,
    ),
    "stacks": Network(stacks, {"w": normal(2, 5, 5), "a": normal(5), "b": normal(5), "c": normal(5)}, X1, X2),
    "split": Network(
        lambda p, x: jnp.tanh(x @ jnp.split(p["w"], 2, 1)[0]) * (x @ jnp.split(p["w"], 2, 1)[1]),
        {"w": normal(5, 6)},
        X1,
        X2,
    ),
    "concatenated": Network(
        lambda p, x: jnp.tanh(x @ jnp.concatenate([p["a"], 2 * p["b"]], 1)),
        {"a": normal(5, 2), "b": normal(5, 1)},
        X1,
        X2,
    ),
    "class token": Network(
        lambda p, x: jnp.tanh(jnp.concatenate([jnp.broadcast_to(p["c"], (x.shape[0], 1, 5)), x[:, None]], 1) @ p["w"]),
        {"c": normal(1, 1, 5), "w": normal(5, 3)},
        X1,
        X2,
    ),
    "jitted layers": Network(
        lambda p, x: jax.jit(jnp.dot)(jax.jit(lambda x, w: jax.jit(jnp.tanh)(x @ w))(x, p["w"]), p["v"]),
        {"w": normal(5, 6), "v": normal(6, 3)},
        X1,
        X2,
    ),
    "checkpointed": Network(jax.checkpoint(mlp), MLP_PARAMS, X1, X2),
    "a number": Network(lambda p, x: jnp.sin(x * p["a"]) - p["c"] / (2 + x), {"a": normal(), "c": normal()}, X1, X2),
    "elementwise": Network(
        lambda p, x: (
            jnp.maximum(x, p["m"][None]) / (1 + p["d"][None] ** 2)
            + jnp.where(x > 0, p["z"][None], x) ** 2
            - (2 + jnp.tanh(x)) ** p["e"][None]
        ),
        {"m": normal(5), "d": normal(5), "z": normal(5), "e": normal(5)},
        X1,
        X2,
    ),
    "slices": Network(
        lambda p, x: lax.dynamic_slice(p["w"], (jnp.argmax(x), 1), (2, 3)).reshape(1, 6) * jnp.tanh(x.sum()),
        {"w": normal(7, 4)},
        np.array([[0.1, 0.2, 0.9, -0.5, 0.3]]),
        np.array([[0.1, -0.2, 0.3, 0.8, 0.3]]),
    ),
    "gather, clip": Network(
        lambda p, x: jnp.tanh(p["table"].at[x].get(mode="clip")).reshape(x.shape[0], -1),
        {"table": normal(5, 2)},
        TOKENS1 - 1,
        TOKENS2,
    ),
    "gather, fill": Network(
        lambda p, x: jnp.tanh(p["table"].at[x].get(mode="fill", fill_value=0.5)).reshape(x.shape[0], -1),
        {"table": normal(5, 2)},
        TOKENS1,
        TOKENS2,
    ),
}

# Networks with parameters that go through a Jacobian.
BY_JACOBIAN = {
    "tied": Network(
        lambda p, x: jnp.tanh(jnp.tanh(x @ p["w"] + p["b"][None]) @ p["w"].T @ p["w"]),
        {"w": normal(5, 4), "b": normal(4)},
        X1,
        X2,
    ),
    "tied embedding": Network(
        lambda p, x: attention_net({**p, "out": p["table"].T}, x),
        {name: value for name, value in ATTENTION_PARAMS.items() if name != "out"},
        TOKENS1,
        TOKENS2,
    ),
    "normalised weights": Network(
        lambda p, x: jnp.tanh(x @ (p["w"] / jnp.linalg.norm(p["w"], axis=0, keepdims=True) * p["g"][None])) @ p["v"],
        {"w": normal(5, 6), "g": normal(6), "v": normal(6, 3)},
        X1,
        X2,
    ),
    "overlapping slices": Network(
        lambda p, x: x[:, :2] * p["w"][::2][2:4][None] + x[:, :1] * p["w"][4:5][None] + x[:, 1:3] * p["w"][7:][None],
        {"w": normal(9)},
        X1,
        X2,
    ),
    "parameters twice in a concatenation": Network(
        lambda p, x: jnp.tanh(x @ jnp.concatenate([p["w"], p["w"][:, :1]], 1)), {"w": normal(5, 2)}, X1, X2
    ),
    "no derivative in one place": Network(
        lambda p, x: jnp.tanh(x @ lax.stop_gradient(p["w"])) @ p["w"].T, {"w": normal(5, 3)}, X1, X2
    ),
    "output of parameters alone": Network(
        lambda p, x: {"a": jnp.broadcast_to(p["b"][None], (x.shape[0], 3)), "b": jnp.sin(p["b"])[None] * x[:, :3]},
        {"b": normal(3), "unused": normal(2, 2)},
        X1,
        X2,
    ),
    "wrong derivatives": Network(
        lambda p, x: wrong_square(x @ p["w"]) * wrong_square(p["b"])[None],
        {"w": normal(5, 3), "b": normal(3)},
        X1,
        X2,
    ),
    "wrong reverse derivatives": Network(
        lambda p, x: jnp.tanh(product_with_wrong_derivative(x, p["w"])), {"w": normal(5, 3)}, X1, X2, forward=False
    ),
    "scan over layers": Network(
        lambda p, x: lax.scan(lambda h, w: (jnp.tanh(h @ w + p["b"][None]), None), x, p["w"])[0],
        {"w": normal(3, 5, 5), "b": normal(5)},
        X1,
        X2,
    ),
    "branches": Network(
        lambda p, x: lax.cond(x.sum() > 0, lambda x, w: jnp.tanh(x @ w), lambda x, w: x @ w**2, x, p["w"]),
        {"w": normal(5, 3)},
        X1,
        X2,
        independent=False,
    ),
    "slices at many places": Network(
        lambda p, x: jax.vmap(lambda i: lax.dynamic_slice(p["w"], (i, 0), (2, 3)))(x[:, 0]).reshape(x.shape[0], -1),
        {"w": normal(7, 3)},
        TOKENS1,
        TOKENS2,
    ),
    "several results": Network(
        lambda p, x: (
            lax.sort((jnp.sin(7 * x), jnp.broadcast_to(p["w"][None], x.shape)), num_keys=1)[1]
            * lax.top_k(x * p["w"][None], 1)[0]
        ),
        {"w": normal(5)},
        X1,
        X2,
    ),
    "no rules": Network(
        lambda p, x: (
            jnp.cumsum(x * p["w"][None], 1)
            + lax.reduce_window(x * p["w"][None] ** 3, 0.0, lax.add, (1, 2), (1, 1), "SAME")
            + jnp.fft.irfft(jnp.fft.rfft(x) * jnp.fft.rfft(p["w"])[None], 5)
            + lax.clamp(p["a"][None], x, p["w"][None])
        ),
        {"w": 1 + 0.1 * normal(5), "a": -1 + 0.1 * normal(5)},
        X1[:1],
        X2[:1],
    ),
}

# Networks of complex numbers; outputs are differentiated without conjugation.
COMPLEX_PARAMS = {"w": normal(5, 4) + 1j * normal(5, 4), "v": normal(4, 2) + 1j * normal(4, 2)}
COMPLEX = {
    "holomorphic": Network(lambda p, x: jnp.sin(x @ p["w"]) @ (2 * p["v"]), COMPLEX_PARAMS, X1, X2),
    "complex parameters, real outputs": Network(
        lambda p, x: (jnp.abs(jnp.sin(x @ p["w"]) @ p["v"]), jnp.real(x @ p["w"])), COMPLEX_PARAMS, X1, X2
    ),
    "real parameters, complex outputs": Network(
        lambda p, x: jnp.exp(1j * (x @ p["w"])) @ p["v"].astype(complex), {"w": normal(5, 4), "v": normal(4, 2)}, X1, X2
    ),
    "both": Network(
        lambda p, x: (jnp.exp(1j * (x @ p["w"])) @ p["v"], x @ p["w"]),
        {"w": normal(5, 4), "v": COMPLEX_PARAMS["v"]},
        X1,
        X2,
    ),
    "complex inputs": Network(
        lambda p, x: [jnp.cos(x @ p["w"] + p["b"][None]) @ p["v"], jnp.abs(x @ p["w"]) ** 2],
        {**COMPLEX_PARAMS, "b": normal(4)},
        X1 + 1j * X1[::-1],
        X2 - 2j * X2[::-1],
    ),
    "half of each": Network(
        lambda p, x: {"a": jnp.sin(x @ p[0]) @ p[1] * jnp.exp(p[2])[None], "b": jnp.tanh(x @ p[0])},
        (normal(5, 4), COMPLEX_PARAMS["v"], normal(2)),
        X1,
        X2,
    ),
}

NETWORKS = {**STRUCTURED, **BY_JACOBIAN, **COMPLEX}
