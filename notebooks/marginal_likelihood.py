# %% [markdown]
# # Learning hyper-parameters by marginal likelihood
#
# An infinitely wide Bayesian network is a Gaussian process, so the probability of the training targets has a closed
# form, the *marginal likelihood*
#
# $$\log p(y) = -\tfrac12\, y^\top (\mathcal K + \sigma^2 I)^{-1} y - \tfrac12 \log \det (\mathcal K + \sigma^2 I)
# - \tfrac n2 \log 2 \pi.$$
#
# The first term rewards a fit, the second punishes a kernel that could fit anything. It depends on the variances of
# weights and biases and on the noise $\sigma^2$, and kernels are differentiable. So all of these can be learned by
# gradient ascent, from the training set alone.

# %%
try:
    import neural_tangents as nt
except ImportError:  # on Colab
    # %pip install -q "neural-tangents-jax[notebooks,store]"
    import neural_tangents as nt

# %%
import functools

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_sample_image

from neural_tangents import stax

jax.config.update("jax_enable_x64", True)  # determinants of nearly singular kernels
plt.rcParams.update({"figure.dpi": 90, "figure.constrained_layout.use": True, "axes.grid": True, "grid.alpha": 0.3})

# %% tags=["parameters"]
N_POINTS = 40  # on the curve
STEPS = 80  # of gradient ascent
GRID = 40  # points along each axis of the landscape
SIDE = 32  # pixels, of the image
N_PIXELS = 200  # that are known
DEPTHS = [1, 2, 3]  # hidden layers that are compared

# %% [markdown]
# ## A curve
#
# Noisy values of a function of one variable. The standard deviation of the noise is 0.2, which the network is not
# told.

# %%
random = np.random.default_rng(0)
true_noise = 0.2
x = np.sort(random.uniform(-3, 3, N_POINTS))[:, None]
grid = np.linspace(-4, 4, 120)[:, None]


def truth(x):
    return np.sin(3 * x) + 0.5 * x


y = truth(x) + true_noise * random.normal(size=x.shape)

# %% [markdown]
# ## The marginal likelihood and its gradient
#
# There are four hyper-parameters, all positive, so we learn their logarithms: the standard deviations of the weights
# of the first layer, of other weights, and of the biases, and that of the noise. `gp_inference` returns a predictor
# with the method `log_marginal_likelihood`.

# %%
start = {"first_W_std": 1.0, "W_std": 1.0, "b_std": 0.3, "noise": 0.5}


def inference(log_values, x, y, depth):
    """Returns the predictor and its kernel function."""
    v = jax.tree.map(jnp.exp, log_values)
    dense = stax.Dense(1, v["W_std"], v["b_std"])
    layers = [stax.Dense(1, v["first_W_std"], v["b_std"]), stax.Erf(), *[dense, stax.Erf()] * (depth - 1), dense]
    _, _, kernel_fn = stax.serial(*layers)
    return nt.predict.gp_inference(kernel_fn(x, None, "nngp"), y, noise_variance=v["noise"] ** 2), kernel_fn


@functools.partial(jax.jit, static_argnames="depth")
def loss(log_values, x, y, depth):
    """Returns minus the log marginal likelihood for each training point."""
    return -inference(log_values, x, y, depth)[0].log_marginal_likelihood() / len(y)


def learn(x, y, depth):
    """Returns the hyper-parameters in each step of gradient ascent with momentum."""

    def step(state, _):
        log_values, velocity = state
        gradient = jax.grad(loss)(log_values, x, y, depth)
        velocity = jax.tree.map(lambda v, g: 0.9 * v - 0.1 * g, velocity, gradient)
        return (jax.tree.map(jnp.add, log_values, velocity), velocity), log_values

    log_start = {name: jnp.log(value) for name, value in start.items()}
    state = log_start, jax.tree.map(jnp.zeros_like, log_start)
    return jax.jit(lambda: jax.lax.scan(step, state, length=STEPS + 1)[1])()


