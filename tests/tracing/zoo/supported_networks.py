"""Layers of the frameworks that `docs/howto/lifting.md` says are supported, and that no other network of the zoo has.

Names begin with the framework. Most are a layer, a nonlinearity, a mean over positions, and a readout.
"""

import equinox as eqx
import flax.linen as nn
import haiku as hk
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from flax import nnx
from zoo import closed_forms as cf
from zoo import equinox_networks as of_equinox
from zoo import haiku_networks as of_haiku
from zoo import linen_networks as of_linen
from zoo import nnx_networks as of_nnx
from zoo.entry import IMAGES, SEQUENCES, VECTORS, WIDTH, Dense, weights_only

from neural_tangents import stax

relu = jax.nn.relu
only_ntk = {"parameterizations": ("ntk",)}
untrained = {"options": {"trainable": weights_only}}
CHANNELS_FIRST = np.moveaxis(SEQUENCES, -1, 1)
VOLUMES = np.random.RandomState(2).normal(size=(4, 3, 4, 2, 2)).astype(np.float32)
VARIANCE = {"lecun": 1.0, "equinox": 1 / 3, "haiku": of_haiku.STD**2}  # of weights, times their fan-in


def seen(size, width, stride=1, low=0, high=0, dilation=1):
    """Which positions each window of a convolution sees; None for padding."""
    n = (size + low + high - dilation * (width - 1) - 1) // stride + 1
    at = [[p * stride - low + k * dilation for k in range(width)] for p in range(n)]
    return [[q if 0 <= q < size else None for q in window] for window in at]


def seen_by_transpose(size, width, stride, low, n, dilation=1):
    """The same of a transposed one, in which position `q` reaches `stride q + dilation k - low`."""
    reach = {stride * q + dilation * k - low: {} for q in range(size) for k in range(width)}
    for q in range(size):
        for k in range(width):
            reach[stride * q + dilation * k - low][k] = q
    return [[reach.get(p, {}).get(k) for k in range(width)] for p in range(n)]


def in_two_axes(rows, columns, n):
    """Windows over two axes of positions, of which the second has `n`."""

    def joint(r, c):
        return [None if a is None or b is None else n * a + b for a in r for b in c]

    return [joint(r, c) for r in rows for c in columns]


def windows_truth(places, law="lecun", padded=lambda x: x, scale=1.0):
    """A convolution that sees `places`, ReLU, mean, readout; Equinox draws biases too."""

    def kernels(x):
        x = padded(x)
        variance = VARIANCE[law]
        fan_in = len(places[0]) * x.shape[-1]
        biases = (1 / (3 * fan_in), 1 / (3 * WIDTH)) if law == "equinox" else (0.0, 0.0)
        h = cf.window(cf.inputs(x), int(np.prod(x.shape[1:-1])), places)
        h = cf.relu(cf.dense(scale * h, variance, biases[0]))
        return cf.dense(cf.mean_positions(h, len(places)), variance, biases[1])

    return lambda p: kernels


def linen(layer, x, truth, **options):
    def forward(x):
        h = relu(layer()(x))
        return nn.Dense(2)(h.mean(tuple(range(1, h.ndim - 1))))

    return of_linen.compact(x, forward, truth, **{**only_ntk, **options})


def of_modules(make, forward, x, truth, **options):
    """A network of nnx, of a layer and a readout."""

    def layers(rngs):
        return [make(rngs), nnx.Linear(WIDTH, 2, rngs=rngs)]

    return of_nnx.entry(layers, lambda layers, x: layers[1](forward(layers[0], x)), x, truth, **options)


def pooled(layer, x):
    h = relu(layer(x))
    return h.mean(tuple(range(1, h.ndim - 1)))


def equinox(layer, x, truth, pools=(), **options):
    """Channels are first; so are those of `x`, but not of what the truth takes."""

    def channels_last(p):
        return lambda x: truth(p)(np.moveaxis(x, 1, -1))

    mean = of_equinox.function(lambda h: h.reshape(len(h), -1).mean(1))
    modules = of_equinox.layers(layer, of_equinox.relu, *pools, mean, of_equinox.linear(WIDTH, 2))
    return of_equinox.entry(modules, x, channels_last, **only_ntk, **options)


