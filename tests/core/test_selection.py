"""`get=`: what it may be, and what is returned."""

import jax
import pytest

from neural_tangents._core.selection import canonical_get, check_names, result_type, select

RESULTS = {"nngp": 1, "ntk": 2, "cov1": None}


def test_canonical_get():
    assert canonical_get(None) is None
    assert canonical_get("NTK") == ("ntk",)
    assert canonical_get(("nngp",)) == ("nngp",)
    assert canonical_get(["Ntk", "nNgP"]) == ("ntk", "nngp")


@pytest.mark.parametrize("get", ["", (), [], ("",), ("ntk", "")])
def test_empty_get(get):
    with pytest.raises(ValueError, match="`get` is empty"):
        canonical_get(get)


@pytest.mark.parametrize("get", [("ntk", "ntk"), ["ntk", "nngp", "NTK"]])
def test_duplicates(get):
    with pytest.raises(ValueError, match="`get` has duplicates"):
        canonical_get(get)


@pytest.mark.parametrize("get", [1, ("ntk", 1), {"ntk"}, {"ntk": 1}, b"ntk", True, (("ntk",),)])
def test_wrong_types(get):
    with pytest.raises(TypeError, match="`get` must be None, a string"):
        canonical_get(get)


def test_unknown_names():
    check_names(None, ["ntk"])
    check_names(("ntk",), ["ntk", "nngp"])
    with pytest.raises(KeyError, match=r"Unknown `get`: \['a', 'b'\]. Known names: \['nngp', 'ntk'\]"):
        check_names(("b", "ntk", "a"), iter(["ntk", "nngp"]))


def test_select():
    assert select(RESULTS, "NTK", "Name") == 2
    one = select(RESULTS, ("ntk",), "Name")
    assert type(one).__name__ == "Name" and one._fields == ("ntk",) and one == (2,)
    several = select(RESULTS, ["cov1", "NNGP"], "Name")
    assert several._fields == ("cov1", "nngp") and several.nngp == 1 and several.cov1 is None


def test_results_of_equal_selections_are_equal_pytrees():
    a, b = select(RESULTS, ("ntk", "nngp"), "Name"), select(RESULTS, ["NTK", "nngp"], "Name")
    assert type(a) is type(b) is result_type("Name", ("ntk", "nngp"))
    assert jax.tree.map(lambda x, y: x + y, a, b) == (4, 2)
    assert type(a) is not type(select(RESULTS, ("nngp", "ntk"), "Name"))
    assert type(a) is not type(select(RESULTS, ("ntk", "nngp"), "Other"))


def test_fields_say_what_they_are():
    fields = result_type("Name", ("nngp", "ntk", "ntkgp", "cov1"))
    assert fields.__doc__ == "Results by name, in the order of `get`."
    assert "Bayesian" in fields.nngp.__doc__ and "gradient descent" in fields.ntk.__doc__
    assert fields.cov1.__doc__ == "The attribute `cov1` of `neural_tangents.Kernel`."