path = learn(x, y, depth=2)
first, last = ({name: values[i] for name, values in path.items()} for i in (0, -1))
for name, values in path.items():
    print(f"{name:12} {np.exp(values[0]):.2f} -> {np.exp(values[-1]):.2f}")
learned_noise = float(np.exp(last["noise"]))
assert abs(learned_noise - true_noise) < 0.1

# %% [markdown]
# ## The landscape

# %%
log_w, log_noise = np.meshgrid(np.log(np.geomspace(0.3, 10, GRID)), np.log(np.geomspace(0.05, 1, GRID)))


@jax.jit
@jax.vmap
def landscape(log_w, log_noise):
    return -loss(last | {"first_W_std": log_w, "noise": log_noise}, x, y, 2)


values = landscape(log_w.ravel(), log_noise.ravel()).reshape(log_w.shape)

fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4))
image = left.contourf(np.exp(log_w), np.exp(log_noise), values, np.linspace(-2, float(values.max()), 25), extend="min")
left.plot(
    np.exp(path["first_W_std"]), np.exp(path["noise"]), "w.-", markersize=3, linewidth=0.8, label="gradient ascent"
)
left.plot(np.exp(last["first_W_std"]), np.exp(last["noise"]), "r*", markersize=10, label="learned")
left.axhline(true_noise, color="w", linestyle=":", label="true noise")
left.set(
    title="log marginal likelihood per point",
    xscale="log",
    yscale="log",
    xlabel="W_std of the first layer",
    ylabel="noise",
)
left.set(xlim=(0.3, 10), ylim=(0.05, 1))
left.grid(False)
left.legend(loc="lower left", facecolor="gray", labelcolor="w")
fig.colorbar(image, ax=left, format="%.1f")
right.plot([-float(loss({k: v[i] for k, v in path.items()}, x, y, 2)) for i in range(STEPS + 1)])
right.set(title="in gradient ascent", xlabel="step", ylabel="log marginal likelihood per point")
plt.show()

# %% [markdown]
# **What to see.** Left: there is one hill. Above it, everything is explained by noise; far below it, where it is
# dark, noisy points would have to be fitted exactly; to its right, functions change too fast. The top is where a
# smooth function and a little noise explain the points, and the noise found there is close to the true one. (Other
# hyper-parameters are at their learned values, so the path ends on the top but begins off this slice.)
#
# ## Predictions before and after

# %%
errors = []
fig, axes = plt.subplots(1, 2, figsize=(9, 3.2), sharey=True)
for ax, log_values, title in zip(axes, (first, last), ("before learning", "after learning"), strict=True):
    predict_fn, kernel_fn = inference(log_values, x, y, 2)
    posterior = predict_fn("nngp", kernel_fn(grid, x, "nngp"), kernel_fn(grid, None, "nngp"))
    mean, std = posterior.mean[:, 0], posterior.stddev[:, 0]
    ax.plot(grid, truth(grid), "k--", linewidth=1, label="truth")
    ax.plot(x, y, "k.", label="training points")
    ax.plot(grid, mean, color="C2")
    ax.fill_between(
        grid[:, 0], mean - 2 * std, mean + 2 * std, color="C2", alpha=0.2, label=r"posterior, $\pm 2$ std. dev."
    )
    errors.append(float(jnp.sqrt(jnp.mean((predict_fn.leave_one_out().mean - y) ** 2))))
    ax.set(title=f"{title}: leave-one-out error {errors[-1]:.2f}", xlabel="$x$")
axes[0].set(ylabel="$y$", ylim=(-4, 4))
axes[0].legend(loc="upper left")
plt.show()
assert errors[1] < errors[0]