def haiku(layer, x, truth, **options):
    return of_haiku.entry(lambda x: hk.Linear(2)(pooled(layer(), x)), x, truth, **only_ntk, **options)


def heads_truth(scale):
    """Einsums count other axes into the fan-in than they sum over: `scale` is how many of them are summed."""

    def kernels(x):
        h = cf.relu(cf.dense(cf.inputs(x), scale))
        return cf.dense(cf.mean_positions(h, 4))

    return lambda p: kernels


def linen_einsum(x):
    h = relu(nn.Einsum((3, 2, WIDTH // 2), "ntd,dhe->nthe")(x))
    return nn.Dense(2)(h.mean(1).reshape(x.shape[0], WIDTH))


def nnx_einsum(layer, x):
    return relu(layer(x)).mean(1).reshape(x.shape[0], WIDTH)


def general_layers(rngs):
    return [nnx.LinearGeneral(5, (2, WIDTH), rngs=rngs), nnx.LinearGeneral((2, WIDTH), 2, axis=(-2, -1), rngs=rngs)]


def rnn(rngs):
    return nnx.RNN(nnx.SimpleCell(3, WIDTH, activation_fn=nnx.relu, rngs=rngs))


def stacked_layers(rngs):
    @nnx.split_rngs(splits=3)
    @nnx.vmap(in_axes=0, out_axes=0)
    def stack(rngs):
        return nnx.Linear(WIDTH, WIDTH, rngs=rngs)

    return [nnx.Linear(5, WIDTH, rngs=rngs), stack(rngs), nnx.Linear(WIDTH, 2, rngs=rngs)]


def stacked(layers, x):
    first, middle, last = layers
    through = nnx.scan(lambda h, layer: layer(nnx.relu(h)), in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
    return last(nnx.relu(through(first(x), middle)))


def group_norm(rngs):
    return [nnx.Conv(2, WIDTH, (3, 3), rngs=rngs), nnx.GroupNorm(WIDTH, num_groups=2, rngs=rngs)]


def group_normed(modules, x):
    return relu(modules[1](modules[0](x))).mean((1, 2))


def equinox_gates(modules, x):
    first, second, last = modules
    return last(first(x) * relu(second(x)))


def linears(*sizes):
    return lambda key: [eqx.nn.Linear(*size, key=k) for size, k in zip(sizes, jr.split(key, len(sizes)), strict=True)]


def gates_truth(dense, last):
    def truth(p):
        branches = stax.parallel(dense(p), stax.serial(dense(p), stax.Relu()))
        return stax.serial(stax.FanOut(2), branches, stax.FanInProd(), last(p))

    return truth


def own_loop(modules, x):
    entering, staying, last = modules
    h = relu(entering(x[0]))
    for t in range(1, 4):
        h = relu(entering(x[t]) + staying(h))
    return last(h)


def own_loop_by_scan(modules, x):
    entering, staying, last = modules

    def step(h, z):
        h = relu(entering(z) + staying(h))
        return h, None

    return last(jax.lax.scan(step, relu(entering(x[0])), x[1:])[0])


def own_loop_truth(p):
    def kernels(x):
        entering = cf.new(np.full((len(x), len(x)), 1 / 9))  # one bias at all times
        staying = cf.new(np.full((len(x), len(x)), 1 / (3 * WIDTH)))
        h = cf.relu(cf.dense(cf.inputs(x[:, 0]), 1 / 3) + entering)
        for t in range(1, 4):
            h = cf.relu(cf.dense(cf.inputs(x[:, t]), 1 / 3) + entering + cf.dense(h, 1 / 3) + staying)
        return cf.dense(h, 1 / 3, 1 / (3 * WIDTH))

    return kernels


def of_function(f):
    """Two layers of linen, by a fine grid."""

    def kernels(x):
        layer = cf.numerical(lambda t: np.asarray(f(jnp.asarray(t))), lambda t: np.asarray(jax.vmap(jax.grad(f))(t)))
        return cf.dense(layer(cf.dense(cf.inputs(x))))

    layers = [nn.Dense(WIDTH), f, nn.Dense(2)]
    return of_linen.sequential(VECTORS, layers, lambda p: kernels, rtol=2e-3, **only_ntk)


def images_truth(pool, law="lecun"):
    def kernels(x):
        h = cf.relu(cf.dense(cf.inputs(x), VARIANCE[law], 1 / 6 if law == "equinox" else 0.0))
        h = cf.mean_positions(h.mapped(np.kron(np.eye(len(x)), pool)), len(pool))
        return cf.dense(h, VARIANCE[law], 1 / (3 * WIDTH) if law == "equinox" else 0.0)

    return lambda p: kernels


def pool(sizes, *windows):
    """The matrix of a mean over windows of one or two axes of positions, in which padding counts."""
    places = windows[0] if len(windows) == 1 else in_two_axes(*windows, sizes[1])
    matrix = np.zeros((len(places), int(np.prod(sizes))))
    for p, window in enumerate(places):
        for q in window:
            if q is not None:
                matrix[p, q] += 1 / len(window)
    return matrix


def reflected(low, high):
    return lambda x: np.pad(x, ((0, 0), (low, high), (0, 0)), mode="reflect")


def wrapped(low, high):
    return lambda x: np.pad(x, ((0, 0), (low, high), (0, 0)), mode="wrap")


def linen_conv(size, **keywords):
    return lambda: nn.Conv(WIDTH, size, **keywords)


def rms_normed(x):
    return nn.Dense(2)(relu(nn.RMSNorm()(nn.Dense(WIDTH)(x))))


def pooled_by_linen(x):
    return nn.Dense(2)(nn.avg_pool(relu(nn.Dense(WIDTH)(x)), (3, 2), (2, 2), "SAME").mean((1, 2)))


def dense_block(x):
    """Convolutions of activations side by side."""
    a = relu(nn.Conv(WIDTH, (3,))(x))
    b = relu(nn.Conv(WIDTH, (3,))(a))
    c = relu(nn.Conv(WIDTH, (3,))(jnp.concatenate([a, b], -1)))
    return nn.Dense(2)(jnp.concatenate([a, b, c], -1).mean(1))


def dense_block_truth(p):
    def kernels(x):
        same = seen(4, 3, 1, 1, 1)
        a = cf.relu(cf.dense(cf.window(cf.inputs(x), 4, same)))
        b = cf.relu(cf.dense(cf.window(a, 4, same)))
        c = cf.relu(cf.dense(cf.window(0.5 * (a + b), 4, same)))
        return cf.dense(cf.mean_positions((1 / 3) * (a + b + c), 4))

    return kernels


def joined_and_moved(x):
    """Activations side by side are pooled, flipped, padded, added up, and reshaped; some positions go on."""
    h = jnp.concatenate([relu(nn.Dense(WIDTH)(x)), jax.lax.erf(nn.Dense(WIDTH)(x))], -1)
    h = jnp.pad(jnp.flip(nn.avg_pool(h, (2,), (1,)), 1), ((0, 0), (1, 0), (0, 0)))
    # An index would be a `gather` in jax 0.8.
    h = jnp.expand_dims(jax.lax.index_in_dim(jnp.cumsum(h, 1).reshape(x.shape[0], 2, 2, 2 * WIDTH), 1, 1, False), 2)
    return nn.Dense(2)(h.sum((1, 2)))


def joined_and_moved_truth(p):
    def kernels(x):
        h = cf.dense(cf.inputs(x))
        pools = np.array([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]]) / 2
        matrix = np.array([[0, 0, 1, 1]]) @ np.tril(np.ones((4, 4))) @ np.eye(4)[:, 1:] @ pools[::-1]
        return cf.dense((0.5 * (cf.relu(h) + cf.erf(h))).mapped(np.kron(np.eye(len(x)), matrix)))

    return kernels


STRIDED = seen(5, 3, 2, 1, 2), seen(6, 2, 3, 2, 0, 2)
LINEN = {
    "einsum": of_linen.compact(SEQUENCES, linen_einsum, heads_truth(1 / 2), **only_ntk),
    "rms norm": of_linen.compact(
        VECTORS, rms_normed, of_nnx.normed_truth(lambda: stax.LayerNorm(-1, eps=1e-6)), **untrained
    ),
    "stride, padding and dilation": linen(
        linen_conv((3, 2), strides=(2, 3), padding=((1, 2), (2, 0)), kernel_dilation=(1, 2)),
        IMAGES,
        windows_truth(in_two_axes(*STRIDED, 6)),
    ),
    "causal": linen(linen_conv((3,), padding="CAUSAL"), SEQUENCES, windows_truth(seen(4, 3, 1, 2))),
    "causal, dilated": linen(
        linen_conv((2,), padding="CAUSAL", kernel_dilation=2), SEQUENCES, windows_truth(seen(4, 2, 1, 2, 0, 2))
    ),
    "circular, dilated": linen(
        linen_conv((3,), padding="CIRCULAR", kernel_dilation=2, strides=2),
        SEQUENCES,
        windows_truth(seen(8, 3, 2, 0, 0, 2), padded=wrapped(2, 2)),
    ),
    "reflecting": linen(
        linen_conv((3,), padding="REFLECT"), SEQUENCES, windows_truth(seen(6, 3), padded=reflected(1, 1))
    ),
    "dilated inputs": linen(
        linen_conv((3,), input_dilation=2, padding=[(1, 1)]),
        SEQUENCES,
        windows_truth([[q // 2 if q is not None and q % 2 == 0 else None for q in w] for w in seen(7, 3, 1, 1, 1)]),
    ),
    "in three axes": linen(
        linen_conv((2, 3, 1), padding="VALID"),
        VOLUMES,
        windows_truth(in_two_axes(seen(3, 2), in_two_axes(seen(4, 3), seen(2, 1), 2), 8)),
    ),
    "transposed, without padding": linen(
        lambda: nn.ConvTranspose(WIDTH, (3,), (2,), padding="VALID"),
        SEQUENCES,
        windows_truth(seen_by_transpose(4, 3, 2, 0, 9)),
    ),
    "transposed, dilated": linen(
        lambda: nn.ConvTranspose(WIDTH, (2,), (3,), padding="VALID", kernel_dilation=(2,)),
        SEQUENCES,
        windows_truth(seen_by_transpose(4, 2, 3, 0, 12, 2)),
    ),
    "dense block": of_linen.compact(SEQUENCES, dense_block, dense_block_truth, **only_ntk),
    "joined and moved": of_linen.compact(SEQUENCES, joined_and_moved, joined_and_moved_truth, **only_ntk),
    "pooled with padding": of_linen.compact(
        IMAGES, pooled_by_linen, images_truth(pool((5, 6), seen(5, 3, 2, 1, 1), seen(6, 2, 2))), **only_ntk
    ),
    "glu": of_linen.sequential(
        VECTORS,
        [nn.Dense(2 * WIDTH), nn.glu, nn.Dense(2)],
        lambda p: (
            lambda x: cf.dense(
                cf.dense(cf.inputs(x))
                * cf.numerical(lambda t: 1 / (1 + np.exp(-t)), lambda t: np.exp(-t) / (1 + np.exp(-t)) ** 2)(
                    cf.dense(cf.inputs(x))
                )
            )
        ),
        rtol=2e-3,
        **only_ntk,
    ),
    **{
        name: of_function(f)
        for name, f in {
            "elu": nn.elu,
            "selu": nn.selu,
            "celu": nn.celu,
            "relu6": jax.nn.relu6,
            "hard tanh": nn.hard_tanh,
            "sigmoid": nn.sigmoid,
            "log sigmoid": nn.log_sigmoid,
            "soft sign": nn.soft_sign,
            "mish": jax.nn.mish,
            "squareplus": jax.nn.squareplus,
            "square of relu": lambda t: nn.relu(t) ** 2,
        }.items()
    },
}

NNX = {
    "einsum": of_modules(
        lambda rngs: nnx.Einsum("ntd,dhe->nthe", (3, 2, WIDTH // 2), (2, WIDTH // 2), rngs=rngs),
        nnx_einsum,
        SEQUENCES,
        heads_truth(1 / 2),
        **only_ntk,
    ),
    "linear general": of_nnx.entry(
        general_layers, lambda layers, x: layers[1](relu(layers[0](x))), VECTORS, of_linen.two_layers(2 * WIDTH)
    ),
    "stride, padding and dilation": of_modules(
        lambda rngs: nnx.Conv(
            *(2, WIDTH, (3, 2)), strides=(2, 3), padding=((1, 2), (2, 0)), kernel_dilation=(1, 2), rngs=rngs
        ),
        pooled,
        IMAGES,
        windows_truth(in_two_axes(*STRIDED, 6)),
        **only_ntk,
    ),
    "transposed": of_modules(
        lambda rngs: nnx.ConvTranspose(3, WIDTH, (3,), (2,), padding="VALID", rngs=rngs),
        pooled,
        SEQUENCES,
        windows_truth(seen_by_transpose(4, 3, 2, 0, 9)),
        **only_ntk,
    ),
    "group norm": of_modules(
        group_norm,
        group_normed,
        IMAGES,
        of_linen.normed_truth((1, 2, 3)),
        options={"trainable": lambda path: "scale" not in path and "[0][1]" not in path},
    ),
    "recurrent": of_modules(rnn, lambda layer, x: layer(x)[:, -1], SEQUENCES, of_linen.recurrent_truth, **only_ntk),
    "scanned": of_nnx.entry(stacked_layers, stacked, VECTORS, of_linen.scanned_truth),
    "prelu": of_nnx.entry(
        lambda rngs: [nnx.Linear(5, WIDTH, rngs=rngs), nnx.PReLU(), nnx.Linear(WIDTH, 2, rngs=rngs)],
        lambda layers, x: layers[2](layers[1](layers[0](x))),
        VECTORS,
        lambda p: stax.serial(Dense(WIDTH, parameterization=p), stax.LeakyRelu(0.01), Dense(2, parameterization=p)),
        options={"trainable": lambda path: "slope" not in path},
    ),
    "gated": of_nnx.entry(
        lambda rngs: [nnx.Linear(5, WIDTH, rngs=rngs) for _ in range(2)] + [nnx.Linear(WIDTH, 2, rngs=rngs)],
        lambda layers, x: layers[2](layers[0](x) * relu(layers[1](x))),
        VECTORS,
        of_linen.gated_truth,
    ),
}


def conv1d(size, **keywords):
    return lambda key: eqx.nn.Conv1d(3, WIDTH, size, key=key, **keywords)


EQUINOX = {
    "stride, padding and dilation": equinox(
        conv1d(2, stride=2, padding=((1, 3),), dilation=2),
        CHANNELS_FIRST,
        windows_truth(seen(4, 2, 2, 1, 3, 2), "equinox"),
    ),
    "same": equinox(conv1d(3, stride=2, padding="SAME"), CHANNELS_FIRST, windows_truth(seen(4, 3, 2, 0, 1), "equinox")),
    "circular": equinox(
        conv1d(3, padding=1, padding_mode="CIRCULAR"),
        CHANNELS_FIRST,
        windows_truth(seen(6, 3), "equinox", padded=wrapped(1, 1)),
    ),
    "reflecting": equinox(
        conv1d(3, padding=1, padding_mode="REFLECT"),
        CHANNELS_FIRST,
        windows_truth(seen(6, 3), "equinox", padded=reflected(1, 1)),
    ),
    "replicating": equinox(
        conv1d(3, padding=1, padding_mode="REPLICATE"),
        CHANNELS_FIRST,
        windows_truth(seen(6, 3), "equinox", padded=lambda x: np.pad(x, ((0, 0), (1, 1), (0, 0)), mode="edge")),
    ),
    "in three axes": equinox(
        lambda key: eqx.nn.Conv3d(2, WIDTH, (2, 3, 1), key=key),
        np.moveaxis(VOLUMES, -1, 1),
        windows_truth(in_two_axes(seen(3, 2), in_two_axes(seen(4, 3), seen(2, 1), 2), 8), "equinox"),
    ),
    "mean pool in two axes": equinox(
        lambda key: eqx.nn.Conv2d(2, WIDTH, 1, key=key),
        of_equinox.CHANNELS_FIRST,
        images_truth(pool((5, 6), seen(5, 3, 2), seen(6, 2, 2)), "equinox"),
        [lambda key: eqx.nn.AvgPool2d((3, 2), (2, 2))],
    ),
    "transposed": equinox(
        lambda key: eqx.nn.ConvTranspose1d(3, WIDTH, 3, 2, padding=1, key=key),
        CHANNELS_FIRST,
        windows_truth(seen_by_transpose(4, 3, 2, 1, 7), "equinox"),
    ),
    "own loop": of_equinox.entry(
        linears((3, WIDTH), (WIDTH, WIDTH), (WIDTH, 2)), SEQUENCES, own_loop_truth, own_loop, **only_ntk
    ),
    "own loop by scan": of_equinox.entry(
        linears((3, WIDTH), (WIDTH, WIDTH), (WIDTH, 2)), SEQUENCES, own_loop_truth, own_loop_by_scan, **only_ntk
    ),
    "gated": of_equinox.entry(
        linears((5, WIDTH), (5, WIDTH), (WIDTH, 2)),
        VECTORS,
        gates_truth(lambda p: of_equinox.dense(WIDTH, 5, p), lambda p: of_equinox.dense(2, WIDTH, p)),
        equinox_gates,
    ),
    "prelu": of_equinox.entry(
        lambda key: [*linears((5, WIDTH), (WIDTH, 2))(key), eqx.nn.PReLU(0.2)],
        VECTORS,
        of_equinox.two_layers(lambda: stax.LeakyRelu(0.2)),
        lambda modules, x: modules[1](modules[2](modules[0](x))),
        options={"trainable": lambda path: not path.startswith("[2]")},
    ),
}


def conv_1d(size, **keywords):
    return lambda: hk.Conv1D(WIDTH, size, **keywords)


HAIKU = {
    "stride, padding and dilation": haiku(
        conv_1d(2, rate=2, padding=((3, 1),)), SEQUENCES, windows_truth(seen(4, 2, 1, 3, 1, 2), "haiku")
    ),
    "causal": haiku(conv_1d(3, padding=hk.pad.causal), SEQUENCES, windows_truth(seen(4, 3, 1, 2), "haiku")),
    "strided": haiku(conv_1d(3, stride=2, padding=((2, 1),)), SEQUENCES, windows_truth(seen(4, 3, 2, 2, 1), "haiku")),
    "in three axes": haiku(
        lambda: hk.Conv3D(WIDTH, (2, 3, 1), padding="VALID"),
        VOLUMES,
        windows_truth(in_two_axes(seen(3, 2), in_two_axes(seen(4, 3), seen(2, 1), 2), 8), "haiku"),
    ),
    "transposed": haiku(
        lambda: hk.Conv1DTranspose(WIDTH, 3, 2, padding="VALID"),
        SEQUENCES,
        windows_truth(seen_by_transpose(4, 3, 2, 0, 9), "haiku"),
    ),
    "dropout": of_haiku.entry(
        lambda x: hk.Linear(2)(hk.dropout(jr.key(0), 0.0, relu(hk.Linear(WIDTH)(x)))),
        VECTORS,
        lambda p: stax.serial(of_haiku.dense(WIDTH, p), stax.Relu(), of_haiku.dense(2, p)),
    ),
    "exact gelu": of_haiku.entry(
        lambda x: hk.nets.MLP([WIDTH, 2], activation=lambda h: jax.nn.gelu(h, approximate=False))(x),
        VECTORS,
        lambda p: stax.serial(of_haiku.dense(WIDTH, p), stax.Gelu(), of_haiku.dense(2, p)),
    ),
    "gated": of_haiku.entry(
        lambda x: hk.Linear(2)(hk.Linear(WIDTH)(x) * relu(hk.Linear(WIDTH)(x))),
        VECTORS,
        gates_truth(lambda p: of_haiku.dense(WIDTH, p), lambda p: of_haiku.dense(2, p)),
    ),
}

FRAMEWORKS = {"linen": LINEN, "nnx": NNX, "equinox": EQUINOX, "haiku": HAIKU}
NETWORKS = {f"{f}: {name}": entry for f, entries in FRAMEWORKS.items() for name, entry in entries.items()}
