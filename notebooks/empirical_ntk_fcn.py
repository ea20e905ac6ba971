# %% [markdown]
# # Empirical NTK of a fully-connected network
#
# A finite network has a neural tangent kernel too, the *empirical NTK*
#
# $$\hat\Theta_{ij}(x, x') = \sum_p \frac{\partial f_i(x)}{\partial \theta_p}\,
# \frac{\partial f_j(x')}{\partial \theta_p},$$
#
# a number for each pair of inputs and each pair of outputs. This notebook computes it in several ways, shows how it
# converges to the kernel of the infinite network as the width grows, and how it changes in training.

# %%
try:
    import neural_tangents as nt
except ImportError:  # on Colab
    # %pip install -q "neural-tangents-jax[notebooks,store]"
    import neural_tangents as nt

# %%
import functools
import time

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from neural_tangents import stax

plt.rcParams.update({"figure.dpi": 90, "figure.constrained_layout.use": True, "axes.grid": True, "grid.alpha": 0.3})

# %% tags=["parameters"]
N_IMAGES = 30
WIDTHS = [16, 64, 256, 1024]  # units in each hidden layer
DRAWS = 10  # random networks of each width
TIMED_WIDTH = 256  # of the network that is timed
STEPS = 200  # of gradient descent

# %% [markdown]
# ## A kernel of a function
#
# The network is an ordinary function of parameters and inputs. It need not come from this library, and here it does
# not. Weights are standard Gaussians, divided by $\sqrt{\text{fan-in}}$ where they are used: the *NTK
# parameterization*.

# %%
digits = load_digits()
x = jnp.asarray(digits.data[:N_IMAGES] / 16, jnp.float32)
labels = digits.target[:N_IMAGES]
W_STD = 1.5


def init(key, width, n_outputs=10):
    sizes = [64, width, width, n_outputs]
    shapes = zip(sizes[:-1], sizes[1:], strict=True)
    return [jax.random.normal(k, shape) for k, shape in zip(jax.random.split(key, 3), shapes, strict=True)]


def f(params, x):
    *hidden, readout = params
    for w in hidden:
        x = jax.lax.erf(x @ w * W_STD / w.shape[0] ** 0.5)
    return x @ readout * W_STD / readout.shape[0] ** 0.5


params = init(jax.random.key(0), 256)
full = nt.empirical_ntk_fn(f, trace_axes=(), vmap_axes=0)(x, None, params)
traced = nt.empirical_ntk_fn(f, vmap_axes=0)(x, None, params)
print(f"all pairs of outputs: {full.shape}; averaged over equal outputs: {traced.shape}")
assert jnp.allclose(traced, jnp.einsum("mnii->mn", full) / 10, rtol=1e-4)

# %% [markdown]
# * `trace_axes=()` keeps all pairs of outputs. The default, `trace_axes=(-1,)`, averages over pairs of equal outputs.
#   For wide networks this loses nothing: the rest is the same or zero.
# * `vmap_axes=0` promises that the network treats each input separately, which saves much work.
#
# ## To the infinite network
#
# The same network at infinite width, written in layers, has the kernel $\Theta$. The entries of $\hat\Theta$
# fluctuate around it from one random draw to another.

# %%
hidden = [stax.Dense(1, W_std=W_STD, b_std=None), stax.Erf()]
_, _, kernel_fn = stax.serial(*hidden, *hidden, stax.Dense(1, W_std=W_STD, b_std=None))
limit = kernel_fn(x, None, "ntk")

ntk_fn = nt.empirical_ntk_fn(f, vmap_axes=0)


@functools.partial(jax.jit, static_argnums=1)
def draws(key, width):
    """Returns the kernels of some random networks, with one output each."""
    return jax.lax.map(lambda key: ntk_fn(x, None, init(key, width, 1)), jax.random.split(key, DRAWS))


samples = {width: draws(jax.random.key(1), width) for width in WIDTHS}


def relative_error(kernel):
    return float(jnp.linalg.norm(kernel - limit) / jnp.linalg.norm(limit))


single = [np.mean([relative_error(kernel) for kernel in samples[width]]) for width in WIDTHS]
mean = [relative_error(samples[width].mean(axis=0)) for width in WIDTHS]
slope = np.polyfit(np.log(WIDTHS), np.log(single), 1)[0]
print(f"relative error of one draw: {single[0]:.2f} to {single[-1]:.2f} at the largest width, slope {slope:.2f}")
assert abs(slope + 0.5) < 0.25

# %%
by_digit = np.argsort(labels, kind="stable")
fig, axes = plt.subplots(1, 3, figsize=(9, 3.1), width_ratios=[1, 1, 1.3])
for ax, kernel, title in zip(
    axes,
    [samples[WIDTHS[0]][0], limit],
    [rf"$\hat\Theta$, width {WIDTHS[0]}", r"$\Theta$, infinite width"],
    strict=False,
):
    image = ax.imshow(kernel[by_digit][:, by_digit], cmap="viridis", vmin=float(limit.min()), vmax=float(limit.max()))
    ax.set(title=title, xlabel="image, by digit")
    ax.grid(False)
