"""Regression and classification by infinite networks, with the conventions of scikit-learn, which has to be installed.

    NTKRegressor, NTKClassifier     ensembles of networks trained by gradient descent
    NNGPRegressor, NNGPClassifier   Bayesian networks, which are Gaussian processes

All of them take `network`, a network of `stax` or any kernel function, and choose their ridge by leaving one out. They
work in pipelines, in `GridSearchCV` and on data frames of pandas. docs/estimators.md shows how.
"""

from neural_tangents.estimators._classifiers import NNGPClassifier, NTKClassifier
from neural_tangents.estimators._regressors import NNGPRegressor, NTKRegressor

__all__ = ["NNGPClassifier", "NNGPRegressor", "NTKClassifier", "NTKRegressor"]
