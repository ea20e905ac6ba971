# %% [markdown]
# # Phase diagram
#
# How should weights be scaled, so that deep networks can be trained? Schoenholz et al. (2017) answered this by
# following two inputs through a random, infinitely wide network. Their correlation converges to a fixed point. Where
# it does so within a few layers, the network forgets what went in. It remembers longest at the border of two phases:
#
# * **ordered**: small weights; all inputs become the same, and gradients vanish;
# * **chaotic**: large weights; similar inputs become different, and gradients explode.
#
# We draw this diagram for $\tanh$, measure in kernels of the library how far information travels, and see what this
# means for handwritten digits.

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

jax.config.update("jax_enable_x64", True)
plt.rcParams.update({"figure.dpi": 90, "figure.constrained_layout.use": True, "axes.grid": True, "grid.alpha": 0.3})

# %% tags=["parameters"]
GRID = 60  # points along each axis of the phase diagram
DEPTH = 100  # layers through which two inputs are followed
N_IMAGES = 80  # training images, and as many test images
IMAGE_DEPTHS = [1, 2, 4, 8, 16, 24, 32, 48, 64]  # layers of networks that read digits
N_WEIGHTS = 10  # variances of the weights for which they do

# %% [markdown]
# ## Theory: two recursions
#
# Let $\sigma_w^2$ and $\sigma_b^2$ be the variances of weights and biases. The variance $q$ of a unit, and the
# correlation $c$ of a unit for two inputs, go from layer to layer by
#
# $$q \mapsto \sigma_w^2\, \mathbb E\, \phi(\sqrt q\, z)^2 + \sigma_b^2, \qquad
# c \mapsto \frac{\sigma_w^2\, \mathbb E\, \phi(u) \phi(v) + \sigma_b^2}{q},$$
#
# where $z$ is a standard Gaussian, and $u, v$ are Gaussians of variance $q$ and correlation $c$. The variance soon
# reaches its fixed point $q^*$. The correlation has a fixed point at $c = 1$. The slope of the second map there,
#
# $$\chi_1 = \sigma_w^2\, \mathbb E\, \phi'(\sqrt{q^*}\, z)^2,$$
#
# decides: if $\chi_1 < 1$, similar inputs become equal (order), and if $\chi_1 > 1$, they move apart, to another
# fixed point $c^* < 1$ (chaos). In either phase $|c - c^*|$ falls as $e^{-l / \xi}$ with the number of layers $l$,
# where the *depth scale* $\xi = -1 / \log \chi_{c^*}$ follows from the slope $\chi_{c^*}$ at the stable fixed point.
#
# Expectations are sums over the nodes of Gauss–Hermite quadrature. Only NumPy is needed:

# %%
nodes, weights = np.polynomial.hermite_e.hermegauss(64)
weights = weights / weights.sum()


def slope_of_tanh(x):
    return 1 - np.tanh(x) ** 2


def fixed_variance(w, b):
    """Returns the fixed point of the variance for arrays of variances of weights and biases."""
    q = np.ones(np.broadcast_shapes(np.shape(w), np.shape(b)))
    for _ in range(300):
        q = w * (np.tanh(np.sqrt(q)[..., None] * nodes) ** 2 @ weights) + b
    return q


def slope_at_one(w, b):
    return w * (slope_of_tanh(np.sqrt(fixed_variance(w, b))[..., None] * nodes) ** 2 @ weights)


def pair_mean(f, q, c):
    """Returns the mean of `f(u) f(v)` for variances `q` and correlations `c`."""
    u = np.sqrt(q)[..., None, None] * nodes[:, None]
    v = np.sqrt(q)[..., None, None] * (c[..., None, None] * nodes[:, None] + np.sqrt(1 - c**2)[..., None, None] * nodes)
    return (f(u) * f(v)) @ weights @ weights


def fixed_correlation(w, b):
    """Returns the stable fixed point of the correlation, and the slope there."""
    q = fixed_variance(w, b)
    c = np.full(q.shape, 0.5)
    for _ in range(300):
        c = np.clip((w * pair_mean(np.tanh, q, c) + b) / q, 0, 1)
    return c, w * pair_mean(slope_of_tanh, q, c)


# %% [markdown]
# ## The diagram

