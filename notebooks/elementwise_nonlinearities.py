# %% [markdown]
# # Automatic kernels of elementwise nonlinearities
#
# What a nonlinearity $\phi$ does to the kernels of an infinite network is a pair of Gaussian expectations:
#
# $$\mathcal K = \mathbb E\, [\phi(u)\, \phi(v)], \qquad \dot{\mathcal K} = \mathbb E\, [\phi'(u)\, \phi'(v)],
# \qquad (u, v) \sim \mathcal N\!\left(0, \begin{pmatrix} q_1 & k \\ k & q_2 \end{pmatrix}\right).$$
#
# For many functions these have a closed form, and a layer in `stax`. `stax.Tanh`, `stax.Silu`, `stax.Softplus` and
# their kind have none; their kernels are series, right to nine digits. For a function of your own there are three ways:
#
# * `stax.Nonlinearity(fn)` needs only the function, and finds such a series for it;
# * `stax.ElementwiseNumerical(fn, deg)` integrates by simple quadrature with `deg` nodes;
# * `stax.Elementwise(fn, nngp_fn)` needs the formula for $\mathcal K$; the derivative $\dot{\mathcal K} = \partial
#   \mathcal K / \partial k$ follows by automatic differentiation.

# %%
try:
    import neural_tangents as nt
except ImportError:  # on Colab
    # %pip install -q "neural-tangents-jax[notebooks,store]"
    import neural_tangents as nt

# %%
import warnings

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from neural_tangents import stax

jax.config.update("jax_enable_x64", True)  # to see small errors
plt.rcParams.update({"figure.dpi": 90, "figure.constrained_layout.use": True, "axes.grid": True, "grid.alpha": 0.3})

# %% tags=["parameters"]
N_ANGLES = 61
DEGREES = [2, 4, 8, 16, 32, 64]  # nodes of the quadrature
N_TRAIN = 100  # images
N_TEST = 300

# %% [markdown]
# The last two warn that they are approximate, or that a derivative should be checked. We check everything below, so we
# switch these warnings off.

# %%
warnings.filterwarnings("ignore", "The kernel of `ElementwiseNumerical` is approximate")
warnings.filterwarnings("ignore", "`Elementwise` differentiates `nngp_fn` automatically")

# %% [markdown]
# ## Kernels over the angle
#
# Take inputs of unit variance at an angle $\alpha$, and look at the kernels of a network with one hidden layer. Here
# are three functions without a closed form, next to the ReLU, which has one: the *arc-cosine kernel* of Cho & Saul
# (2009).

# %%
angles = np.linspace(0, np.pi, N_ANGLES)
circle = np.sqrt(2) * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def kernels(nonlinearity):
    """Returns the kernels of the first point of a circle with all others, by one hidden layer."""
    _, _, kernel_fn = stax.serial(stax.Dense(1), nonlinearity, stax.Dense(1))
    both = kernel_fn(circle[:1], circle, ("nngp", "ntk"))
    return both.nngp[0], both.ntk[0]


layers = {"ReLU": stax.Relu(), "tanh": stax.Tanh(), "swish": stax.Swish(), "softplus": stax.Softplus()}

fig, axes = plt.subplots(1, 3, figsize=(9, 3.1))
z = np.linspace(-4, 4, 200)
for name, layer in layers.items():
    axes[0].plot(z, layer[1]((), z), label=name)
    nngp, ntk = kernels(layer)
    axes[1].plot(np.degrees(angles), nngp / nngp[0], label=name)
    axes[2].plot(np.degrees(angles), ntk / ntk[0], label=name)
axes[0].set(title=r"nonlinearity $\phi(z)$", xlabel="$z$", ylim=(-1.5, 4))
axes[0].legend()
axes[1].set(title=r"NNGP, $\mathcal{K}(\alpha) / \mathcal{K}(0)$", xlabel="angle, degrees", xticks=range(0, 181, 45))
axes[2].set(title=r"NTK, $\Theta(\alpha) / \Theta(0)$", xlabel="angle, degrees", xticks=range(0, 181, 45))
plt.show()

