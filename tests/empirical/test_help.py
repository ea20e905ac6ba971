"""What `help` shows: of the public functions of `empirical`, and of the functions that these return."""

import doctest
import inspect

import jax
import pytest
from finite_networks import MLP_PARAMS, X1, X2, mlp

from neural_tangents import empirical, stax

PUBLIC = {name: getattr(empirical, name) for name in empirical.__all__}
RETURNED = {
    "ntk_fn": empirical.empirical_ntk_fn(mlp),
    "nngp_fn": empirical.empirical_nngp_fn(mlp),
    "kernel_fn": empirical.empirical_kernel_fn(mlp),
    "kernel_fn of draws": empirical.monte_carlo_kernel_fn(*stax.Dense(3)[:2], jax.random.key(0), 1),
    "operator_fn": empirical.empirical_ntk_operator_fn(mlp),
    "ntk_vp_fn": empirical.empirical_ntk_vp_fn(mlp, X1, X2, MLP_PARAMS),
    "expanded_fn": empirical.taylor_expand(mlp, MLP_PARAMS, 2),
    "expanded_fn of linearize": empirical.linearize(mlp, MLP_PARAMS),
}
FUNCTIONS = {**{name: fn for name, fn in PUBLIC.items() if inspect.isfunction(fn)}, **RETURNED}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_documented(name):
    """A sentence, an equation, each argument by its name, what is returned, and errors."""
    fn = FUNCTIONS[name]
    assert fn.__name__ == name.split()[0]
    text = inspect.getdoc(fn)
    sections = {line.strip() for line in text.splitlines()}
    assert text.splitlines()[0].endswith(".") and {"Args:", "Returns:", "Raises:"} <= sections
    equation = [
        line for line in text.partition("Args:")[0].splitlines() if "`" in line and ("=" in line or "sum" in line)
    ]
    assert equation
    arguments = text.partition("Args:")[2].partition("Returns:")[0]
    for parameter in inspect.signature(fn).parameters.values():
        stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        assert f"\n  {stars}{parameter.name}: " in arguments, parameter
        assert parameter.annotation is not inspect.Parameter.empty


@pytest.mark.parametrize("name", [name for name, fn in PUBLIC.items() if inspect.isfunction(fn)])
def test_public_functions_name_a_source(name):
    assert "Source: " in inspect.getdoc(PUBLIC[name])


@pytest.mark.parametrize("name", RETURNED)
def test_signatures_show_no_addresses(name):
    assert "object at 0x" not in str(inspect.signature(RETURNED[name]))


def test_arguments_that_have_to_be_given_say_so():
    assert "get: None | str | tuple[str, ...] | list[str] = <required>" in str(inspect.signature(RETURNED["kernel_fn"]))


def test_the_package_is_a_table_of_contents():
    for name in empirical.__all__:
        assert f"`{name}`" in empirical.__doc__


@pytest.mark.parametrize("name", ["empirical_ntk_fn", "linearize"])
def test_examples_run(name):
    (example,) = doctest.DocTestFinder(recurse=False).find(PUBLIC[name], name, globs={})
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    result = doctest.DocTestRunner(optionflags=options).run(example)
    assert result.attempted >= 4 and result.failed == 0
