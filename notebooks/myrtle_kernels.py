# %% [markdown]
# # Myrtle kernels and performance
#
# Convolutional networks have kernels too. Shankar et al. (2020) found simple ones that are among the best kernels for
# images: a few convolutions of 3 × 3 pixels with ReLU, and average pooling in between. This notebook builds them,
# compares them with other kernels on digits, and measures what they cost.

# %%
try:
    import neural_tangents as nt
except ImportError:  # on Colab
    # %pip install -q "neural-tangents-jax[notebooks,store]"
    import neural_tangents as nt

# %%
import time

import jax
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits, load_sample_images

from neural_tangents import stax

plt.rcParams.update({"figure.dpi": 90, "figure.constrained_layout.use": True, "axes.grid": True, "grid.alpha": 0.3})

# %% tags=["parameters"]
TRAIN_SIZES = [10, 20, 40, 80]  # images
N_TEST = 80
SIDES = [8, 16, 32]  # pixels, of images that are timed
COUNTS = [2, 4, 8]  # how many are timed

# %% [markdown]
# ## The network
#
# Channels do not matter for the kernel. `depth` is 5, 7 or 10, the numbers of convolutions before each pool.

# %%


def myrtle(depth, last_pools):
    """Returns the kernel function; with three last pools for 32 × 32 pixels, and one for 8 × 8."""
    conv = stax.serial(stax.Conv(1, (3, 3), W_std=2**0.5, padding="SAME"), stax.Relu())
    pool = stax.AvgPool((2, 2), strides=(2, 2))
    before_pools = {5: (2, 1, 1), 7: (2, 2, 2), 10: (3, 3, 3)}[depth]
    layers = []
    for n_convs, n_pools in zip(before_pools, (1, 1, last_pools), strict=True):
        layers += [conv] * n_convs + [pool] * n_pools
    _, _, kernel_fn = stax.serial(*layers, stax.Flatten(), stax.Dense(1, W_std=2**0.5))
    return kernel_fn


def convolutional(readout):
    conv = [stax.Conv(1, (3, 3), W_std=2**0.5, padding="SAME"), stax.Relu()]
    return stax.serial(*conv * 4, readout, stax.Dense(1, W_std=2**0.5))[2]


def fully_connected():
    dense = [stax.Dense(1, W_std=2**0.5), stax.Relu()]
    return stax.serial(stax.Flatten(), *dense * 4, stax.Dense(1, W_std=2**0.5))[2]


networks = {
    "fully-connected": fully_connected(),
    "convolutional, Flatten": convolutional(stax.Flatten()),
    "convolutional, GlobalAvgPool": convolutional(stax.GlobalAvgPool()),
    "Myrtle-5": myrtle(5, 1),
    "Myrtle-10": myrtle(10, 1),
}

# %% [markdown]
# ## Digits
#
# We classify the 8 × 8 digits of scikit-learn from few examples, by the posterior mean of the Gaussian process with
# the NNGP kernel.

# %%
digits = load_digits()
n_train = TRAIN_SIZES[-1]
order = np.random.default_rng(0).permutation(len(digits.images))[: n_train + N_TEST]
images = (digits.images[order][..., None] / 16).astype(np.float32)
y = np.eye(10, dtype=np.float32)[digits.target[order]] - 0.1

accuracies = {}
for name, kernel_fn in networks.items():
    kernel = np.asarray(kernel_fn(images, images[:n_train], "nngp"))
    accuracies[name] = []
    for n in TRAIN_SIZES:
        predict_fn = nt.predict.gp_inference(kernel[:n, :n], y[:n], diag_reg=1e-4)
        mean = predict_fn("nngp", kernel[n_train:, :n])
        accuracies[name].append(100 * np.mean(mean.argmax(axis=1) == y[n_train:].argmax(axis=1)))

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), width_ratios=[1, 2])
padded = np.pad(images[:16, ..., 0], ((0, 0), (1, 1), (1, 1)))
grid = padded.reshape(4, 4, 10, 10).transpose(0, 2, 1, 3).reshape(40, 40)
left.imshow(grid, cmap="gray_r")
left.set(title="sixteen of the images", xticks=[], yticks=[])
left.grid(False)
for (name, values), marker in zip(accuracies.items(), "osD^v", strict=True):
    right.semilogx(TRAIN_SIZES, values, marker + "-", label=name)