expected = (np.sin(angles) + (np.pi - angles) * np.cos(angles)) / (2 * np.pi)  # Cho & Saul, 2009, equation (6), halved
assert np.allclose(kernels(stax.Relu())[0], expected, atol=1e-12)

# %% [markdown]
# **What to see.** The kernel of an odd function, $\tanh$, is odd around 90°: opposite inputs have opposite outputs.
# That of softplus falls least, since the function has a large mean, which all inputs share. Swish and ReLU look
# alike, but not their kernels: swish has negative values, and near 0° the NTK of the ReLU falls with a slope, since
# its derivative jumps.
#
# ## Any function
#
# A series needs the function and nothing else. `stax.nonlinearity_error` says how accurate it is: the largest relative
# error of both kernels for variances from 0.001 to 100. Here is a wave with a kink, with series for inputs of three
# variances.


# %%
def wave(z):
    return 2 * z / (1 + z**2) + jnp.abs(z) / 4


fig, axes = plt.subplots(1, 2, figsize=(7, 3.1))
axes[0].plot(z, wave(z), color="black")
axes[0].set(title=r"nonlinearity $\phi(z)$", xlabel="$z$")
for variance in (0.1, 1, 10):
    _, _, kernel_fn = stax.serial(stax.Dense(1, W_std=variance**0.5), stax.Nonlinearity(wave))
    nngp = kernel_fn(circle[:1], circle, "nngp")[0]
    axes[1].plot(np.degrees(angles), nngp / nngp[0], label=f"variance {variance}")
axes[1].set(title=r"NNGP, $\mathcal{K}(\alpha) / \mathcal{K}(0)$", xlabel="angle, degrees", xticks=range(0, 181, 45))
axes[1].legend()
plt.show()

for name, fn in {"tanh": jnp.tanh, "selu": jax.nn.selu, "the wave": wave}.items():
    error = stax.nonlinearity_error(fn)
    print(f"{name}: error {error:.0e}")
    assert error < 1e-9

# %% [markdown]
# **What to see.** Inputs of a small variance see the middle of the function, where it is nearly odd; those of a large
# one see its arms, which are even, so that opposite inputs look alike. Kinks at 0 do no harm to a series.
#
# ## How many nodes?
#
# With `deg` nodes the quadrature is exact for polynomials of a degree below `2 * deg`. So functions that are nearly
# polynomials need few nodes, and functions with corners many. We compare with layers that are exact.

# %%
known = {
    "erf": (jax.lax.erf, stax.Erf()),
    "tanh": (jnp.tanh, stax.Tanh()),
    "gelu": (lambda x: jax.nn.gelu(x, approximate=False), stax.Gelu()),
    "relu": (jax.nn.relu, stax.Relu()),
}
fig, axes = plt.subplots(1, 2, figsize=(9, 3.2), sharey=True)
errors = {}
for (name, (fn, exact)), marker in zip(known.items(), "osv^", strict=True):
    exact_kernels = kernels(exact)
    found = [kernels(stax.ElementwiseNumerical(fn, deg)) for deg in DEGREES]
    for ax, which in zip(axes, (0, 1), strict=True):
        errors[name] = [np.max(np.abs(f[which] - exact_kernels[which])) / np.max(exact_kernels[which]) for f in found]
        ax.loglog(DEGREES, errors[name], marker + "-", label=name)
for ax, name in zip(axes, ("NNGP", "NTK"), strict=True):
    ax.set(title=f"relative error of the {name}", xlabel="nodes", xticks=DEGREES, xticklabels=DEGREES)
    ax.minorticks_off()
    ax.legend()
plt.show()
print(f"error of the NTK with {DEGREES[-1]} nodes: " + ", ".join(f"{name} {e[-1]:.0e}" for name, e in errors.items()))
assert errors["erf"][-1] < 1e-5 and errors["relu"][-1] > 1e-3