# %% [markdown]
# **What to see.** The initial network expects functions that vary too slowly, so it takes most of the signal for
# noise. The learned one follows the curve, and its band widens where there are no points. `leave_one_out()` predicts
# each training point from all others: a second measure that needs no test set.
#
# ## A photograph
#
# Now real data: a part of a photograph that comes with scikit-learn, as a function from the position of a pixel to
# its brightness. The network sees some of the pixels, and guesses the others. Networks of several depths learn their
# hyper-parameters; which depth is best?

# %%
gray = load_sample_image("flower.jpg").mean(axis=2) / 255
image = gray[100 : 100 + 8 * SIDE, 220 : 220 + 8 * SIDE].reshape(SIDE, 8, SIDE, 8).mean(axis=(1, 3))
brightness = ((image - image.mean()) / image.std()).reshape(-1, 1)
positions = np.stack(np.meshgrid(*[np.linspace(-1, 1, SIDE)] * 2, indexing="ij"), axis=-1).reshape(-1, 2)
order = np.random.default_rng(1).permutation(SIDE**2)
known, unknown = order[:N_PIXELS], order[N_PIXELS:]
x, y = positions[known], brightness[known]


def rms(difference):
    return float(jnp.sqrt(jnp.mean(difference**2)))


def reconstruct(log_values, depth):
    """Returns the predicted brightness of all pixels, and the error of leaving one out."""
    predict_fn, kernel_fn = inference(log_values, x, y, depth)
    return predict_fn("nngp", kernel_fn(positions, x, "nngp")), rms(predict_fn.leave_one_out().mean - y)


evidence, left_out, test_errors, reconstructions = [], [], [], {}
for depth in DEPTHS:
    path = learn(x, y, depth)
    last = {name: values[-1] for name, values in path.items()}
    reconstructions[depth], error = reconstruct(last, depth)
    evidence.append(-float(loss(last, x, y, depth)))
    left_out.append(error)
    test_errors.append(rms((reconstructions[depth] - brightness)[unknown]))

best = DEPTHS[int(np.argmax(evidence))]
before = reconstruct({name: jnp.log(value) for name, value in start.items()}, best)[0]
before_error, after_error = rms((before - brightness)[unknown]), test_errors[DEPTHS.index(best)]
print(f"error on unknown pixels: {before_error:.2f} before learning, {after_error:.2f} after; hidden layers: {best}")
assert after_error < before_error

# %%
seen = np.full(SIDE**2, np.nan)
seen[known] = brightness[known, 0]
panels = {
    "photograph": brightness,
    f"{N_PIXELS} known pixels": seen,
    "before learning": before,
    f"learned, {best} hidden layers": reconstructions[best],
}
fig, axes = plt.subplots(1, 4, figsize=(10, 2.8))
for ax, (title, pixels) in zip(axes, panels.items(), strict=True):
    ax.imshow(np.reshape(pixels, (SIDE, SIDE)), cmap="gray", vmin=brightness.min(), vmax=brightness.max())
    ax.set(title=title, xticks=[], yticks=[])
    ax.grid(False)
axes[1].set_facecolor("C0")
plt.show()

fig, axes = plt.subplots(1, 2, figsize=(9, 2.8))
axes[0].plot(DEPTHS, evidence, "o-")
axes[0].set(title="log marginal likelihood per pixel", xlabel="hidden layers", xticks=DEPTHS)
axes[1].plot(DEPTHS, left_out, "s-", label="leaving one out")
axes[1].plot(DEPTHS, test_errors, "o-", label="unknown pixels")
axes[1].set(title="RMS error, in standard deviations", xlabel="hidden layers", xticks=DEPTHS)
axes[1].legend()
plt.show()

# %% [markdown]
# **What to see.** Above: unknown pixels are blue. Before learning the network draws a blurred blob; with learned
# hyper-parameters the flower and its dark center appear. Below: the marginal likelihood and the error of leaving one
# out, which use the known pixels only, rank the depths as the error on the unknown pixels does, although the
# differences are small. So a model can be chosen without a test set.
