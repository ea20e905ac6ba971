# %% [markdown]
# # Cookbook
#
# A network whose layers are infinitely wide is a Gaussian process before training, and stays one when gradient
# descent trains it. This notebook fits a curve with such a network: its *prior*, its *posterior*, and everything in
# between. Finite networks, drawn and trained in the ordinary way, show that the theory describes them.

# %%
try:
    import neural_tangents as nt
except ImportError:  # on Colab
    # %pip install -q "neural-tangents-jax[notebooks,store]"
    import neural_tangents as nt

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from neural_tangents import stax

plt.rcParams.update({"figure.dpi": 90, "figure.constrained_layout.use": True, "axes.grid": True, "grid.alpha": 0.3})

# %% tags=["parameters"]
WIDTH = 256  # units in each hidden layer of a finite network
MEMBERS = 50  # finite networks in the ensemble
STEPS = 1000  # of gradient descent
GRID = 100  # points at which curves are drawn

# %% [markdown]
# ## The data
#
# We want to learn $y = \sin x$ from five noisy points.

# %%
noise = 0.1
x_train = jnp.array([-2.8, -2.0, -1.1, 0.4, 1.2])[:, None]
y_train = jnp.sin(x_train) + noise * jax.random.normal(jax.random.key(0), x_train.shape)
x_test = jnp.linspace(-jnp.pi, jnp.pi, GRID)[:, None]
y_test = jnp.sin(x_test)


def panel(ax, title):
    ax.plot(x_test, y_test, "k--", linewidth=1, label="truth")
    ax.set(title=title, xlabel="$x$", ylim=(-2.6, 2.6))


def band(ax, mean, std, color, label):
    ax.plot(x_test[:, 0], mean, color=color)
    ax.fill_between(x_test[:, 0], mean - 2 * std, mean + 2 * std, color=color, alpha=0.2, label=label)


# %% [markdown]
# ## A network, finite and infinite
#
# A layer is a triple of functions, and `stax.serial` composes layers into a network, which is again a triple.
# `init_fn` and `apply_fn` are the finite network; `kernel_fn` is its limit of infinite width. Weights have the
# variance $W_\text{std}^2 / \text{fan-in}$ and biases the variance $b_\text{std}^2$.

# %%
init_fn, apply_fn, kernel_fn = stax.serial(
    stax.Dense(WIDTH, W_std=1.5, b_std=0.5),
    stax.Erf(),
    stax.Dense(WIDTH, W_std=1.5, b_std=0.5),
    stax.Erf(),
    stax.Dense(1, W_std=1.5, b_std=0.5),
)
apply_fn = jax.jit(apply_fn)
kernel_fn = jax.jit(kernel_fn, static_argnames="get")

# %% [markdown]
# ## The prior
#
# At random parameters $\theta$ the outputs of an infinite network are a Gaussian process with mean zero and
# covariance
#
# $$\mathcal K(x, x') = \mathbb E_\theta\, [f_\theta(x)\, f_\theta(x')],$$
#
# the *NNGP kernel*. Its diagonal says how far outputs of random networks spread.

# %%
keys = jax.random.split(jax.random.key(1), MEMBERS)
ensemble = jax.vmap(lambda key: init_fn(key, x_train.shape)[1])(keys)  # parameters of all members
prior_draws = jax.vmap(apply_fn, (0, None))(ensemble, x_test)[..., 0]

nngp = kernel_fn(x_test, None, "nngp")
prior_std = jnp.sqrt(jnp.diag(nngp))

empirical_std = jnp.std(prior_draws, axis=0)
ratio = float(jnp.mean(empirical_std / prior_std))
print(f"standard deviation of {MEMBERS} finite networks, relative to the infinite one: {ratio:.2f}")
assert abs(ratio - 1) < 2.5 / np.sqrt(MEMBERS)

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), width_ratios=[3, 2])
panel(left, f"random networks with {WIDTH} units per layer")
left.plot(x_test, prior_draws[:12].T, color="C0", linewidth=0.8, alpha=0.7)
band(left, jnp.zeros(GRID), prior_std, "C0", r"infinite width, $\pm 2$ std. dev.")
left.set(ylabel="output", ylim=(-4.5, 4.5))
left.legend(loc="upper left")
image = right.imshow(nngp, extent=[-np.pi, np.pi, np.pi, -np.pi], cmap="viridis")
right.set(title=r"NNGP kernel $\mathcal{K}(x, x')$", xlabel="$x'$", ylabel="$x$")
right.grid(False)
fig.colorbar(image, ax=right)
plt.show()

# %% [markdown]
# **What to see.** Left: twelve random networks; about 95 % of all curves are inside the shaded band at any $x$.
# Right: outputs at two points on the same side of zero are almost the same, and those at opposite points have
# opposite signs more often than not. This network expects smooth functions that change mostly around zero.

# %% [markdown]
# ## The posterior
#
# Two ways to learn from data have a closed form. *Bayesian inference* conditions the Gaussian process with kernel
# $\mathcal K$ on the training points. *Gradient descent* on the squared loss until convergence is described by a
# second kernel, the *neural tangent kernel*
#
# $$\Theta(x, x') = \mathbb E_\theta\, [\nabla_\theta f_\theta(x) \cdot \nabla_\theta f_\theta(x')].$$
#
# It is constant during training if the network is infinitely wide, so the outputs obey a linear differential
# equation. The result is again a Gaussian: over the networks of an ensemble that differ in their random initial
# parameters. `get="nngp"` asks for the first and `get="ntk"` for the second.

