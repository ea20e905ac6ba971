"""Conventions of scikit-learn, by its own checks too, and what estimators share: weights, units, pickling, errors."""

import pickle
import warnings

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_diabetes, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.utils.estimator_checks import check_estimator
from sweeps import mostly_slow

from neural_tangents import estimators, stax
from neural_tangents.estimators import NNGPRegressor, NTKClassifier, NTKRegressor

RNG = np.random.RandomState(0)
X, Y = RNG.normal(size=(20, 3)), RNG.normal(size=20)


def gaussian_kernel(x1, x2, get):
    """A kernel that compiles fast."""
    x2 = x1 if x2 is None else x2
    return jnp.exp(-jnp.sum((x1[:, None] - x2[None]) ** 2, axis=-1) / 4)


QUICK = [("NNGPClassifier", None), ("NTKRegressor", gaussian_kernel)]


@pytest.mark.parametrize("case", mostly_slow([*[(name, None) for name in estimators.__all__], QUICK[1]], QUICK))
def test_checks_of_scikit_learn(case, monkeypatch):
    """None fails, and none is skipped."""
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")  # without it, one is
    with warnings.catch_warnings():
        warnings.simplefilter("default")  # scikit-learn's own
        found = check_estimator(getattr(estimators, case[0])(case[1]), on_skip=None, on_fail=None)
    assert len(found) > 50
    assert [(check["check_name"], check["status"]) for check in found if check["status"] != "passed"] == []


def cosine_kernel(x1, x2, get):
    """A user's kernel function, which says nothing about itself."""
    x2 = x1 if x2 is None else x2
    return 1 + jnp.cos(jnp.sum(jnp.abs(x1[:, None] - x2[None]), axis=-1) / 10)


def test_pipeline_and_grid_search_on_a_data_frame():
    frame = load_iris(as_frame=True).frame.sample(60, random_state=0)
    frame["colour"] = np.where(frame["petal width (cm)"] > 1, "red", "blue")
    columns = make_column_transformer((OneHotEncoder(sparse_output=False), ["colour"]), remainder="passthrough")
    model = make_pipeline(columns.set_output(transform="pandas"), NTKClassifier())
    shallow = stax.serial(stax.Dense(1, 1.5, 0.1), stax.Erf(), stax.Dense(1))
    grid = {"ntkclassifier__network": [None, shallow, cosine_kernel], "ntkclassifier__alpha": ["loo", 0.1]}
    search = GridSearchCV(model, grid, cv=3).fit(frame.drop(columns="target"), frame["target"])
    assert search.best_score_ > 0.9 and len(search.cv_results_["params"]) == 6
    fitted = search.best_estimator_[-1]
    assert {"onehotencoder__colour_red", "remainder__sepal length (cm)"} < set(fitted.feature_names_in_)
    with pytest.raises(ValueError, match="feature names"):
        fitted.predict(frame.drop(columns="target"))