# %% [markdown]
# **What to see.** Errors of the smooth functions fall exponentially. Those of the ReLU fall slowly, and for its NTK,
# which integrates a step function, they hardly do. The time grows with the square of `deg`: a series is exact, and
# tens of times as fast. Quadrature is left for functions of values that `jax.grad` differentiates.
#
# ## From a formula
#
# If you know $\mathcal K$, give it to `stax.Elementwise`, as a function of three numbers $k, q_1, q_2$. For $\phi(x)
# = e^{x}$ the product $\phi(u) \phi(v)$ is log-normal, and $\mathcal K = e^{(q_1 + q_2) / 2 + k}$. The formula for
# $\dot{\mathcal K}$ is not needed.

# %%
from_formula = stax.Elementwise(jnp.exp, lambda k, q1, q2: jnp.exp((q1 + q2) / 2 + k))
by_quadrature = stax.ElementwiseNumerical(jnp.exp, deg=32)
built_in = stax.Exp()

for other in (by_quadrature, built_in):
    for ours, theirs in zip(kernels(from_formula), kernels(other), strict=True):
        assert np.allclose(ours, theirs, rtol=1e-8)


# %% [markdown]
# ## Finite networks agree
#
# All these layers have an `apply_fn`, so the kernels can be compared with random finite networks. Here is $\tanh$:
# the covariance of the outputs of many networks, with bars of two standard errors.

# %%
hidden = layers["tanh"]
init_fn, apply_fn, _ = stax.serial(stax.Dense(256), hidden, stax.Dense(1))
keys = jax.random.split(jax.random.key(0), 2000)
outputs = jax.lax.map(lambda key: apply_fn(init_fn(key, circle.shape)[1], circle)[:, 0], keys, batch_size=100)
products = outputs[:, :1] * outputs
mean, error = products.mean(axis=0), products.std(axis=0) / len(keys) ** 0.5
nngp, _ = kernels(hidden)

fig, ax = plt.subplots(figsize=(6, 3.2))
ax.errorbar(np.degrees(angles), mean, 2 * error, fmt=".", color="C0", linewidth=1, label="2000 random networks")
ax.plot(np.degrees(angles), nngp, color="C1", zorder=3, label="kernel by a series")
ax.set(title="covariance of outputs, tanh", xlabel="angle, degrees", ylabel=r"$\mathcal{K}$", xticks=range(0, 181, 45))
ax.legend()
plt.show()
assert np.mean(np.abs(mean - nngp) < 4 * error) > 0.9

# %% [markdown]
# **What to see.** The line goes through the bars. They move together, since all angles use the same networks.
#
# ## Does it matter?
#
# We classify handwritten digits with networks of three hidden layers that differ in their nonlinearity only.

# %%
digits = load_digits()
order = np.random.default_rng(0).permutation(len(digits.data))[: N_TRAIN + N_TEST]
x = digits.data[order] / 16
y = np.eye(10)[digits.target[order]] - 0.1
classified = layers | {"erf": stax.Erf(), "the wave": stax.Nonlinearity(wave)}

accuracies = {}
for name, nonlinearity in classified.items():
    dense = stax.Dense(1, W_std=1.5, b_std=0.1)
    _, _, kernel_fn = stax.serial(*[dense, nonlinearity] * 3, dense)
    kernel = kernel_fn(x, x[:N_TRAIN], "nngp")
    mean = nt.predict.gp_inference(kernel[:N_TRAIN], y[:N_TRAIN], diag_reg=1e-3)("nngp", kernel[N_TRAIN:])
    accuracies[name] = 100 * np.mean(mean.argmax(axis=1) == y[N_TRAIN:].argmax(axis=1))

fig, ax = plt.subplots(figsize=(6, 2.6))
bars = ax.barh(list(accuracies), list(accuracies.values()))
ax.bar_label(bars, fmt="%.1f", padding=3)
ax.set(title=f"{N_TRAIN} training images, NNGP", xlabel="test accuracy, %", xlim=(0, 109))
ax.invert_yaxis()
ax.grid(axis="y")
plt.show()
assert min(accuracies.values()) > 60

# %% [markdown]
# **What to see.** All read digits; the choice of the nonlinearity changes the accuracy by several points. How such
# choices, and the variances of the weights, can be made without a test set is shown in [marginal
# likelihood](marginal_likelihood.ipynb).
