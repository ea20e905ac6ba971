"""What to say of names that `_src` does not have."""

from collections.abc import Callable, Mapping
from typing import Any

from neural_tangents._core.missing_names import advising


def _only_known(path: str, public: str, advice: Mapping[str, str] | None = None) -> Callable[[str], Any]:
    module = f"neural_tangents._src{path}"
    otherwise = f"`_src` has only what programs are known to import. Use public names, of {public}."
    return advising(module, advice or {}, otherwise)


_LAYERS = "`neural_tangents.stax`"
_LAYER = "`neural_tangents.stax.layer` does this for the functions of a layer: decorate the factory with it."
_POOL = "Use the kernels of `neural_tangents.stax.AvgPool` and `SumPool`: `stax.AvgPool(window_shape)[2](kernel)`."
_CONV = "Use the kernel of a convolution: `stax.Conv(1, filter_shape, strides, padding)[2](kernel)`."

of_src = _only_known("", "`neural_tangents`, `neural_tangents.stax` and `neural_tangents.predict`")
of_stax = _only_known(".stax", _LAYERS)
of_branching = _only_known(".stax.branching", _LAYERS)
of_combinators = _only_known(".stax.combinators", _LAYERS)
of_elementwise = _only_known(".stax.elementwise", _LAYERS)
of_linear = _only_known(
    ".stax.linear",
    _LAYERS,
    {
        "_pool_kernel": _POOL,
        "_pool_mask": _POOL,
        "_conv_kernel_diagonal_spatial": _CONV,
        "_conv_kernel_full_spatial_unshared": _CONV.replace("Conv(", "ConvLocal("),
        "_conv_kernel_full_spatial_transpose": _CONV.replace("Conv(", "ConvTranspose("),
    },
)
of_requirements = _only_known(
    ".stax.requirements",
    _LAYERS,
    dict.fromkeys(["_inputs_to_kernel", "_preprocess_kernel_fn", "_propagate_shape", "_set_shapes"], _LAYER),
)
of_utils = _only_known(
    ".utils",
    "`neural_tangents`",
    {"rules": "Rules for derivatives are private; `nt.empirical_ntk_fn` finds those that it needs by itself."},
)
of_dataclasses = _only_known(".utils.dataclasses", "`dataclasses` and `jax.tree_util.register_dataclass`")
of_kernel = _only_known(".utils.kernel", "`neural_tangents`")
of_typing = _only_known(".utils.typing", "`neural_tangents.typing` and `typing`")
of_helpers = _only_known(".utils.utils", "`jax`, `numpy` and the standard library")
of_batching = _only_known(".batching", "`neural_tangents.batching`")
of_empirical = _only_known(".empirical", "`neural_tangents.empirical`")
of_monte_carlo = _only_known(".monte_carlo", "`neural_tangents`")
of_predict = _only_known(".predict", "`neural_tangents.predict`")
