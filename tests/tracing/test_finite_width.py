"""Kernels of lifted networks against means over draws of the finite networks, for what no sequence of layers says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import neural_tangents as nt
from neural_tangents import tracing
from neural_tangents.tracing._lifted import Direct
from neural_tangents.tracing._rules import table, windows

W = 192
SEQUENCES = (2, 4, 3)


def layer_norm(x, eps=1e-5):
    x = x - x.mean(-1, keepdims=True)
    return x / jnp.sqrt((x**2).mean(-1, keepdims=True) + eps)


def bias(b, ndim=3):
    return b.reshape((1,) * (ndim - 1) + (-1,))


def normed(p, x):
    h = jax.nn.relu(layer_norm(x @ p["u"]) * bias(p["scale"]) + bias(p["shift"]))
    return (layer_norm(h) * bias(p["last"])).mean(1) @ p["w"]


def attention(p, x):
    h = x @ p["u"]
    q, v = h @ p["q"], h @ p["v"]
    a = jax.nn.softmax(jnp.einsum("nic,njc->nij", q, q) / W, -1)
    return jax.nn.relu(h + jnp.einsum("nij,njc->nic", a, v)).mean(1) @ p["w"]


def tied(p, x):
    def branch(z):
        return jax.nn.relu(z @ p["u"]) @ p["q"]

    h = jax.nn.relu(branch(x[:, 0]) - branch(x[:, 1]))
    return jnp.sin(jnp.sin(h @ p["v"]) @ p["v"]) @ p["w"]


def recurrent(p, x):
    def step(h, z):
        h = jax.nn.relu(h @ p["v"] + z @ p["u"] + p["b"][None])
        return h, h

    _, hs = lax.scan(step, jnp.zeros((len(x), W)), x.swapaxes(0, 1))
    return (hs[-1] + hs[1]) @ p["w"]


def tokens(p, x):
    h = jnp.concatenate([jnp.broadcast_to(p["token"], (len(x), 1, W)), x @ p["u"]], 1) + p["places"]
    h = jax.nn.relu(h @ p["v"])
    return (h[:, 0] + 2 * h[:, 2]) @ p["w"]


def gates(p, x):
    h = jax.nn.relu(x @ p["u"])
    g = jax.nn.sigmoid(h.mean(1) @ p["v"])
    return (h * g[:, None]).mean(1) @ p["w"]


def scaled(p, x):
    h = jax.nn.relu(x @ p["u"]) * bias(p["noise"])
    return jax.nn.relu(h @ p["v"]).mean(1) @ p["w"]


def masked(p, x):
    h = jnp.where(x[..., :1] > 0, jax.nn.relu(x @ p["u"]), 0.0)
    return jnp.cumsum(h, 1)[:, 1:3].sum(1) @ p["w"]


def depthwise(p, x):
    def conv(x, w, groups=1):
        return lax.conv_general_dilated(
            x, w, (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC"), feature_group_count=groups
        )

    h = conv(conv(x, p["f"]), p["d"], W)
    return jax.nn.relu(h @ p["v"]).mean(1) @ p["w"]


def heads(p, x):
    h = jnp.einsum("ntd,dhe->nthe", x, p["h"])
    a = jnp.einsum("nthe,nshe->nhts", h, jnp.einsum("ntd,dhe->nthe", x, p["k"])) / 8**0.5
    return jnp.einsum("nhts,nshe,heo->nto", a, jnp.einsum("ntd,dhe->nthe", x, p["m"]), p["o"]).mean(1)


def rearranged(p, x):
    """All that moves positions about."""
    h = jax.nn.relu(x @ p["u"])
    h = -jnp.pad(h[:, ::-1], ((0, 0), (1, 1), (0, 0)))
    a, b = jnp.split(h, 2, axis=1)
    h = jnp.concatenate([a, lax.dynamic_slice_in_dim(h, 2, 3, 1) - b], 1)[:, np.array([0, 3, 3, 4])]
    h = lax.reduce_window(h, 0.0, lax.add, (1, 2, 1), (1, 1, 1), "VALID")
    return lax.optimization_barrier(lax.reduce_precision(jnp.copy(h), 8, 23)).sum(1) @ p["w"]


def looked_up(p, x):
    """Rows of a table by the signs of inputs, and root mean squares."""
    rows = p["table"][jnp.where(x[..., 0] > 0, 1, 0) + jnp.where(x[..., 1] > 0, 2, 0)]
    h = rows @ p["v"]
    h = h * lax.rsqrt(jnp.mean(jnp.square(h), -1, keepdims=True) + 1e-5)
    return jax.nn.relu(h + x @ p["u"]).mean(1) @ p["w"]


def with_derivatives(p, x):
    """A derivative inside of the network, a part that is not trained, and truth values as numbers."""
    h = x.mean(1) @ p["u"]
    _, pullback = jax.vjp(lambda h: jnp.sin(h) + h * jnp.exp(-h * h), h)
    h = pullback(jnp.ones_like(h))[0] * (h > 0.3).astype(h.dtype)
    g = x.mean(1) @ p["v"][:3]
    return h @ p["w"] + (jnp.cos(g) + lax.stop_gradient(jnp.sin(g))) @ p["q"][:, :32]


FUNCTIONS = {
    "abs, tan": lambda h: jnp.abs(h) + jnp.tan(jnp.tanh(h)),
    "acos, asinh": lambda h: lax.acos(0.9 * jnp.tanh(h)) + 0.5 * jnp.arcsinh(h),
    "acosh, asin": lambda h: lax.acosh(1.5 + h * h) + lax.asin(0.9 * jnp.tanh(h)),
    "and, or": lambda h: jnp.where((h > -1) & (h < 0.5) | (h > 1), h, 0.2),
    "atan, erf_inv": lambda h: lax.atan(h) - lax.erf_inv(0.9 * jnp.tanh(h)),
    "atan2, exp2": lambda h: lax.atan2(h, 1 + h * h) + jnp.exp2(jnp.tanh(h)),
    "atanh, cbrt": lambda h: lax.atanh(0.9 * jnp.tanh(h)) - lax.cbrt(1 + h * h),
    "ceil": lambda h: lax.ceil(2 * jnp.tanh(h)),
    "clamp, min": lambda h: lax.clamp(-1.0, h, 0.5) + jnp.minimum(h, 0.3),
    "cosh, digamma": lambda h: jnp.cosh(jnp.tanh(h)) + lax.digamma(2 + h * h),
    "eq, ne": lambda h: jnp.where(jnp.sign(h) == 1, h, 0.1) + jnp.where(jnp.sign(h) != 1, -2 * h, 0.3),
    "erf, erfc": lambda h: lax.erf(h) + h * lax.erfc(2 * h),
    "exp, expm1": lambda h: h * jnp.exp(-jnp.abs(h)) + jnp.expm1(jnp.tanh(h)),
    "floor, round": lambda h: h + jnp.floor(2 * jnp.tanh(h)) - 0.5 * jnp.round(2 * jnp.tanh(h)),
    "ge, le": lambda h: jnp.where(h >= 0.2, h, 0.0) - jnp.where(h <= -0.3, h, 0.0),
    "is_finite, tanh": lambda h: jnp.where(jnp.isfinite(h), jnp.tanh(h), 0.0),
    "lgamma, log1p": lambda h: lax.lgamma(1.5 + jnp.abs(h)) - jnp.log1p(jnp.abs(h)),
    "log, pow": lambda h: jnp.log(1 + h * h) + lax.pow(1 + h * h, 0.7),
    "nextafter": lambda h: jnp.nextafter(lax.stop_gradient(h), 9.0),
    "not, xor": lambda h: jnp.where((h > 0.5) ^ (h > -0.5), h, 0.0) + jnp.where(~(h > 0.2), h, 0.0),
    "rem": lambda h: lax.rem(jnp.tanh(h), 0.6),
    "rsqrt, sinh": lambda h: lax.rsqrt(1 + h * h) + jnp.sinh(jnp.tanh(h)),
    "sign, sqrt": lambda h: jnp.sign(h) + jnp.sqrt(1 + h * h),
}


def functions(p, x):
    """An output for each function of one Gaussian."""
    h = x.mean(1) @ p["u"]
    return {name: f(h) @ p["w"] for name, f in FUNCTIONS.items()}


SHAPES = {
    **{"u": (3, W), "q": (W, W), "v": (W, W), "w": (W, 32), "b": (W,), "token": (1, 1, W), "places": (1, 5, W)},
    **{"noise": (W,), "f": (3, 3, W), "d": (3, 1, W), "h": (3, 24, 8), "k": (3, 24, 8), "m": (3, 24, 8)},
    **{"o": (24, 8, 32), "scale": (W,), "shift": (W,), "last": (W,), "table": (4, W)},
}
VARIANCES = {
    **{"u": 1 / 3, "q": 1.5 / W, "v": 2 / W, "w": 1 / W, "b": 0.3, "token": 1.0, "places": 0.25, "noise": (1.0, 0.5)},
    **{"f": 1 / 9, "d": 1 / 3, "h": 1 / 3, "k": 1 / 3, "m": 1 / 3, "o": 1 / W},
    **{"scale": (1.5, 0.0), "shift": (0.0, 0.0), "last": (0.5, 0.0), "table": 1.0},
}
NETWORKS = {
    "normed": (normed, "u scale shift last w"),
    "attention": (attention, "u q v w"),
    "tied": (tied, "u q v w"),
    "recurrent": (recurrent, "u v b w"),
    "tokens": (tokens, "u v w token places"),
    "gates": (gates, "u v w"),
    "scaled": (scaled, "u v w noise"),
    "masked": (masked, "u w"),
    "depthwise": (depthwise, "f d v w"),
    "heads": (heads, "h k m o"),
    "rearranged": (rearranged, "u w"),
    "looked up": (looked_up, "table u v w"),
    "with derivatives": (with_derivatives, "u v w q"),
}


def drawn(names, key):
    params = {}
    for name, k in zip(names, jax.random.split(key, len(names)), strict=True):
        mean, variance = VARIANCES[name] if isinstance(VARIANCES[name], tuple) else (0.0, VARIANCES[name])
        params[name] = mean + variance**0.5 * jax.random.normal(k, SHAPES[name])
    return params


def estimates(f, names, x, n):
    """Returns means over draws of the NNGP and of the NTK by parameter, and their standard errors."""

    def of_draw(key):
        params = drawn(names, key)
        y = f(params, x)
        found = {"nngp": y @ y.T / y.shape[-1]}
        for name in names:
            others = {k: v for k, v in params.items() if k != name}

            def of_one(p, x, others=others, name=name):
                return f({**others, name: p}, x)

            found[name] = nt.empirical_ntk_fn(of_one, trace_axes=(-1,))(x, None, params[name])
        return found

    found = jax.jit(lambda keys: lax.map(of_draw, keys))(jax.random.split(jax.random.key(3), n))
    return {name: (ks.mean(0), ks.std(0) / n**0.5) for name, ks in found.items()}


def lifted(f, names, trainable=None):
    structs = {key: jax.ShapeDtypeStruct(SHAPES[key], jnp.float32) for key in names}
    return tracing.lift(
        *(f, structs, jax.ShapeDtypeStruct(SEQUENCES, jnp.float32)),
        distribution=lambda path, _: VARIANCES[path[2:-2]],
        trainable=trainable,
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The kernel of `Nonlinearity`")
@pytest.mark.parametrize("name", NETWORKS)
def test_each_parameter(name):
    f, used = NETWORKS[name]
    names = used.split()
    x = jax.random.normal(jax.random.key(1), SEQUENCES)
    expected = estimates(f, names, x, 60)
    total = sum(np.abs(expected[part][0]).max() for part in names)
    for part in ["nngp", *names]:
        kernel_fn = lifted(f, names, lambda path, part=part: path[2:-2] == part).kernel_fn
        mean, error = expected[part]
        got = kernel_fn(x, None, "nngp" if part == "nngp" else "ntk")
        # A part that vanishes at infinite width is of order one, beside parts of the order of the width.
        bar = 4 * error + (0.04 * np.abs(mean).max() if np.any(got) else 2 * total / W)
        assert np.all(np.abs(got - mean) < bar), (part, got, mean, error)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The kernel of `Nonlinearity`")
def test_functions():
    """One draw of two layers, so wide that the mean over its units has a small error."""
    x = jax.random.normal(jax.random.key(1), SEQUENCES)
    found = lifted(functions, ["u", "w"]).kernel_fn(x, None, ("nngp", "ntk"))
    mean = np.asarray(x.mean(1))
    h = mean @ (VARIANCES["u"] ** 0.5 * np.random.RandomState(0).normal(size=(3, 100_000)).astype(np.float32))
    for name, f in FUNCTIONS.items():
        y, dy = map(np.asarray, jax.jvp(f, (h,), (jnp.ones_like(h),)))
        nngp, ntk = y[:, None] * y, W * y[:, None] * y
        ntk = ntk + (mean @ mean.T)[..., None] * dy[:, None] * dy
        for got, of_units in ((found[name].nngp, nngp), (found[name].ntk, ntk)):
            error = of_units.std(-1) / h.shape[1] ** 0.5
            assert np.all(np.abs(got - of_units.mean(-1)) < 4 * error + 1e-6), (name, got, of_units.mean(-1), error)


NO_VALUE = (windows.no_maximum, table.loop, table.other_derivative)


@pytest.mark.slow
def test_networks_touch_all_rules(monkeypatch):
    """Each primitive that has a rule with a value is in one of the networks above."""
    touched = set()

    def noted(rule):
        def noting(reading, step, operands):
            made = rule(reading, step, operands)
            touched.add(step.name)
            return made

        return noting

    with_value = {name for name, rule in table.RULES.rules.items() if rule not in NO_VALUE}
    for name, rule in list(table.RULES.rules.items()):
        monkeypatch.setitem(table.RULES.rules, name, noted(rule))
    monkeypatch.setattr(Direct, "check", lambda _: None)
    for f, used in [*NETWORKS.values(), (functions, "u w")]:
        lifted(f, used.split())
    assert len(with_value) > 70 and not with_value - touched
