"""Names that a module does not have, but could be expected to have: errors that say what to use instead.

Packages that few programs use are not imported with the library, but when they are first asked for.
"""

import difflib
import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


class _Advice(dict[str, str]):
    """What to use instead, by missing name.

    Attributes:
      otherwise: what to say of all other names; empty for nothing.
    """

    otherwise = ""

    def __missing__(self, name: str) -> str:
        return "" if name.startswith("__") else self.otherwise


_advice: dict[str, _Advice] = {}  # by module


class _OldImports:
    """Finds no module: where a name of a former release is imported, it raises an error that says what to use instead.

    `from neural_tangents import utils` would otherwise end in Python's own message, whatever `__getattr__` says.
    """

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> None:
        module, _, attribute = name.rpartition(".")
        if module in _advice and _advice[module][attribute]:
            raise ImportError(f"There is no {name!r}. {_advice[module][attribute]}", name=name)


sys.meta_path.append(_OldImports)  # type: ignore[arg-type]


def advising(
    module: str, advice: Mapping[str, str], otherwise: str = "", packages: tuple[str, ...] = ()
) -> Callable[[str], Any]:
    """The function `__getattr__` of a module: it is called for missing names, and raises an error with advice.

    Args:
      module: name of the module. If one of its public names is spelt almost like the missing one, it is suggested.
      advice: what to use instead, by missing name. Imports of these names raise an `ImportError` with it.
      otherwise: what to say of all other names in place of such a suggestion.
      packages: packages in this one that are imported when they are first asked for.
    """
    known = _advice[module] = _Advice(advice)
    known.otherwise = otherwise

    def __getattr__(name: str) -> Any:
        if name in packages:
            return importlib.import_module(f"{module}.{name}")
        if name == "__path__" and otherwise:
            return []  # as of a package: only of these, Python looks for missing names before it raises its own error
        text = f"module {module!r} has no attribute {name!r}"
        if known[name]:
            text += f". {known[name]}"
        elif not name.startswith("_"):
            public = sys.modules[module].__all__
            same = [other for other in public if other.lower() == name.lower()]
            close = same or difflib.get_close_matches(name, public, 1, cutoff=0.75)
            text += f". Did you mean {close[0]!r}?" if close else ""
        raise AttributeError(text, name=name)

    return __getattr__


_NO_LIMIT = "It has no infinite-width limit in closed form"
_MSE_ENSEMBLE = "Use `predict.gradient_descent_mse_ensemble(kernel_fn, x_train, y_train)(x_test=x_test)`"
_MOMENTUM = "Use `predict.gradient_descent(loss, k_train_train, y_train, learning_rate, momentum)`."
_IMPLEMENTATION = "Use `empirical_ntk_fn(f, implementation=NtkImplementation.{})`."

of_package = advising(
    "neural_tangents",
    {
        "utils": "`utils.kernel.Kernel` is `neural_tangents.Kernel` now, `utils.batch` is `neural_tangents.batch`, "
        "`utils.monte_carlo` is `neural_tangents.monte_carlo_kernel_fn`, and `utils.empirical` is "
        "`neural_tangents.empirical`.",
        "api": "All public names are in `neural_tangents`, `neural_tangents.stax` and `neural_tangents.predict`.",
        "tangents": "Use `neural_tangents.linearize` and `neural_tangents.taylor_expand`.",
        "layers": "Use `neural_tangents.stax`.",
        "monte_carlo": "Use `neural_tangents.monte_carlo_kernel_fn`.",
        "get_ker_fun_monte_carlo": "Use `neural_tangents.monte_carlo_kernel_fn(init_fn, apply_fn, key, n_samples)`.",
        "get_ker_fun_empirical": "Use `neural_tangents.empirical_kernel_fn(f)`.",
        "get_ntk_fun_empirical": "Use `neural_tangents.empirical_ntk_fn(f)`.",
        "get_nngp_fun_empirical": "Use `neural_tangents.empirical_nngp_fn(f)`.",
        "empirical_implicit_ntk_fn": _IMPLEMENTATION.format("NTK_VECTOR_PRODUCTS"),
        "empirical_direct_ntk_fn": _IMPLEMENTATION.format("JACOBIAN_CONTRACTION"),
        "empirical_ntk_fn_tf": "Use `neural_tangents.experimental.empirical_ntk_fn_tf`.",
    },
    packages=("estimators", "experimental", "tracing", "_src"),
)

of_predict = advising(
    "neural_tangents.predict",
    {
        "gradient_descent_mse_gp": f"{_MSE_ENSEMBLE}.",
        "gp_inference_mat": "Use `predict.gp_inference(k_train_train, y_train)`.",
        "gradient_descent_mse_ensemble_fn": f"{_MSE_ENSEMBLE}.",
        "momentum": _MOMENTUM,
        "momentum_predictor": _MOMENTUM,
        "gradient_descent_predictor": "Use `predict.gradient_descent(loss, k_train_train, y_train)`.",
        "analytic_mse_predictor": "Use `predict.gradient_descent_mse(k_train_train, y_train)`.",
    },
)

of_stax = advising(
    "neural_tangents.stax",
    {
        "Softmax": f"{_NO_LIMIT}. Attention has its own: `stax.GlobalSelfAttention`.",
        "LogSoftmax": f"{_NO_LIMIT}. Leave it out, and put it into the loss of `predict.gradient_descent`.",
        "MaxPool": f"{_NO_LIMIT}. Use `stax.AvgPool` or `stax.SumPool`.",
        "BatchNorm": f"{_NO_LIMIT}, as outputs for different inputs depend on each other. Use `stax.LayerNorm`.",
        "Linear": "Use `stax.Dense`.",
        "Conv1d": "Use `stax.Conv(out_chan, (size,))`, for any number of spatial axes.",
        "Conv2d": "Use `stax.Conv(out_chan, (height, width))`, for any number of spatial axes.",
        "GeneralConv": "Use `stax.Conv`, which takes `dimension_numbers`.",
        "Residual": "Use `stax.FanOut(2)`, `stax.parallel(layer, stax.Identity())` and `stax.FanInSum()`.",
        "Attention": "Use `stax.GlobalSelfAttention`.",
        "Embedding": "Use `stax.Dense` on one-hot vectors.",
    },
)
