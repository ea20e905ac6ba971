"""All that is imported from scikit-learn, and what pickles networks."""

try:
    import cloudpickle
    from sklearn.base import BaseEstimator, ClassifierMixin, MultiOutputMixin, RegressorMixin
    from sklearn.utils import check_random_state
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_array, check_is_fitted, validate_data
except ImportError as error:
    raise ImportError(
        "`neural_tangents.estimators` needs scikit-learn 1.6 or later, and cloudpickle. Install them: pip install "
        "'neural-tangents-jax[sklearn]'."
    ) from error

__all__ = [
    "BaseEstimator",
    "ClassifierMixin",
    "MultiOutputMixin",
    "RegressorMixin",
    "check_array",
    "check_classification_targets",
    "check_is_fitted",
    "check_random_state",
    "cloudpickle",
    "validate_data",
]
