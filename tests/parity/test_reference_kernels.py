"""Agreement, to 1e-7 in float64, with kernels and predictions recorded from the reference library (0.6.6).

`kernels.npz` holds the cases as data. An entry `meta` maps the name of each case to its description: either `net`, a
`stax` expression whose `kernel_fn` is called on the inputs `x1`, `x2`, or `expr`, an expression over `nt` and named
arrays. The expected outputs are stored under `<case>|out|<what>`.
"""

import json
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import neural_tangents as nt
from neural_tangents import stax

RTOL = 1e-7
RTOL_ODE = 1e-5  # two ODE solvers agree to their own tolerance only
# The rule of the reference treats both inputs differently; ours, which does not, differs by as much as either errs.
RTOL_QUADRATURE = 5e-3

with np.load(Path(__file__).with_name("kernels.npz")) as archive:
    DATA = dict(archive)
CASES = json.loads(str(DATA.pop("meta")))


def arrays(name: str, kind: str) -> dict[str, np.ndarray]:
    """Returns the arrays stored under `name|kind|...`, by the rest of their key."""
    prefix = f"{name}|{kind}|"
    return {key.removeprefix(prefix): value for key, value in DATA.items() if key.startswith(prefix)}


def stored_input(name: str, argument: str):
    """Returns an input as jax sees it: an array, a list of arrays stored as `argument/0`, ..., or `None`."""
    if (array := DATA.get(f"{name}|{argument}")) is not None:
        return jnp.asarray(array)
    leaves = sorted(key for key in DATA if key.startswith(f"{name}|{argument}/"))
    return [jnp.asarray(DATA[key]) for key in leaves] or None


def evaluate_network(name: str) -> dict[str, jax.Array]:
    """Returns the kernels of a case given as a network, under `<number of the output>.<field>`."""
    case = CASES[name]
    _, _, kernel_fn = eval(case["net"], {"stax": stax, "jax": jax, "jnp": jnp})
    keywords = dict(case.get("call", {}))
    if case.get("mask"):
        keywords["mask_constant"] = 100.0
    if (pattern := stored_input(name, "pattern")) is not None:
        keywords["pattern"] = tuple(pattern)
    get = tuple(case.get("get", ("nngp", "ntk")))
    kernels = jax.jit(lambda x1, x2: kernel_fn(x1, x2, get, **keywords))(*(stored_input(name, x) for x in ("x1", "x2")))
    outputs = kernels if type(kernels) in (list, tuple) else [kernels]
    return {f"{i}.{field}": getattr(output, field) for i, output in enumerate(outputs) for field in get}


def evaluate_expression(name: str) -> dict[str, jax.Array]:
    """Returns the leaves of a case given as an expression, under their numbers."""
    scope = {"nt": nt, "stax": stax, "jax": jax, "jnp": jnp}
    for key, value in arrays(name, "in").items():
        owner, _, leaf = key.rpartition(".")
        target = scope.setdefault(owner, {}) if owner else scope
        target[leaf] = jnp.asarray(value)
    with jax.numpy_rank_promotion("allow"):  # networks in these expressions rely on it
        return {str(i): leaf for i, leaf in enumerate(jax.tree.leaves(eval(CASES[name]["expr"], scope)))}


def relative_error(got, want: np.ndarray) -> float:
    """Returns the largest difference, relative to the largest entry that is wanted."""
    return float(np.max(np.abs(np.asarray(got) - want)) / max(np.max(np.abs(want)), 1e-30))


@pytest.mark.parametrize("name", CASES)
def test_agrees_with_the_reference(name):
    """Every output that the reference recorded for a case is reproduced in shape and in value."""
    want = arrays(name, "out")
    with jax.enable_x64(True), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # some of these networks warn by contract; here numbers count
        got = evaluate_network(name) if "net" in CASES[name] else evaluate_expression(name)
        got = {key: np.asarray(value) for key, value in got.items() if value is not None}
    assert want
    assert {key: got[key].shape for key in want if key in got} == {key: value.shape for key, value in want.items()}
    errors = {key: relative_error(got[key], value) for key, value in want.items()}
    rtol = RTOL_ODE if name.startswith("ode") else RTOL
    rtol = RTOL_QUADRATURE if "ElementwiseNumerical" in CASES[name].get("net", "") else rtol
    assert max(errors.values()) <= rtol, errors


def test_a_wrong_value_is_an_error():
    """The measure of agreement sees one wrong entry, and one that is not a number."""
    want = np.array([[1.0, 2.0], [3.0, 4.0]])
    assert relative_error(want, want) == 0.0
    assert relative_error(want + [[0.0, 0.0], [0.0, 4e-6]], want) > RTOL
    assert not relative_error(want * [[1.0, np.nan], [1.0, 1.0]], want) <= RTOL