right.set(
    title="accuracy on new digits",
    xlabel="training images",
    ylabel="right, %",
    xticks=TRAIN_SIZES,
    xticklabels=TRAIN_SIZES,
)
right.minorticks_off()
right.legend(loc="lower right")
plt.show()

for name in networks:
    print(f"{name:30} {accuracies[name][-1]:5.1f} % with {n_train} images")
assert np.mean(accuracies["Myrtle-5"]) > np.mean(accuracies["fully-connected"])

# %% [markdown]
# **What to see.** With few images, kernels that know about images do better: pooling makes them insensitive to small
# shifts. With `Flatten` a convolutional network compares pixels at equal positions only, as a fully-connected one
# does, and gains little.
#
# ## How a kernel with pooling is computed
#
# Pooling adds up covariances between *all pairs* of positions, so the kernel of two images with $n \times n$ pixels
# has $n^4$ entries in each layer. They never exist all at once: `stax.explain` tells which layers are evaluated in
# parts, and how much memory a part takes.

# %%
shape = (8, 32, 32, 3)
print(stax.explain(myrtle(10, 3), shape, get="ntk"))

# %% [markdown]
# ## How time grows
#
# Photographs of scikit-learn, scaled to different sizes and cut into patches, are the input of the Myrtle-5 kernel.
# We time kernels of the same numbers of patches with different sides, and of different numbers of patches with the
# same side.

# %%
photograph = load_sample_images().images[1][:416, :640] / 255


def patches(n, side):
    """Returns `n` patches of the photograph, `(n, side, side, 3)`."""
    rows = [photograph[i : i + side, j : j + side] for i in range(0, 385, 32) for j in range(0, 609, 32)]
    return np.asarray(rows[:n], np.float32)


def timed(n, side):
    """Returns the milliseconds that each entry takes, for two different batches, after the kernel was compiled."""
    kernel_fn = jax.jit(myrtle(5, int(np.log2(side)) - 2), static_argnames="get")
    x1, x2 = patches(2 * n, side)[:n], patches(2 * n, side)[n:]
    jax.block_until_ready(kernel_fn(x1, x2, "ntk"))
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        jax.block_until_ready(kernel_fn(x1, x2, "ntk"))
        seconds.append(time.perf_counter() - start)
    return 1000 * min(seconds) / n**2


by_side = [timed(COUNTS[0], side) for side in SIDES]
by_count = [timed(n, SIDES[1]) for n in COUNTS]

fig, (first, second, third) = plt.subplots(1, 3, figsize=(10, 3.1), width_ratios=[1.3, 1, 1])
first.imshow(photograph)
for i in range(0, 385, 32):
    first.axhline(i, color="w", linewidth=0.4)
for j in range(0, 609, 32):
    first.axvline(j, color="w", linewidth=0.4)
first.set(title="patches of 32 × 32 pixels", xticks=[], yticks=[], xlim=(0, 639), ylim=(415, 0))
first.grid(False)
second.loglog(SIDES, by_side, "o-")
second.loglog(SIDES, by_side[-1] * (np.array(SIDES) / SIDES[-1]) ** 4.0, "k:", label="slope 4")
second.set(title="one entry of the NTK", xlabel="side, pixels", ylabel="milliseconds", xticks=SIDES, xticklabels=SIDES)
second.legend()
third.semilogx(COUNTS, by_count, "o-")
third.set(
    title=f"side of {SIDES[1]} pixels",
    xlabel="inputs in each batch",
    ylabel="milliseconds per entry",
    xticks=COUNTS,
    xticklabels=COUNTS,
)
third.set_ylim(0, 1.3 * max(by_count))
for ax in (second, third):
    ax.minorticks_off()
plt.show()

# %% [markdown]
# **What to see.** Middle: for large images, time grows with the fourth power of the side, as the number of pairs of
# positions does; small ones are bounded by what each call costs. Right: time per entry does not fall with the number
# of inputs, beyond what varies from run to run. So a large kernel can be cut into small tiles at no loss, and
# computed by many devices: see [big kernels](big_kernels.ipynb).
