# %% [markdown]
# # Function-space linearization
#
# If a network is linear in its parameters, we need not look at these at all: gradient descent moves the *outputs* by
#
# $$\frac{d f_t(x)}{dt} = - \sum_{i} \Theta(x, x_i)\, \frac{\partial L}{\partial f_t(x_i)},
# \qquad \Theta(x, x') = \nabla_\theta f_{\theta_0}(x) \cdot \nabla_\theta f_{\theta_0}(x').$$
#
# So the kernel $\Theta$ of a network at its initial parameters (its *empirical NTK*) and its initial outputs predict
# the whole training. This notebook makes such predictions and then trains the network.

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
from sklearn.datasets import load_digits

from neural_tangents import stax

plt.rcParams.update({"figure.dpi": 90, "figure.constrained_layout.use": True, "axes.grid": True, "grid.alpha": 0.3})

# %% tags=["parameters"]
N_TRAIN = 60  # images
N_TEST = 60
WIDTH = 2048  # units in the hidden layer
STEPS = 1000  # of gradient descent

# %% [markdown]
# ## The data and the network
#
# Zeros, ones and twos of the digits that come with scikit-learn, 8 × 8 pixels each. The network has one output for
# each of the three digits.

# %%
digits = load_digits(n_class=3)
order = np.random.default_rng(0).permutation(len(digits.data))[: N_TRAIN + N_TEST]
x = jnp.asarray(digits.data[order] / 16, jnp.float32)
y = jax.nn.one_hot(digits.target[order], 3) - 1 / 3
(x_train, x_test), (y_train, y_test) = jnp.split(x, [N_TRAIN]), jnp.split(y, [N_TRAIN])

init_fn, apply_fn, _ = stax.serial(
    stax.Dense(WIDTH, W_std=1.5, b_std=0.05), stax.Erf(), stax.Dense(3, W_std=1.5, b_std=0.05)
)
_, params = init_fn(jax.random.key(0), x_train.shape)

# %% [markdown]
# ## The kernel
#
# `nt.empirical_ntk_fn` takes any function `f(params, x)`. With `trace_axes=()` the kernel has an entry for each pair
# of inputs *and* each pair of outputs. In a wide network, different outputs are nearly independent: only pairs of
# equal outputs have large entries.

# %%
ntk_fn = jax.jit(nt.empirical_ntk_fn(apply_fn, trace_axes=(), vmap_axes=0))
k_train_train = ntk_fn(x_train, None, params)
k_test_train = ntk_fn(x_test, x_train, params)
print(f"kernel of the training set: {k_train_train.shape}")

by_digit = jnp.argsort(y_train.argmax(axis=1))
fig, axes = plt.subplots(1, 2, figsize=(9, 3.6))
blocks = ((0, "output 0 with output 0"), (1, "output 0 with output 1"))
for ax, (output, title) in zip(axes, blocks, strict=True):
    block = k_train_train[by_digit][:, by_digit, 0, output]
    image = ax.imshow(block, cmap="viridis", vmin=0, vmax=float(k_train_train.max()))
    ax.set(title=title, xlabel="training image, by digit", ylabel="training image, by digit")
    ax.grid(False)
fig.colorbar(image, ax=axes, label=r"$\Theta$")
plt.show()

# %% [markdown]
# **What to see.** Left: three brighter blocks along the diagonal, one for each digit. Images of the same digit have
# larger entries, so learning one of them helps the others. Right: entries of two different outputs are close to zero.
#
# ## The squared loss: a closed form
#
# For $L = \frac12 \text{mean}\, (f - y)^2$ the equation is linear, and `nt.predict.gradient_descent_mse` solves it by
# the eigenvalues of the kernel. Its time counts steps of gradient descent at the given learning rate.
# `max_learning_rate` is where discrete steps would diverge; we stay well below.


# %%
def squared_loss(outputs, targets):
    return 0.5 * jnp.mean((outputs - targets) ** 2)


def cross_entropy(outputs, targets):
    return -jnp.mean(jnp.sum((targets + 1 / 3) * jax.nn.log_softmax(outputs), axis=1))


