# %% [markdown]
# # Empirical NTK of a Flax ResNet
#
# Networks from any library that can be written as a function of parameters and inputs have an empirical NTK. Here it
# is a small residual network in Flax. We compute its kernel by three implementations, look at what the kernel knows
# about images before and after training, and compare what it predicts with what training does.

# %%
try:
    import neural_tangents as nt
except ImportError:  # on Colab
    # %pip install -q "neural-tangents-jax[notebooks,store]"
    import neural_tangents as nt

# %%
import time

import flax.linen as nn
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

plt.rcParams.update({"figure.dpi": 90, "figure.constrained_layout.use": True, "axes.grid": True, "grid.alpha": 0.3})

# %% tags=["parameters"]
N_CLASSES = 4
N_TRAIN = 48  # images
N_TEST = 80
N_TIMED = 12  # images whose kernel is timed
CHANNELS = 16  # of the first residual block
STEPS = 200  # of gradient descent

# %% [markdown]
# ## The network
#
# Two residual blocks, the second with stride 2 and twice the channels. `BatchNorm` uses its running averages: a
# kernel of pairs of inputs only makes sense if the output for one image does not depend on the others.


# %%
class Block(nn.Module):
    channels: int
    stride: int = 1

    @nn.compact
    def __call__(self, x):
        strides = (self.stride, self.stride)
        y = nn.relu(nn.BatchNorm(use_running_average=True)(x))
        y = nn.Conv(self.channels, (3, 3), strides)(y)
        y = nn.relu(nn.BatchNorm(use_running_average=True)(y))
        y = nn.Conv(self.channels, (3, 3))(y)
        if x.shape != y.shape:
            x = nn.Conv(self.channels, (1, 1), strides)(x)
        return x + y


class ResNet(nn.Module):
    channels: int
    n_outputs: int

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(self.channels, (3, 3))(x)
        x = Block(self.channels)(x)
        x = Block(2 * self.channels, stride=2)(x)
        return nn.Dense(self.n_outputs)(nn.relu(x).reshape(x.shape[0], -1))


# %% [markdown]
# ## From Flax to a function
#
# All that `nt.empirical_ntk_fn` needs is `f(params, x)`. Variables that are not trained, here the running averages,
# are closed over.

# %%
digits = load_digits(n_class=N_CLASSES)
order = np.random.default_rng(0).permutation(len(digits.images))[: N_TRAIN + N_TEST]
x = jnp.asarray(digits.images[order][..., None] - digits.images.mean(), jnp.float32) / digits.images.std()
labels = digits.target[order]
y = jax.nn.one_hot(labels, N_CLASSES) - 1 / N_CLASSES
(x_train, x_test), (y_train, y_test) = jnp.split(x, [N_TRAIN]), jnp.split(y, [N_TRAIN])

model = ResNet(CHANNELS, N_CLASSES)
variables = jax.jit(model.init)(jax.random.key(0), x_train)
params, rest = variables["params"], {name: value for name, value in variables.items() if name != "params"}


def f(params, x):
    return model.apply({"params": params, **rest}, x)


n_params = sum(leaf.size for leaf in jax.tree.leaves(params))
print(f"{n_params} parameters")

# %% [markdown]
# ## Three implementations
#
# They compute the same sum over parameters of products of derivatives, in different orders.

# %%
kernels, milliseconds = {}, {}
for implementation in nt.NtkImplementation:
    ntk_fn = jax.jit(nt.empirical_ntk_fn(f, trace_axes=(), vmap_axes=0, implementation=implementation))
    kernels[implementation.name] = jax.block_until_ready(ntk_fn(x_train[:N_TIMED], None, params))
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        jax.block_until_ready(ntk_fn(x_train[:N_TIMED], None, params))
        seconds.append(time.perf_counter() - start)
    milliseconds[implementation.name] = 1000 * min(seconds)

reference = kernels["JACOBIAN_CONTRACTION"]
worst = max(float(jnp.max(jnp.abs(kernel - reference)) / jnp.max(reference)) for kernel in kernels.values())
print(f"kernel of shape {reference.shape}; largest difference: {worst:.0e} of the largest entry")
assert worst < 1e-4

fig, ax = plt.subplots(figsize=(7, 2.2))
ax.barh(list(milliseconds), list(milliseconds.values()), color=["C1", "C0", "C0", "C0"])
ax.set(title=f"NTK of a ResNet, {N_TIMED} images, {N_CLASSES} outputs", xlabel="milliseconds")
ax.invert_yaxis()
plt.show()

# %% [markdown]
# **What to see.** The kernels agree up to rounding; the times differ. Which one is fastest depends on the network,
# the number of outputs and the machine. The default, `AUTO`, counts the arithmetic of each and takes the least.
#
# ## Predict, then train
#
# From the kernel at initialization and the initial outputs, `nt.predict.gradient_descent_mse` predicts the outputs at
# any time of training. Then we train.

