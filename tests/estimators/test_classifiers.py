"""Classifiers: regression on one-hot targets, probabilities of being the largest, weights of classes."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.metrics import log_loss
from sweeps import mostly_slow

from neural_tangents.estimators import NNGPClassifier, NNGPRegressor, NTKClassifier, NTKRegressor
from neural_tangents.estimators._probabilities import probabilities_of_largest

RNG = np.random.RandomState(0)
X, X_TEST = RNG.normal(size=(30, 2)), RNG.normal(size=(8, 2))
Y = np.array(["a", "b", "c"])[np.digitize(X[:, 0], [-0.5, 0.5])]
PAIRS = [(NTKClassifier, NTKRegressor), (NNGPClassifier, NNGPRegressor)]


@pytest.mark.parametrize(("classifier", "regressor"), PAIRS)
def test_regression_on_one_hot_targets(classifier, regressor):
    fitted = classifier().fit(X, Y)
    targets = np.eye(3)[np.unique(Y, return_inverse=True)[1]]
    share = targets.mean(0)
    same = regressor(normalize_y=False).fit(X, targets - share)
    mean, std = same.predict(X_TEST, return_std=True)
    labels, spread = fitted.predict(X_TEST, return_std=True)
    np.testing.assert_array_equal(labels, np.array(["a", "b", "c"])[np.argmax(mean + share, axis=1)])
    np.testing.assert_allclose(spread, std[:, 0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(fitted.predict(X_TEST, return_cov=True)[1].diagonal(), spread**2, rtol=1e-4, atol=1e-6)
    sigma = np.sqrt(std[:, 0] ** 2 + same.noise_variance_[0])
    expected = probabilities_of_largest(mean + share, sigma)
    np.testing.assert_allclose(fitted.predict_proba(X_TEST), expected, atol=1e-5)


def test_draws_have_the_probabilities_of_classes():
    fitted, n = NTKClassifier().fit(X, Y), 20_000
    draws, p = fitted.sample_y(X_TEST, n, random_state=3), fitted.predict_proba(X_TEST)
    assert draws.shape == (8, n)
    for c, label in enumerate(fitted.classes_):
        assert np.all(
            np.abs(np.mean(draws == label, axis=1) - p[:, c]) < 4.5 * np.sqrt(p[:, c] * (1 - p[:, c]) / n) + 1e-9
        )


def test_probabilities_of_noisy_labels():
    """Where 30 % of labels are flipped, probabilities are near 70 %."""
    rng = np.random.RandomState(0)
    x = rng.uniform(-1, 1, size=(250, 1))
    y = (x[:, 0] > 0) ^ (rng.uniform(size=250) < 0.3)
    p = NNGPClassifier().fit(x, y).predict_proba(np.array([[-0.6], [0.6]]))
    np.testing.assert_allclose([p[0, 0], p[1, 1]], 0.7, atol=0.1)


def test_weights_of_classes_are_weights_of_points():
    y = (X[:, 0] > 1).astype(int)
    balanced = NTKClassifier(class_weight="balanced", alpha=0.1).fit(X, y)
    weights = {c: len(y) / (2 * np.sum(y == c)) for c in (0, 1)}
    given = NTKClassifier(class_weight=weights, alpha=0.1).fit(X, y)
    sampled = NTKClassifier(alpha=0.1).fit(X, y, [weights[c] for c in y])
    p = balanced.predict_proba(X_TEST)
    np.testing.assert_allclose(given.predict_proba(X_TEST), p, rtol=1e-6)
    np.testing.assert_allclose(sampled.predict_proba(X_TEST), p, rtol=1e-6)
    plain = NTKClassifier(alpha=0.1).fit(X, y).predict_proba(X_TEST)
    assert np.mean(p[:, 1]) > np.mean(plain[:, 1])  # the rare class gains
    one = NTKClassifier(class_weight={0: 3.0}, alpha=0.1).fit(X, y)  # 1 for others
    both = NTKClassifier(class_weight={0: 3.0, 1: 1.0}, alpha=0.1).fit(X, y)
    np.testing.assert_array_equal(one.predict_proba(X_TEST), both.predict_proba(X_TEST))


def test_balanced_counts_weights():
    weights = np.where(Y == "a", 5.0, 1.0)
    one = NTKClassifier(class_weight="balanced", alpha=0.1).fit(X, Y, weights)
    two = NTKClassifier(class_weight="balanced", alpha=0.1).fit(X, Y)
    np.testing.assert_allclose(one._targets.offset, 1 / 3, rtol=1e-12)
    np.testing.assert_allclose(two._targets.offset, 1 / 3, rtol=1e-12)


@pytest.mark.parametrize("classifier", mostly_slow([NTKClassifier, NNGPClassifier], [NNGPClassifier]))
def test_public_data(classifier):
    x, y = load_digits(return_X_y=True)
    fitted = classifier(standardize=False).fit(x[:250], y[:250])
    assert fitted.score(x[250:500], y[250:500]) > 0.82
    assert log_loss(y[250:500], fitted.predict_proba(x[250:500])) < 0.7


def test_weights_of_classes_that_one_fold_lacks():
    """They may be there if each class has a weight: otherwise a class is misspelt."""
    one, two = (
        NTKClassifier(class_weight={"a": 2.0, "b": 1.0, "c": 1.0, **more}, alpha=0.1) for more in ({}, {"d": 9})
    )
    np.testing.assert_array_equal(one.fit(X, Y).predict_proba(X_TEST), two.fit(X, Y).predict_proba(X_TEST))


@pytest.mark.parametrize(
    ("words", "arguments", "y"),
    [
        ("`class_weight`", {"class_weight": "even"}, Y),
        ("numbers >= 0, got {'a': -1.0}", {"class_weight": {"a": -1.0, "b": 1.0}}, Y),
        ("numbers >= 0, got {'b': nan}", {"class_weight": {"b": np.nan}}, Y),
        ("numbers >= 0, got {'b': '2'}", {"class_weight": {"b": "2"}}, Y),
        (r"of \['A'\], which are none, while \['a', 'c'\] have none", {"class_weight": {"A": 1.0, "b": 2.0}}, Y),
        ("one class", {"class_weight": {"a": 0.0, "b": 0.0}}, Y),
        ("one class", {}, ["a"] * 30),
        ("continuous", {}, X[:, 0]),
    ],
)
def test_errors(words, arguments, y):
    with pytest.raises(ValueError, match=words):
        NTKClassifier(**arguments).fit(X, y)
