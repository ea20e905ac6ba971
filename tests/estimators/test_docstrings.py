"""Docstrings of estimators name every argument and every attribute."""

import inspect
import re

import numpy as np
import pytest

from neural_tangents import estimators

RNG = np.random.RandomState(0)


@pytest.mark.parametrize("name", estimators.__all__)
def test_arguments_and_attributes(name):
    estimator = getattr(estimators, name)
    text = inspect.getdoc(estimator)
    arguments, attributes = (
        set(re.findall(r"^  (\w+): ", part, flags=re.MULTILINE))
        for part in text.partition("Args:")[2].split("Attributes:")
    )
    assert arguments == set(inspect.signature(estimator).parameters)
    fitted = estimator(alpha=1.0).fit(RNG.normal(size=(6, 2)), [0, 1] * 3)
    public = {key for key in vars(fitted) if key.endswith("_") and not key.startswith("_")}
    assert attributes == public | {"feature_names_in_"}  # of data frames only
    assert "{" not in text.replace('{"W_std": 1.5}', "")


def test_kernels_have_their_names():
    assert "Θ_dd" in estimators.NTKRegressor.__doc__ and "Θ" not in estimators.NNGPClassifier.__doc__