# %%
ntk_fn = jax.jit(nt.empirical_ntk_fn(f, trace_axes=(), vmap_axes=0))
kernel = ntk_fn(x, x_train, params)
k_train_train, k_test_train = kernel[:N_TRAIN], kernel[N_TRAIN:]
learning_rate = 0.1 * nt.predict.max_learning_rate(k_train_train)
predict_fn = nt.predict.gradient_descent_mse(k_train_train, y_train, learning_rate, trace_axes=())

times = np.unique(np.geomspace(1, STEPS, 15).astype(int))
outputs = jax.jit(f)(params, x)
predicted = predict_fn(times.astype(float), outputs[:N_TRAIN], outputs[N_TRAIN:], k_test_train)


def loss(params, x, y):
    return 0.5 * jnp.mean((f(params, x) - y) ** 2)


@jax.jit
def train(params):
    def step(_, params):
        return jax.tree.map(lambda p, g: p - learning_rate * g, params, jax.grad(loss)(params, x_train, y_train))

    def until_next(params, n_steps):
        params = jax.lax.fori_loop(0, n_steps, step, params)
        return params, f(params, x)

    return jax.lax.scan(until_next, params, jnp.diff(times, prepend=0))


trained_params, trained = train(params)
trained = trained[:, :N_TRAIN], trained[:, N_TRAIN:]

# %%
test_labels = y_test.argmax(axis=1)
fig, axes = plt.subplots(1, 2, figsize=(9, 3.2))
for name, color, theory, experiment, target in zip(
    ["training", "test"], ["C0", "C3"], predicted, trained, [y_train, y_test], strict=True
):
    axes[0].loglog(times, [0.5 * np.mean((g - target) ** 2) for g in theory], color=color, label=f"{name}, predicted")
    axes[0].loglog(
        times,
        [0.5 * np.mean((g - target) ** 2) for g in experiment],
        "o",
        markersize=4,
        color=color,
        label=f"{name}, trained",
    )
for outputs, style, name in ((predicted[1], "C3-", "predicted"), (trained[1], "C3o", "trained")):
    axes[1].semilogx(
        times, [100 * np.mean(g.argmax(axis=1) == test_labels) for g in outputs], style, markersize=4, label=name
    )
axes[0].set(title="loss", xlabel="steps of gradient descent", ylabel=r"$\frac{1}{2}$ mean squared error")
axes[1].set(title="test accuracy", xlabel="steps of gradient descent", ylabel="right, %")
for ax in axes:
    ax.legend()
plt.show()

error = float(jnp.linalg.norm(predicted[1][-1] - trained[1][-1]) / jnp.linalg.norm(trained[1][-1]))
print(f"relative difference of the test outputs after {STEPS} steps: {error:.0%}")
assert error < 0.3

# %% [markdown]
# **What to see.** The dots, from training, follow the lines, from the kernel: the losses, and even how many digits
# are right after each number of steps. The theory is about wide networks, but this one is described well although its
# layers have few channels.
#
# ## The kernel before and after training

# %%
after = ntk_fn(x, x_train, trained_params)[:N_TRAIN]
train_labels = np.asarray(y_train.argmax(axis=1))
same = train_labels[:, None] == train_labels
by_digit = np.argsort(train_labels, kind="stable")
ends = np.flatnonzero(np.diff(train_labels[by_digit])) + 0.5


def normalised(kernel):
    """Returns the kernel averaged over equal outputs, as cosines."""
    k = jnp.einsum("mnii->mn", kernel)
    return k / jnp.sqrt(jnp.diag(k)[:, None] * jnp.diag(k))


fig, axes = plt.subplots(1, 2, figsize=(9, 3.8))
contrast = {}
for ax, (title, kernel) in zip(axes, {"before training": k_train_train, "after training": after}.items(), strict=True):
    cosines = normalised(kernel)
    others = ~np.eye(N_TRAIN, dtype=bool)
    contrast[title] = float(cosines[same & others].mean() - cosines[~same].mean())
    image = ax.imshow(cosines[by_digit][:, by_digit], cmap="viridis", vmin=0.2, vmax=1)
    ax.set(title=title, xlabel="training image, by digit", ylabel="training image, by digit")
    ax.vlines(ends, -0.5, N_TRAIN - 0.5, "w", linewidth=0.7)
    ax.hlines(ends, -0.5, N_TRAIN - 0.5, "w", linewidth=0.7)
    ax.grid(False)
fig.colorbar(image, ax=axes, label="cosine of two gradients")
plt.show()

for title, value in contrast.items():
    print(f"{title}: cosines of equal digits exceed those of different ones by {value:.2f} on average")
change = float(jnp.linalg.norm(after - k_train_train) / jnp.linalg.norm(k_train_train))
print(f"training changes the kernel by {change:.0%}")
assert min(contrast.values()) > 0 and change < 0.5

# %% [markdown]
# **What to see.** The blocks along the diagonal are images of the same digit: already at random parameters, their
# gradients point in similar directions, so that the network generalizes from one to the other. Training hardly
# changes the picture, and this is why the prediction was right. Train for longer, or at a larger learning rate, to
# see the kernel move.
