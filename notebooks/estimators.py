# %% [markdown]
# # Estimators for scikit-learn
#
# Infinitely wide networks as estimators: `fit`, `predict`, `score`, in pipelines and grid searches. There is nothing to
# train for long and hardly anything to tune: the ridge is chosen by leaving one out, from the one eigendecomposition
# that fitting takes.

# %%
try:
    from neural_tangents import stax
except ImportError:  # on Colab
    # %pip install -q "neural-tangents-jax[notebooks,store]"
    from neural_tangents import stax

# %%
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_diabetes, load_digits
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import QuantileTransformer

from neural_tangents.estimators import NNGPRegressor, NTKClassifier, NTKRegressor

plt.rcParams.update({"figure.dpi": 90, "figure.constrained_layout.use": True, "axes.grid": True, "grid.alpha": 0.3})

# %% tags=["parameters"]
N_CURVE = 25
DEPTHS = [1, 2, 4]
N_DIGITS = 100
N_FEATURES = 20
N_LEARNED = 400

# %% [markdown]
# ## Regression, with error bars
#
# Points of a noisy curve. `return_std=True` adds the spread of the networks of the ensemble; the noise that was
# estimated is in `noise_variance_`.

# %%
random = np.random.default_rng(0)
x = np.sort(random.uniform(-3, 3, N_CURVE))[:, None]
y = np.sin(2 * x[:, 0]) + 0.2 * random.normal(size=N_CURVE)
grid = np.linspace(-4, 4, 201)[:, None]


def erf_network(W_std, b_std):
    layers = [stax.Dense(512, W_std, b_std), stax.Erf()]
    return stax.serial(*layers, *layers, stax.Dense(1, W_std, b_std))


fig, axes = plt.subplots(1, 2, figsize=(10, 3.6), sharey=True)
models = {
    "NTK of the default network, ridge by leaving one out": NTKRegressor(),
    "NNGP, all by marginal likelihood": NNGPRegressor(
        erf_network, hyperparameters={"W_std": 1.5, "b_std": 0.5}, alpha="ml"
    ),
}
for ax, (title, model) in zip(axes, models.items(), strict=True):
    mean, std = model.fit(x, y).predict(grid, return_std=True)
    noisy = np.sqrt(std**2 + model.noise_variance_)
    ax.fill_between(grid[:, 0], mean - 2 * noisy, mean + 2 * noisy, alpha=0.15, color="C0", label="with noise")
    ax.fill_between(grid[:, 0], mean - 2 * std, mean + 2 * std, alpha=0.3, color="C0", label="two deviations")
    ax.plot(grid, np.sin(2 * grid), "k--", linewidth=1, label="truth")
    ax.plot(grid, mean, "C0")
    ax.plot(x, y, "k.")
    ax.set(title=title, xlabel="$x$", ylim=(-3, 3))
    print(f"{title}: noise {model.noise_variance_**0.5:.2f}, {model.hyperparameters_ or 'nothing else learned'}")
axes[0].legend(fontsize=8)
plt.show()

# %% [markdown]
# **What to see.** Both follow the curve where there are points, and grow uncertain beyond them, though at $x = -4$ not
# enough: the truth is outside. The true noise has a deviation of 0.2. Right: weights and biases were learned too, from
# the training set alone.
#
# ## In a grid search
#
# A pipeline on a data frame of patients. The network is a parameter like any other.


# %%
def relu_network(depth):
    layers = [stax.Dense(512, 2**0.5, 0.3), stax.Relu()]
    return stax.serial(*layers * depth, stax.Dense(1))


X, y = load_diabetes(return_X_y=True, as_frame=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
search = GridSearchCV(
    make_pipeline(QuantileTransformer(n_quantiles=100), NTKRegressor()),
    {"ntkregressor__network": [relu_network(depth) for depth in DEPTHS]},
    cv=3,
)
search.fit(X_train, y_train)
print(f"best depth: {DEPTHS[search.best_index_]}, ridge α = {search.best_estimator_[-1].alpha_:.2f}")
print(f"R² on the test set: {search.score(X_test, y_test):.3f}")
assert search.score(X_test, y_test) > 0.3

# %% [markdown]
# ## Classification, with probabilities
#
# Handwritten digits. The probability of a class is that its output, drawn from the Gaussian that the ensemble predicts,
# is the largest.

# %%
images, labels = load_digits(return_X_y=True)
order = np.random.default_rng(1).permutation(len(images))
train, test = order[:N_DIGITS], order[N_DIGITS:]
classifier = NTKClassifier().fit(images[train], labels[train])
probabilities = classifier.predict_proba(images[test])
confidence, right = probabilities.max(axis=1), classifier.predict(images[test]) == labels[test]
print(f"accuracy: {right.mean():.3f}")
assert right.mean() > 0.8

eighths = np.array_split(np.argsort(confidence), 8)
fig, (left, middle) = plt.subplots(1, 2, figsize=(10, 3.4), width_ratios=[1, 1.6])
said = [confidence[part].mean() for part in eighths]
left.plot(said, [right[part].mean() for part in eighths], "o-")
left.plot([min(said), 1], [min(said), 1], "k--", linewidth=1)
left.set(xlabel="probability that was given", ylabel="fraction that was right", title="an eighth of the images each")
least = np.argsort(confidence)[:12]
middle.imshow(
    np.hstack([np.vstack(images[test][least[i : i + 2]].reshape(-1, 8, 8)) for i in range(0, 12, 2)]), "gray_r"
)
middle.set(xticks=[], yticks=[], title="the images that it is least sure of")
middle.grid(False)
plt.show()

# %% [markdown]
# **What to see.** Left: the more probable a class is said to be, the more often it is right; below the dashed line, the
# ensemble would be too sure of itself, and above it, it is too modest. Right: these digits are hard to read for us too.
#
# ## Features that matter
#
# A kernel treats all directions of its inputs alike. `feature_learning` lets it find those along which the target
# varies: a recursive feature machine, which replaces $x$ by $M^{1/2} x$, where $M$ is the mean of
# $\nabla f(x_i)\, \nabla f(x_i)^\top$ for the function $f$ that was learned before. Here the target depends on two of
# many features.

# %%
random = np.random.default_rng(2)
X = random.normal(size=(2 * N_LEARNED, N_FEATURES))
y = X[:, 0] * X[:, 1] + 0.1 * random.normal(size=len(X))
train, test = slice(N_LEARNED), slice(N_LEARNED, None)
counts = [0, 1, 2, 4]
learned = [NTKRegressor(feature_learning=n).fit(X[train], y[train]) for n in counts]
scores = [model.score(X[test], y[test]) for model in learned]
matrix = learned[-1].feature_matrix_

fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4))
left.plot(counts, scores, "o-")
left.set(xlabel="iterations", ylabel="$R^2$ on a test set", xticks=counts)
shown = right.imshow(matrix, cmap="magma")
right.set(
    title="$M$", xlabel="feature", ylabel="feature", xticks=range(0, N_FEATURES, 5), yticks=range(0, N_FEATURES, 5)
)
right.grid(False)
fig.colorbar(shown)
plt.show()
assert scores[-1] > scores[0] and set(np.argsort(-np.diagonal(matrix))[:2]) == {0, 1}

# %% [markdown]
# **What to see.** $M$ has found the two features that the target is made of, and the error on a test set falls with it.
# Which iteration is kept is decided by leaving one out on the training set, so it does no harm here to ask for more.
