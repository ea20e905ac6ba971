"""Names that a module does not have: what to use in their place."""

import re

import pytest

import neural_tangents as nt
from neural_tangents import predict, stax


@pytest.mark.parametrize(
    ("module", "name", "words"),
    [
        (stax, "Softmax", ["no attribute 'Softmax'", "stax.GlobalSelfAttention"]),
        (stax, "MaxPool", ["no infinite-width limit", "stax.AvgPool"]),
        (stax, "BatchNorm", ["no infinite-width limit", "stax.LayerNorm"]),
        (stax, "Dens", ["Did you mean 'Dense'?"]),
        (stax, "relu", ["Did you mean 'Relu'?"]),
        (predict, "gradient_descent_mse_gp", ["predict.gradient_descent_mse_ensemble"]),
        (predict, "gp_inferance", ["Did you mean 'gp_inference'?"]),
        (nt, "empirical_implicit_ntk_fn", ["empirical_ntk_fn", "NTK_VECTOR_PRODUCTS"]),
        (nt, "linearise", ["Did you mean 'linearize'?"]),
    ],
)
def test_advice(module, name, words):
    with pytest.raises(AttributeError) as caught:
        getattr(module, name)
    assert caught.value.name == name
    assert [word for word in words if word not in str(caught.value)] == []


@pytest.mark.parametrize("module", [nt, stax, predict])
def test_other_names_are_missing_without_advice(module):
    for name in ("zzz", "_private", "__wrapped__"):
        assert not hasattr(module, name)
        with pytest.raises(AttributeError, match=rf"has no attribute '{name}'$"):
            getattr(module, name)


def test_advice_names_what_exists():
    for name in ("Softmax", "MaxPool", "BatchNorm", "Linear", "Conv2d", "Residual", "Attention"):
        with pytest.raises(AttributeError) as caught:
            getattr(stax, name)
        assert not hasattr(stax, name)
        suggested = re.findall(r"stax\.(\w+)", str(caught.value).split(". ", 1)[1])
        assert suggested and all(hasattr(stax, other) for other in suggested)