@pytest.mark.parametrize("name", estimators.__all__)
@pytest.mark.parametrize("network", [None, stax.serial(stax.Dense(1), stax.Erf(), stax.Dense(1)), cosine_kernel])
def test_pickle_and_clone(name, network):
    estimator = getattr(estimators, name)(network, alpha=0.1)
    assert clone(estimator).get_params()["alpha"] == 0.1
    assert type(pickle.loads(pickle.dumps(estimator)).network) is type(network)
    fitted = estimator.fit(X, Y > 0)
    again = pickle.loads(pickle.dumps(fitted))
    for a, b in zip(fitted.predict(X, return_std=True), again.predict(X, return_std=True), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


def test_copies_of_a_network_share_programs(count_compilations):
    network = stax.serial(stax.Dense(1), stax.Sin(), stax.Dense(1))
    NTKRegressor(network).fit(X, Y).predict(X)
    with count_compilations() as count:
        clone(NTKRegressor(network)).fit(X, Y).predict(X)
        assert count() == 0


@pytest.mark.parametrize("name", ["NTKRegressor", "NNGPClassifier"])
def test_weights_are_repetitions(name):
    """Also for spread and likelihood, and whatever the order of rows."""
    rng = np.random.RandomState(0)
    counts = rng.randint(0, 4, len(X))
    y = np.digitize(Y, [-0.5, 0.5]) if name == "NNGPClassifier" else Y
    rows = rng.permutation(np.arange(len(X)).repeat(counts))
    weighted = getattr(estimators, name)().fit(X, y, counts)
    repeated = getattr(estimators, name)().fit(X[rows], y[rows])
    assert weighted.alpha_ == pytest.approx(repeated.alpha_, rel=1e-3)
    for attribute in ("output_scale_", "leave_one_out_error_", "log_marginal_likelihood_value_"):
        assert getattr(weighted, attribute) == pytest.approx(getattr(repeated, attribute), rel=1e-4)
    for a, b in zip(weighted.predict(X, return_std=True), repeated.predict(X, return_std=True), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)


def test_scale_of_weights_does_not_matter_when_the_ridge_is_chosen():
    weights = RNG.uniform(0.5, 2, len(X))
    one, thousand = (NTKRegressor().fit(X, Y, c * weights) for c in (1, 1000))
    assert thousand.alpha_ == pytest.approx(1000 * one.alpha_, rel=1e-2)
    np.testing.assert_allclose(one.predict(X), thousand.predict(X), atol=1e-3)


def test_units_do_not_matter():
    one, two = NTKRegressor().fit(X, Y), NTKRegressor().fit(1e3 * X - 7, 50 + 1e-2 * Y)
    (mean, std), (mean2, std2) = one.predict(X, return_std=True), two.predict(1e3 * X - 7, return_std=True)
    np.testing.assert_allclose(mean2, 50 + 1e-2 * mean, atol=1e-5)
    np.testing.assert_allclose(std2, 1e-2 * std, rtol=1e-2, atol=1e-6)


def test_images():
    """Standardised in each channel, and not padded."""
    images, y = RNG.normal(3, 2, size=(8, 4, 4, 2)), RNG.normal(size=8)
    network = stax.serial(stax.Conv(1, (3, 3)), stax.Relu(), stax.Flatten(), stax.Dense(1))
    fitted = NNGPRegressor(network, alpha=1e-3).fit(images, y)
    standard = (images - images.mean((0, 1, 2))) / images.std((0, 1, 2))
    k = np.asarray(network[2](standard, None, "nngp"), np.float64)
    mean = k @ np.linalg.solve(k + 1e-3 * k.trace() / 8 * np.eye(8), (y - y.mean()))
    np.testing.assert_allclose(fitted.predict(images), y.mean() + mean, rtol=1e-3)
    with pytest.raises(ValueError, match="feature_learning"):
        NNGPRegressor(network, feature_learning=1).fit(images, y)


def test_likelihood_chooses_another_ridge_than_leaving_one_out():
    X, y = load_diabetes(return_X_y=True)
    left_out, likely = (NNGPRegressor(alpha=alpha).fit(X[:60], y[:60]) for alpha in ("loo", "ml"))
    assert left_out.leave_one_out_error_ < likely.leave_one_out_error_
    assert left_out.log_marginal_likelihood_value_ < likely.log_marginal_likelihood_value_


@pytest.mark.parametrize(
    ("x", "y"), [([[1.0, 2.0]], [3.0]), (X, np.full(20, 0.1)), (X, np.full(20, 1e8))], ids=["one", "small", "large"]
)
@pytest.mark.parametrize("choice", ["loo", "ml"])
def test_targets_that_are_all_equal(x, y, choice):
    """They are predicted everywhere, but not with certainty."""
    fitted = NTKRegressor(alpha=choice, output_scale=choice).fit(x, y)
    mean, std = fitted.predict([[5.0, 6.0, 7.0][: len(x[0])]], return_std=True)
    assert mean[0] == y[0] and std[0] > 0.5 and fitted.output_scale_ == 1


def test_ridge_of_zero_interpolates():
    np.testing.assert_allclose(NTKRegressor(alpha=0).fit(X, Y).predict(X), Y, atol=1e-3)


@pytest.mark.slow
def test_many_points_are_predicted_by_few_columns():
    """Also with weights, and as well as by some of the points."""
    rng = np.random.RandomState(0)
    x = rng.uniform(-2, 2, size=(120, 2))
    y, weights = np.sin(2 * x[:, 0]) + x[:, 1] ** 2, rng.uniform(0.5, 2, 120)
    new = rng.uniform(-2, 2, size=(30, 2))
    whole = NTKRegressor(gaussian_kernel, alpha=1e-2).fit(x, y, weights)
    fitted = NTKRegressor(gaussian_kernel, alpha=1e-2, max_exact=100, random_state=0).fit(x, y, weights)
    assert type(fitted._predictor).__name__ == "LowRankPredictor"
    (mean, std), (expected, expected_std) = (e.predict(new, return_std=True) for e in (fitted, whole))
    assert np.sqrt(np.mean((mean - expected) ** 2)) < 0.1 * y.std()
    assert np.all(std > 0.5 * expected_std)
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_allclose(again.predict(new), mean, rtol=1e-4, atol=1e-4)
    assert (
        NTKRegressor(gaussian_kernel, alpha=1e-2, max_exact=100, random_state=0).fit(x, y, weights).alpha_
        == fitted.alpha_
    )


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        ("`alpha`", {"alpha": "best"}),
        ("`alpha`", {"alpha": -1.0}),
        ("`alpha`", {"alpha": np.inf}),
        ("`alpha`", {"alpha": None}),
        ("`output_scale`", {"output_scale": 0.0}),
        ("`output_scale`", {"output_scale": "best"}),
        ("`feature_learning`", {"feature_learning": 1.5}),
        ("`feature_learning`", {"feature_learning": -1}),
        ("`max_exact`", {"max_exact": 0}),
    ],
)
def test_errors_of_arguments(words, arguments):
    with pytest.raises(ValueError, match=words):
        NTKRegressor(**arguments).fit(X, Y)


@pytest.mark.parametrize(
    ("words", "weights"),
    [("of shape", np.ones(3)), (">= 0", -np.ones(20)), ("at least one non-zero", np.zeros(20)), ("NaN", [np.nan] * 20)],
)
def test_errors_of_weights(words, weights):
    with pytest.raises(ValueError, match=words):
        NTKRegressor().fit(X, Y, weights)


def test_errors_of_predictions():
    with pytest.raises(NotFittedError):
        NTKRegressor().sample_y(X)
    fitted = NTKRegressor(alpha=1.0).fit(X, Y)
    with pytest.raises(ValueError, match="at most one"):
        fitted.predict(X, return_std=True, return_cov=True)
    for wrong in (0, -1, 2.5):
        with pytest.raises(ValueError, match=f"`n_samples` to be an integer >= 1, got {wrong}"):
            fitted.sample_y(X, wrong)