# %%
w, b = np.meshgrid(np.linspace(0.8, 4, GRID), np.linspace(0.002, 0.3, GRID))
chi = slope_at_one(w, b)
critical = np.interp(1, slope_at_one(np.linspace(1, 3, 500), 0.05), np.linspace(1, 3, 500))
print(f"critical variance of the weights at a variance of the biases of 0.05: {critical:.2f}")
assert abs(critical - 1.76) < 0.01  # as published

b_line = 0.05  # for the right panel, and for all that follows
w_line = np.linspace(0.8, 4, GRID)
c_line, slope_line = fixed_correlation(w_line, np.full(GRID, b_line))
xi_line = -1 / np.log(slope_line)

fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4))
image = left.pcolormesh(w, b, np.log10(chi), cmap="RdBu_r", vmin=-0.25, vmax=0.25, rasterized=True)
left.contour(w, b, chi, [1.0], colors="k")
left.axhline(b_line, color="k", linestyle=":", linewidth=1)
left.text(1.1, 0.25, "ordered")
left.text(3.1, 0.25, "chaotic")
left.set(title="slope of the map of correlations", xlabel=r"$\sigma_w^2$", ylabel=r"$\sigma_b^2$")
left.grid(False)
fig.colorbar(image, ax=left, label=r"$\log_{10} \chi_1$")
right.plot(w_line, c_line, label="$c^*$")
right.plot(w_line, slope_line, label=r"$\chi_{c^*}$")
right.axvline(critical, color="k", linewidth=1, label="critical")
right.set(title=rf"stable fixed point at $\sigma_b^2 = {b_line}$", xlabel=r"$\sigma_w^2$")
right.legend()
plt.show()

# %% [markdown]
# **What to see.** Left: the black line, $\chi_1 = 1$, separates order (blue) from chaos (red). Along the dotted line
# the transition is at $\sigma_w^2 = 1.76$, the published value. Right: there, the fixed point leaves $c^* = 1$, and
# the slope reaches 1, so $\xi$ is infinite.
#
# ## Correlations in kernels of deep networks
#
# Now the same with the library. A layer's `kernel_fn` maps a `Kernel` to a `Kernel`, so we can follow two inputs
# through a network layer by layer. `stax.ElementwiseNumerical` makes the kernel of any nonlinearity by quadrature. It
# warns that this is approximate; for smooth functions such as $\tanh$ it is very accurate.

# %%
warnings.filterwarnings("ignore", "The kernel of `ElementwiseNumerical` is approximate")


@jax.jit
def next_layer(kernel, w, b):
    _, _, kernel_fn = stax.serial(stax.ElementwiseNumerical(jnp.tanh, deg=32), stax.Dense(1, w**0.5, b**0.5))
    return kernel_fn(kernel)


def correlations(w, b):
    """Returns the correlation of two inputs after each of the layers."""
    _, _, first_layer = stax.Dense(1, w**0.5, b**0.5)
    angle = np.arccos(0.6)
    kernel = first_layer(np.array([[1.5, 0.0]]), 1.5 * np.array([[np.cos(angle), np.sin(angle)]]))
    found = []
    for _ in range(DEPTH):
        found.append(float(kernel.nngp[0, 0] / np.sqrt(kernel.cov1[0] * kernel.cov2[0])))
        kernel = next_layer(kernel, w, b)
    return np.array(found)


tested = [1.0, 1.3, 1.5, 2.2, 2.6, 3.0, 3.6]
followed = {w: correlations(w, b_line) for w in tested}
_, slopes = fixed_correlation(np.array(tested), np.full(len(tested), b_line))


def measured_depth_scale(w):
    """Returns the depth scale from a fit of a line to the logarithm of the distance from the fixed point."""
    c = followed[w]
    gap = np.abs(c - (1 if w < critical else c[-1]))
    fitted = np.flatnonzero((gap < 5e-2) & (gap > 2e-3))
    return -1 / np.polyfit(fitted, np.log(gap[fitted]), 1)[0]


measured = np.array([measured_depth_scale(w) for w in tested])
error = np.max(np.abs(measured * -np.log(slopes) - 1))
print(f"largest relative difference of measured and predicted depth scales: {error:.1%}")
assert error < 0.1

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4))
colors = plt.cm.coolwarm(np.linspace(0, 1, len(tested)))
for w, color in zip(tested, colors, strict=True):
    left.plot(followed[w][:40], ".-", color=color, markersize=3, linewidth=1, label=rf"$\sigma_w^2 = {w}$")