times = np.unique(np.geomspace(1, STEPS, 20).astype(int))
f_train, f_test = apply_fn(params, x_train), apply_fn(params, x_test)


def train(loss, learning_rate, momentum=0.0):
    """Returns the outputs of the trained network on both sets at each of the times."""

    def step(_, state):
        params, velocity = state
        gradient = jax.grad(lambda p: loss(apply_fn(p, x_train), y_train))(params)
        velocity = jax.tree.map(lambda v, g: momentum * v - learning_rate * g, velocity, gradient)
        return jax.tree.map(jnp.add, params, velocity), velocity

    def until_next(state, n_steps):
        state = jax.lax.fori_loop(0, n_steps, step, state)
        return state, (apply_fn(state[0], x_train), apply_fn(state[0], x_test))

    start = params, jax.tree.map(jnp.zeros_like, params)
    return jax.jit(lambda: jax.lax.scan(until_next, start, jnp.diff(times, prepend=0))[1])()


learning_rate = 0.05 * nt.predict.max_learning_rate(k_train_train)
predict_fn = nt.predict.gradient_descent_mse(k_train_train, y_train, learning_rate, trace_axes=())
predicted = predict_fn(times.astype(float), f_train, f_test, k_test_train)
trained = train(squared_loss, learning_rate)


# %%
def compare(loss, predicted, trained, title, ylabel):
    """Draws losses against time, and the final outputs of the network against the predicted ones."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), width_ratios=[3, 2])
    for name, color, theory, experiment, y in zip(
        ["training", "test"], ["C0", "C3"], predicted, trained, [y_train, y_test], strict=True
    ):
        left.semilogx(times, [loss(f, y) for f in theory], color=color, label=f"{name}, predicted")
        left.semilogx(times, [loss(f, y) for f in experiment], "o", markersize=4, color=color, label=f"{name}, trained")
    left.set(title=title, xlabel="steps of gradient descent", ylabel=ylabel)
    left.legend()
    right.plot(predicted[1][-1].ravel(), trained[1][-1].ravel(), "C3o", markersize=3)
    right.axline((0, 0), slope=1, color="k", linewidth=0.8, zorder=0)
    right.set(title=f"test outputs after {STEPS} steps", xlabel="predicted", ylabel="trained", aspect="equal")
    plt.show()
    difference = predicted[1][-1] - trained[1][-1]
    return float(jnp.sqrt(jnp.mean(difference**2) / jnp.mean(trained[1][-1] ** 2)))


error = compare(squared_loss, predicted, trained, "squared loss", r"$\frac{1}{2}$ mean squared error")
print(f"relative difference of the test outputs: {error:.1%}")
assert error < 0.01 * np.sqrt(2048 / WIDTH)

# %% [markdown]
# **What to see.** Left: the dots, measured during training, lie on the lines, which were computed before it. Right:
# the same is true of every single output on every test image. The difference is below one per cent, and shrinks as
# the width grows.
#
# ## Other losses, and momentum
#
# For other losses the equation is solved numerically, by `nt.predict.gradient_descent`. Nothing else changes. Here is
# the cross-entropy, trained with a momentum of 0.9.

# %%
momentum = 0.9
learning_rate = 0.05
predict_fn = nt.predict.gradient_descent(cross_entropy, k_train_train, y_train, learning_rate, momentum, trace_axes=())
predicted = predict_fn(times.astype(float), f_train, f_test, k_test_train)
trained = train(cross_entropy, learning_rate, momentum)
error = compare(cross_entropy, predicted, trained, "with momentum", "cross-entropy")
print(f"relative difference of the test outputs: {error:.1%}")
assert error < 0.02 * np.sqrt(2048 / WIDTH)

# %% [markdown]
# **What to see.** Again dots on lines. With the cross-entropy outputs grow without end, so that the parameters move
# further and the linearization ages, but slowly.
#
# To predict an *average over initializations* instead of this one network, use the kernels of the infinite network:
# see the [cookbook](cookbook.ipynb).
