# %% [markdown]
# # The infinite limit of a Flax CNN
#
# A model that is written in Flax does not have to be written again to get its infinite-width kernels: `tracing.lift`
# reads them from the function and its initialiser. Here is a small convolutional network. We predict handwritten
# digits with its infinite limit, then train the finite network itself, and an ensemble of it, and see whether the
# limit described them.

# %%
try:
    import neural_tangents as nt
except ImportError:  # on Colab
    # %pip install -q "neural-tangents-jax[notebooks,store]"
    import neural_tangents as nt

# %%
import flax.linen as nn
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from neural_tangents import tracing

plt.rcParams.update({"figure.dpi": 90, "figure.constrained_layout.use": True, "axes.grid": True, "grid.alpha": 0.3})

# %% tags=["parameters"]
TRAIN_SIZES = [20, 40, 80, 160]  # images that the infinite network learns from
N_TEST = 100
N_TRAINED = 20  # images that finite networks are trained on
WIDTH = 24  # channels of finite networks
MEMBERS = 8  # of the ensemble
STEPS = 200  # of gradient descent

# %% [markdown]
# ## The model
#
# Nothing in it is made for this library: two convolutions, an average over windows, and a dense layer.


# %%
class CNN(nn.Module):
    width: int

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(self.width, (3, 3))(x))
        x = nn.relu(nn.Conv(self.width, (3, 3))(x))
        x = nn.avg_pool(x, (2, 2), strides=(2, 2))
        return nn.Dense(10)(x.reshape(x.shape[0], -1))


digits = load_digits()
order = np.random.default_rng(0).permutation(len(digits.images))[: max(TRAIN_SIZES) + N_TEST]
x = jnp.asarray(digits.images[order][..., None] - digits.images.mean(), jnp.float32) / digits.images.std()
labels = digits.target[order]
y = jax.nn.one_hot(labels, 10) - 0.1
(x_test, x_train), (y_test, y_train) = jnp.split(x, [N_TEST]), jnp.split(y, [N_TEST])
test_labels = labels[:N_TEST]
model = CNN(WIDTH)

# %% [markdown]
# ## Lift it
#
# `tracing.lift` follows the program of `model.apply`, and finds which axes are channels: those that random parameters
# brought in. The variance of each parameter is read from the program of `model.init`, without drawing any. In
# `"standard"` parameterization, parameters are trained as they are, which is what Flax does. `describe` prints what was
# understood.


# %%
def init(key):
    return model.init(key, x[:2])


network = tracing.lift(model.apply, init, x[:2], parameterization="standard")
init_fn, apply_fn, kernel_fn = network
print(network.describe())

# %% [markdown]
# The kernel is the limit of what finite networks have. Here is the distance of NTKs of finite networks
# of growing width to it, and the NNGP kernel of digits. The NTK grows with width, so distances are relative.

# %%
widths = [4, 16, 64]
ratios = []
for width in widths:
    finite = CNN(width)
    exact = tracing.lift(finite.apply, lambda key, m=finite: m.init(key, x[:2]), x[:2], parameterization="standard")
    ntk_fn = jax.jit(nt.empirical_ntk_fn(finite.apply, vmap_axes=0))
    draws = [ntk_fn(x[:4], None, finite.init(key, x[:2])) for key in jax.random.split(jax.random.key(1), 4)]
    limit = exact[2](x[:4], None, "ntk")
    ratios.append([float(jnp.linalg.norm(draw - limit) / jnp.linalg.norm(limit)) for draw in draws])

fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2))
left.loglog(widths, ratios, "C0o", markersize=4)
left.loglog(widths, np.mean(ratios) * np.sqrt(np.median(widths) / np.array(widths)), "k--", label=r"$1/\sqrt{width}$")
left.set(title="NTK of one finite network", xlabel="width", ylabel="distance to the limit, relative")
left.set_xticks(widths, widths)
left.minorticks_off()
left.legend()
by_digit = np.argsort(test_labels[:100], kind="stable")
nngp = kernel_fn(x_test[:100][by_digit], None, "nngp")
image = right.imshow(nngp, cmap="viridis")
right.set(title="NNGP kernel of 100 digits, in order", xlabel="image", ylabel="image")
right.grid(False)
fig.colorbar(image, ax=right)
plt.show()
assert np.mean(ratios[-1]) < np.mean(ratios[0])

# %% [markdown]
# **What to see.** Left: one finite network differs from the limit at random, and less on average the wider it is.
# Right: blocks along the diagonal are images of the same digit. The kernel has them without training.
#
# ## Predict digits
#
# The lifted network goes wherever a network of `stax` goes, here into predictions: Bayesian (NNGP), and trained by
# gradient descent for ever (NTK).