# %%
predict_fn = nt.predict.gradient_descent_mse_ensemble(kernel_fn, x_train, y_train, diag_reg=1e-4)
posterior = predict_fn(x_test=x_test, get=("nngp", "ntk"), compute_cov=True)

fig, axes = plt.subplots(1, 2, figsize=(9, 3.2), sharey=True)
titles = {"nngp": "Bayesian network (NNGP)", "ntk": "ensemble after gradient descent (NTK)"}
for ax, (name, title), color in zip(axes, titles.items(), ["C2", "C1"], strict=True):
    gaussian = getattr(posterior, name)
    panel(ax, title)
    band(ax, gaussian.mean[:, 0], gaussian.stddev[:, 0], color, r"infinite width, $\pm 2$ std. dev.")
    ax.plot(x_train, y_train, "ko", label="training points")
    ax.legend(loc="upper left")
axes[0].set(ylabel="output")
plt.show()

# %% [markdown]
# **What to see.** Both pass through the training points, where their uncertainty shrinks to nothing, and both are
# unsure in the gap between the points and on the right, where there are none. The means are similar, but the bands
# differ: an ensemble of trained networks is not a sample from the Bayesian posterior.

# %% [markdown]
# ## Training, step by step
#
# Now we train the finite networks, all members of the ensemble side by side, by gradient descent on all parameters,
# and compare them with the prediction for the same number of steps. `predict_fn(t=...)` answers without any training.

# %%
learning_rate = 0.05
predict_fn = nt.predict.gradient_descent_mse_ensemble(kernel_fn, x_train, y_train, learning_rate, diag_reg=1e-4)
times = np.unique(np.geomspace(2, STEPS, 25).astype(int))


def loss(params):
    return 0.5 * jnp.mean((apply_fn(params, x_train) - y_train) ** 2)


@jax.jit
@jax.vmap
def train(params):
    """Returns outputs on the training and test points at each of the times."""

    def step(_, params):
        return jax.tree.map(lambda p, g: p - learning_rate * g, params, jax.grad(loss)(params))

    def until_next(params, n_steps):
        params = jax.lax.fori_loop(0, n_steps, step, params)
        return params, (apply_fn(params, x_train), apply_fn(params, x_test))

    return jax.lax.scan(until_next, params, jnp.diff(times, prepend=0))[1]


trained_train, trained_test = train(ensemble)  # (members, times, points, 1)

# %% [markdown]
# The mean loss of an ensemble has two parts: the squared error of its mean, and its variance. Both follow from the
# predicted Gaussian.


# %%
def expected_loss(gaussian, y):
    return 0.5 * jnp.mean((gaussian.mean - y) ** 2 + gaussian.variance)


predicted = [
    [expected_loss(predict_fn(t=float(t), x_test=x, get="ntk", compute_cov=True), y) for t in times]
    for x, y in ((None, y_train), (x_test, y_test))
]
measured = [
    0.5 * np.mean((outputs - y) ** 2, axis=(0, 2, 3))
    for outputs, y in ((trained_train, y_train), (trained_test, y_test))
]
error = float(np.max(np.abs(measured[1] / np.array(predicted[1]) - 1)))
print(f"largest difference of the test losses: {error:.0%}")
assert error < 4 / np.sqrt(MEMBERS)

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2))
for name, color, theory, experiment in zip(["training", "test"], ["C0", "C3"], predicted, measured, strict=True):
    left.loglog(times, theory, color=color, label=f"{name}, infinite width")
    left.loglog(times, experiment, "o", markersize=4, color=color, label=f"{name}, {MEMBERS} networks")
left.set(title="mean loss", xlabel="steps of gradient descent", ylabel=r"$\frac{1}{2}$ mean squared error")
left.legend()

final = predict_fn(t=float(STEPS), x_test=x_test, get="ntk", compute_cov=True)
panel(right, f"after {STEPS} steps")
right.plot(x_test, trained_test[:12, -1, :, 0].T, color="C1", linewidth=0.8, alpha=0.7)
band(right, final.mean[:, 0], final.stddev[:, 0], "C1", r"infinite width, $\pm 2$ std. dev.")
right.plot(x_train, y_train, "ko", label="training points")
right.set(ylabel="output")
right.legend(loc="upper left")
plt.show()

# %% [markdown]
# **What to see.** Left: dots, which are trained networks, lie on the lines, which are computed from two kernels of
# five points. The test loss first falls and then levels off, when the training points are learned. Right: trained
# networks (thin lines) stay in the predicted band.
#
# ## Where to go from here
#
# * Convolutions, pooling, attention and many more layers have kernels too: see [Myrtle
#   kernels](myrtle_kernels.ipynb).
# * Why training is linear: [weight space](weight_space_linearization.ipynb) and [function
#   space](function_space_linearization.ipynb).
# * How to choose `W_std` and `b_std`: the [phase diagram](phase_diagram.ipynb) and [marginal
#   likelihood](marginal_likelihood.ipynb).