fig.colorbar(image, ax=axes[1])
axes[2].loglog(WIDTHS, single, "o-", label="one draw")
axes[2].loglog(WIDTHS, mean, "s-", label=f"mean of {DRAWS} draws")
axes[2].loglog(WIDTHS, single[-1] * (np.array(WIDTHS) / WIDTHS[-1]) ** -0.5, "k:", label="slope $-1/2$")
axes[2].set(title=r"relative error of $\hat\Theta$", xlabel="width", ylim=(mean[-1] / 2, 6 * single[0]))
axes[2].legend(loc="upper right")
plt.show()

# %% [markdown]
# **What to see.** The kernel of a narrow network already looks like its limit, with noise. The error of one draw
# falls as $1/\sqrt{\text{width}}$. The mean of many draws is closer: most of the error is random and not a bias.
#
# ## Which implementation?
#
# `nt.empirical_ntk_fn` can compute the same numbers in three ways:
#
# * `JACOBIAN_CONTRACTION` forms both Jacobians and multiplies them;
# * `NTK_VECTOR_PRODUCTS` differentiates products of the kernel with unit vectors, and forms no Jacobian;
# * `STRUCTURED_DERIVATIVES` uses that the gradient of a weight matrix is a product of two small arrays.
#
# The default, `AUTO`, takes the one with the least arithmetic (Novak et al., 2022).

# %%
timed_params = init(jax.random.key(2), TIMED_WIDTH)
kernels, milliseconds = {}, {}
for implementation in nt.NtkImplementation:
    fn = jax.jit(nt.empirical_ntk_fn(f, trace_axes=(), vmap_axes=0, implementation=implementation))
    kernels[implementation.name] = jax.block_until_ready(fn(x, None, timed_params))
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        jax.block_until_ready(fn(x, None, timed_params))
        seconds.append(time.perf_counter() - start)
    milliseconds[implementation.name] = 1000 * min(seconds)

reference = kernels["JACOBIAN_CONTRACTION"]
worst = max(float(jnp.max(jnp.abs(kernel - reference)) / jnp.max(reference)) for kernel in kernels.values())
print(f"largest difference between implementations: {worst:.0e} of the largest entry")
assert worst < 1e-5

fig, ax = plt.subplots(figsize=(7, 2.2))
ax.scatter(list(milliseconds.values()), list(milliseconds), color=["C1", "C0", "C0", "C0"], s=60)
ax.set(title=f"time of one call, width {TIMED_WIDTH}, 10 outputs", xlabel="milliseconds", xscale="log")
ax.set(ylim=(3.5, -0.5), xlim=(0.5 * min(milliseconds.values()), 2 * max(milliseconds.values())))
plt.show()

# %% [markdown]
# **What to see.** All give the same kernel, up to rounding. Mind the logarithmic scale: for a fully-connected
# network, structured derivatives save most of the time, and the default finds that out by itself.
#
# ## The kernel in training
#
# The theory of wide networks says that the kernel stays what it was at the start. How true is this at a given width?
# We train networks on the squared loss, at half the largest stable learning rate of the infinite network.

# %%
targets = jax.nn.one_hot(labels, 10) - 0.1
learning_rate = 0.5 * nt.predict.max_learning_rate(limit, y_train_size=targets.size)


def loss(params):
    return 0.5 * jnp.mean((f(params, x) - targets) ** 2)


def step(_, params):
    return jax.tree.map(lambda p, g: p - learning_rate * g, params, jax.grad(loss)(params))


@jax.jit
def train(params):
    """Returns the loss and the kernel at eleven times of training."""

    def some_steps(params, _):
        return jax.lax.fori_loop(0, STEPS // 10, step, params), (loss(params), ntk_fn(x, None, params))

    return jax.lax.scan(some_steps, params, length=11)[1]


fig, ax = plt.subplots(figsize=(6, 3.2))
changes = {}
for width, color in zip(WIDTHS, plt.cm.viridis(np.linspace(0.9, 0, len(WIDTHS))), strict=True):
    losses, kernels = train(init(jax.random.key(3), width))
    changes[width] = jnp.linalg.norm(kernels - kernels[0], axis=(1, 2)) / jnp.linalg.norm(kernels[0])
    ax.plot(np.linspace(0, STEPS, 11), 100 * changes[width], ".-", color=color, label=f"width {width}")
    print(
        f"width {width}: the loss falls to {losses[-1] / losses[0]:.1%}, the kernel changes by {changes[width][-1]:.1%}"
    )
ax.set(
    title="change of the kernel in training", xlabel="steps of gradient descent", ylabel=r"change of $\hat\Theta$, %"
)
ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
plt.show()
assert changes[WIDTHS[-1]][-1] < 0.25 * changes[WIDTHS[0]][-1]

# %% [markdown]
# **What to see.** All networks learn, but the wider a network, the less its kernel moves. Wide networks train as
# their [linearization](weight_space_linearization.ipynb) does; narrow ones adapt their kernel to the task.