# %%
kernel = jax.jit(kernel_fn, static_argnames="get")(jnp.concatenate([x_train, x_test]), x_train, ("nngp", "ntk"))
train_train, test_train = (
    jax.tree.map(lambda k: k[: len(x_train)], kernel),
    jax.tree.map(lambda k: k[len(x_train) :], kernel),
)

accuracy = {"nngp": [], "ntk": []}
for size in TRAIN_SIZES:
    few = jax.tree.map(lambda k, size=size: k[:size, :size], train_train)
    predict_fn = nt.predict.gp_inference(few, y_train[:size], diag_reg=1e-4)
    outputs = predict_fn(("nngp", "ntk"), jax.tree.map(lambda k, size=size: k[:, :size], test_train))
    for name in accuracy:
        accuracy[name].append(float(np.mean(getattr(outputs, name).argmax(1) == test_labels)))
for size, nngp_accuracy, ntk_accuracy in zip(TRAIN_SIZES, accuracy["nngp"], accuracy["ntk"], strict=True):
    print(f"{size:4} images: {nngp_accuracy:.1%} right (NNGP), {ntk_accuracy:.1%} (NTK)")
assert max(accuracy["ntk"]) > 0.5

# %% [markdown]
# ## Train the finite network
#
# The same function is trained in the ordinary way, by gradient descent on the mean squared error. What the infinite
# network does at each step is known beforehand: for a mean over networks, and for their spread.

# %%
x_few, y_few = x_train[:N_TRAINED], y_train[:N_TRAINED]
ntk = kernel_fn(x_few, None, "ntk")
learning_rate = 0.5 * float(nt.predict.max_learning_rate(ntk, y_few.size))
predict_fn = nt.predict.gradient_descent_mse_ensemble(kernel_fn, x_few, y_few, learning_rate)
times = np.unique(np.geomspace(1, STEPS, 12).astype(int))


def loss(params):
    return 0.5 * jnp.mean((apply_fn(params, x_few) - y_few) ** 2)


@jax.jit
def train(params):
    def step(_, params):
        return jax.tree.map(lambda p, g: p - learning_rate * g, params, jax.grad(loss)(params))

    def until_next(params, n_steps):
        params = jax.lax.fori_loop(0, n_steps, step, params)
        return params, apply_fn(params, x_test)

    return jax.lax.scan(until_next, params, jnp.diff(times, prepend=0))[1]


members = np.stack([train(init_fn(key, x.shape)[1]) for key in jax.random.split(jax.random.key(2), MEMBERS)])
predicted = predict_fn(t=times.astype(float), x_test=x_test, get="ntk", compute_cov=True)
means, spreads = predicted.mean, np.sqrt(np.mean(predicted.stddev**2, axis=(1, 2)))

# %%
fig, axes = plt.subplots(1, 3, figsize=(11, 3.2))


def error(outputs):
    return 0.5 * np.mean((outputs - np.asarray(y_test)) ** 2, axis=(-2, -1))


def right_answers(outputs):
    return 100 * np.mean(outputs.argmax(-1) == test_labels, axis=-1)


ensemble = members.mean(0)
for ax, measure in zip(axes, (error, right_answers), strict=False):
    ax.semilogx(times, measure(members).T, color="C0", alpha=0.25, linewidth=0.8)
    ax.semilogx(times, measure(ensemble), "C0o", markersize=4, label=f"mean of {MEMBERS} networks")
    ax.semilogx(times, measure(means), "C3-", label="infinite, predicted")
    ax.legend()
axes[0].set(title="error on test images", xlabel="steps", ylabel=r"$\frac{1}{2}$ mean squared error")
axes[1].set(title="test accuracy", xlabel="steps", ylabel="right, %")
axes[2].semilogx(
    times, np.sqrt(np.mean(np.var(members, axis=0, ddof=1), axis=(1, 2))), "C0o", markersize=4, label="trained"
)
axes[2].semilogx(times, spreads, "C3-", label="predicted")
axes[2].set(title="spread over networks", xlabel="steps", ylabel="standard deviation of outputs", ylim=(0, None))
axes[2].legend()
plt.show()

distance = float(np.linalg.norm(ensemble[-1] - means[-1]) / np.linalg.norm(ensemble[-1]))
print(f"difference of the mean outputs after {STEPS} steps: {distance:.0%}")
assert distance < 0.5

# %% [markdown]
# **What to see.** Dots are the mean over finite networks, lines are computed from the kernel without training anything.
# Errors agree from the first step to the last, and so does the number of digits that are right in the end, although
# these networks have few channels. Their spread falls as predicted at first, and stays larger in the end. Thin lines
# are single networks: the mean over networks predicts better than each of them.
#
# The kernel is that of this model as it stands: change a stride, a nonlinearity or an initialiser in the Flax module,
# and lift it again.