left.set(title="correlation of two inputs", xlabel="layer", ylabel="$c$", xlim=(-1, 57))
left.legend(fontsize=8, loc="center right")
right.semilogy(w_line, xi_line, label="theory")
right.semilogy(tested, measured, "o", label="measured in kernels")
right.axvline(critical, color="k", linewidth=1, label="critical")
right.set(title="depth scale", xlabel=r"$\sigma_w^2$", ylabel=r"$\xi$, layers", ylim=(1, 100))
right.legend()
plt.show()

# %% [markdown]
# **What to see.** Left: with small weights (blue) the inputs become equal; with large ones (red) they end at a
# correlation that does not depend on where they began. Both are forgetful. Right: the rate of forgetting, fitted to
# these curves, agrees with the slope of the map within ten per cent. It diverges at the critical point.
#
# ## What this means for learning
#
# A deep network can only learn if its kernel still tells inputs apart, and similar inputs together. We classify
# digits by the Bayesian network (NNGP), for networks of different depths, all at $\sigma_b^2 = 0.05$, and compare
# with $6\,\xi$, the depth that Schoenholz et al. found to limit training.

# %%
digits = load_digits()
order = np.random.default_rng(0).permutation(len(digits.data))[: 2 * N_IMAGES]
x = digits.data[order] - digits.data.mean(axis=0)
x = x / np.sqrt(np.mean(x**2, axis=1, keepdims=True))  # of equal length
y = np.eye(10)[digits.target[order]] - 0.1
x_train, x_test, y_train, y_test = x[:N_IMAGES], x[N_IMAGES:], y[:N_IMAGES], y[N_IMAGES:]


@jax.jit
def kernels(w):
    """Returns the NNGP kernel of all images with the training images at each of `IMAGE_DEPTHS`."""
    block = stax.serial(stax.ElementwiseNumerical(jnp.tanh, deg=10), stax.Dense(1, w**0.5, b_line**0.5))
    kernel = stax.Dense(1, w**0.5, b_line**0.5)[2](x, x_train).replace(ntk=None)
    found = []
    for n_layers in np.diff(IMAGE_DEPTHS, prepend=0):
        kernel = stax.repeat(block, int(n_layers))[2](kernel)
        found.append(kernel.nngp)
    return found


def accuracy(kernel):
    predict_fn = nt.predict.gp_inference(kernel[:N_IMAGES], y_train, diag_reg=1e-3)
    mean = predict_fn("nngp", kernel[N_IMAGES:])
    return 100 * np.mean(mean.argmax(axis=1) == y_test.argmax(axis=1))


w_images = np.linspace(1.0, 4.0, N_WEIGHTS)
accuracies = np.array([[accuracy(kernel) for kernel in kernels(w)] for w in w_images])

ordered, near, chaotic = (accuracies[np.argmin(np.abs(w_images - w)), -1] for w in (1.0, critical, 4.0))
print(
    f"with {IMAGE_DEPTHS[-1]} layers: {ordered:.0f} % ordered, {near:.0f} % near criticality, {chaotic:.0f} % chaotic"
)
assert near > ordered + 10 and near > chaotic + 10

# %%
fig, ax = plt.subplots(figsize=(6, 3.6))
image = ax.pcolormesh(w_images, np.arange(len(IMAGE_DEPTHS)), accuracies.T, cmap="viridis", shading="nearest")
row = np.interp(np.log(6 * xi_line), np.log(IMAGE_DEPTHS), np.arange(len(IMAGE_DEPTHS)), right=np.nan)
ax.plot(w_line, row, "r--", label=r"$6\,\xi$")
ax.set(
    title="accuracy on new digits",
    xlabel=r"$\sigma_w^2$",
    ylabel="layers",
    xlim=(w_images[0], w_images[-1]),
    yticks=range(len(IMAGE_DEPTHS)),
    yticklabels=IMAGE_DEPTHS,
)
ax.grid(False)
ax.legend(loc="lower right")
fig.colorbar(image, ax=ax, label="right, %")
plt.show()

# %% [markdown]
# **What to see.** Shallow networks do not care. The deeper the network, the narrower the range of $\sigma_w^2$ around
# the critical point in which it learns; outside it guesses. The dashed line is where the depth is $6\,\xi$. In the
# chaotic phase accuracy is lost somewhat earlier, since similar images have become different; in the ordered phase
# later, since exact inference amplifies small differences as long as they exceed the regularization.
