"""Misuse of the public functions of `empirical`: each answer says what was expected, what was got, and what to do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from finite_networks import MLP_PARAMS as PARAMS
from finite_networks import X1 as FIRST
from finite_networks import X2 as SECOND
from finite_networks import mlp, normal

import neural_tangents as nt
from neural_tangents import stax
from neural_tangents.empirical._checks import as_arrays, check_parameters, check_vector, described

# Messages name types; here all are those of single precision.
MLP_PARAMS, X1, X2 = jax.tree.map(np.float32, (PARAMS, FIRST, SECOND))
KEY = jax.random.key(0)
INIT_FN, APPLY_FN, _ = stax.Dense(3)
ORDER = r"parameters last, after both batches of inputs: \(x1, x2, params\)"


@pytest.fixture(autouse=True)
def one_precision():
    with jax.enable_x64(False):
        yield


@jax.custom_vjp
def backward_only(x):
    return jnp.tanh(x)


backward_only.defvjp(lambda x: (jnp.tanh(x), x), lambda x, g: (g * (1 - jnp.tanh(x) ** 2),))


def backward_mlp(p, x):
    return backward_only(mlp(p, x))


def ntk(f=mlp, **options):
    return nt.empirical_ntk_fn(f, **options)


# Name: a call, the type of its error, what the error or a note of it says.
MISUSES = {
    "parameters first": (lambda: ntk()(MLP_PARAMS, X1, X2), ValueError, ORDER),
    "parameters first, vmap": (lambda: ntk(vmap_axes=0)(MLP_PARAMS, X1, X2), ValueError, ORDER),
    "parameters first, NNGP": (lambda: nt.empirical_nngp_fn(mlp)(MLP_PARAMS, X1, X2), ValueError, ORDER),
    "parameters first, product": (lambda: nt.empirical_ntk_vp_fn(mlp, MLP_PARAMS, X1, X2), ValueError, ORDER),
    "parameters first, operator": (lambda: nt.empirical_ntk_operator_fn(mlp)(MLP_PARAMS, X1, X2), ValueError, ORDER),
    "parameters first, arrays": (lambda: ntk(lambda p, x: x @ p)(normal(5, 4), X1, X2), TypeError, ORDER),
    "parameters first, both kernels": (
        lambda: nt.empirical_kernel_fn(mlp)(MLP_PARAMS, X1, X2, "ntk"),
        TypeError,
        r"order of arguments is `kernel_fn\(x1, x2, get, params\)`",
    ),
    "parameters missing": (lambda: ntk()(X1, X2), TypeError, r"ntk_fn\(\) missing 1 .*: 'params'"),
    "parameters of None": (lambda: ntk()(X1, X2, None), TypeError, r"with params: NoneType without arrays; x: float"),
    "parameters of another network": (
        lambda: ntk()(X1, X2, {"w": normal(5, 6)}),
        KeyError,
        r"called as f\(params, x\) with params\['w'\]: float32\[5, 6\]; x: float32\[3, 5\]",
    ),
    "parameters that are strings": (
        lambda: ntk()(X1, X2, {**MLP_PARAMS, "name": "mlp"}),
        TypeError,
        r"real or complex type, got str at params\['name'\]. Take it out",
    ),
    "inputs of another size": (lambda: ntk()(X1[:, :3], None, MLP_PARAMS), TypeError, r"; x: float32\[3, 3\]"),
    "inputs of lists": (
        lambda: ntk()([[1.0, 2.0]], None, MLP_PARAMS),
        TypeError,
        r"x\[0\]\[0\]: float32\[\], x\[0\]\[1\]",
    ),
    "inputs with fewer axes": (
        lambda: ntk(lambda p, x: x @ p)(X1, X1[0], normal(5, 3)),
        ValueError,
        r"equally many axes for x1 and x2, got shapes \(3, 3\) and \(3,\). Pass two",
    ),
    "unknown keyword": (lambda: ntk()(X1, X2, MLP_PARAMS, scale=2), TypeError, r"called as f\(params, x, scale=...\)"),
    "get before x2": (
        lambda: nt.monte_carlo_kernel_fn(INIT_FN, APPLY_FN, KEY, 1)(X1, "ntk"),
        TypeError,
        r"x2 to be an array or a tree of arrays, got 'ntk'. `get` comes after x2",
    ),
    "get after parameters": (
        lambda: nt.empirical_kernel_fn(mlp)(X1, X2, MLP_PARAMS, "ntk"),
        TypeError,
        r"order of arguments is `kernel_fn\(x1, x2, get, params\)`",
    ),
    "get with a typo": (
        lambda: nt.monte_carlo_kernel_fn(INIT_FN, APPLY_FN, KEY, (1, 2))(X1, X2, "nkt"),
        KeyError,
        r"Unknown `get`: \['nkt'\]",
    ),
    "axes that are text": (
        lambda: ntk(trace_axes="a")(X1, X2, MLP_PARAMS),
        TypeError,
        "`trace_axes` .*integers, got 'a'",
    ),
    "axes of None": (
        lambda: ntk(diagonal_axes=None)(X1, X2, MLP_PARAMS),
        TypeError,
        "`diagonal_axes` to be an integer or a tuple of integers, got None",
    ),
    "axes out of range": (
        lambda: ntk(trace_axes=2)(X1, X2, MLP_PARAMS),
        ValueError,
        "`trace_axes=2` does not fit an output of the network with 2 axes.*from -2 to 1",
    ),
    "axes of samples that are true": (lambda: ntk(vmap_axes=True)(X1, X2, MLP_PARAMS), ValueError, "has True for"),
    "axes of samples of numbers": (
        lambda: ntk(lambda p, x: p * x, vmap_axes=0)(1.0, 2.0, np.ones(3)),
        ValueError,
        r"has 0 for an array of shape \(\). Expected an array with at least one axis",
    ),
    "axes of samples of three inputs": (
        lambda: ntk(vmap_axes=(0, 0, 0))(X1, X2, MLP_PARAMS),
        ValueError,
        r"tuple of three as `vmap_axes` is read as .* write \(\(0, 0, 0\), axes of outputs, \{\}\)",
    ),
    "outputs of None": (lambda: ntk(lambda p, x: None)(X1, X2, MLP_PARAMS), TypeError, "array or a tree of .*got None"),
    "outputs of None, NNGP": (
        lambda: nt.empirical_nngp_fn(lambda p, x: None)(X1, X2, MLP_PARAMS),
        TypeError,
        "array or a tree of arrays, got None",
    ),
    "outputs that are text": (
        lambda: ntk(lambda p, x: {"y": x, "name": "y"})(X1, X2, MLP_PARAMS),
        TypeError,
        r"got str at outputs\['name'\]",
    ),
    "outputs of integers, series": (
        lambda: nt.linearize(lambda p, x: {"y": x, "i": jnp.argmax(x)}, MLP_PARAMS)(MLP_PARAMS, X1),
        TypeError,
        r"outputs of real or complex type, got int32 at outputs\['i'\]. Leave it out",
    ),
    "a layer": (
        lambda: ntk(stax.Dense(3)),
        TypeError,
        r"`f` in `empirical_ntk_fn\(f\)` to be a function, got Layer.*pass `apply_fn`",
    ),
    "a layer, NNGP": (lambda: nt.empirical_nngp_fn(stax.Dense(3)), TypeError, "got Layer"),
    "a layer, both kernels": (lambda: nt.empirical_kernel_fn(stax.Dense(3)), TypeError, "got Layer"),
    "a layer, operator": (lambda: nt.empirical_ntk_operator_fn(stax.Dense(3)), TypeError, "got Layer"),
    "a layer, product": (lambda: nt.empirical_ntk_vp_fn(stax.Dense(3), X1, X2, MLP_PARAMS), TypeError, "got Layer"),
    "a layer, series": (lambda: nt.taylor_expand(stax.Dense(3), MLP_PARAMS, 2), TypeError, "got Layer"),
    "function and parameters exchanged": (
        lambda: nt.linearize(MLP_PARAMS, mlp),
        TypeError,
        r"`f` in `linearize\(f, params\)` to be a function, got dict",
    ),
    "degree of None": (
        lambda: nt.taylor_expand(mlp, MLP_PARAMS, None),
        TypeError,
        "`degree` to be an integer, got None",
    ),
    "no derivative in forward mode": (
        lambda: ntk(backward_mlp, implementation=2)(X1, X2, MLP_PARAMS),
        TypeError,
        "`jax.custom_vjp`, which has no derivative in forward mode. Choose another `implementation`",
    ),
    "no derivative in forward mode, product": (
        lambda: nt.empirical_ntk_vp_fn(backward_mlp, X1, X2, MLP_PARAMS)(np.ones((2, 3), np.float32)),
        TypeError,
        "Write it with `jax.custom_jvp`, or use `empirical_ntk_fn`",
    ),
    "no derivative in forward mode, series": (
        lambda: nt.linearize(backward_mlp, MLP_PARAMS)(MLP_PARAMS, X1),
        TypeError,
        "Write it with `jax.custom_jvp`",
    ),
    "vector of another shape": (
        lambda: nt.empirical_ntk_vp_fn(mlp, X1, X2, MLP_PARAMS)(np.ones((3, 3))),
        ValueError,
        r"like the outputs for x2, that is v: float32\[2, 3\]; got v: float32\[3, 3\]",
    ),
    "vector of another tree": (
        lambda: nt.empirical_ntk_operator_fn(lambda p, x: {"y": mlp(p, x)})(X1, X2, MLP_PARAMS).matvec(np.ones(2)),
        ValueError,
        "tree of vectors like the outputs for x2",
    ),
    "a layer for draws": (
        lambda: nt.monte_carlo_kernel_fn(stax.Dense(3), KEY, 1, 2),
        TypeError,
        "`init_fn` in `monte_carlo_kernel_fn.*pass `init_fn`",
    ),
    "key of a number": (
        lambda: nt.monte_carlo_kernel_fn(INIT_FN, APPLY_FN, 0, 1),
        TypeError,
        "to be a random key, got int. Make one with `jax.random.key.0.`",
    ),
    "key after the number of draws": (
        lambda: nt.monte_carlo_kernel_fn(INIT_FN, APPLY_FN, 1, KEY),
        TypeError,
        r"`key` in `monte_carlo_kernel_fn\(init_fn, apply_fn, key, n_samples\)` to be",
    ),
    "size of batches of None": (
        lambda: nt.monte_carlo_kernel_fn(INIT_FN, APPLY_FN, KEY, 1, None),
        TypeError,
        '`batch_size` to be an integer or "auto", got None',
    ),
    "parameters alone drawn": (
        lambda: nt.monte_carlo_kernel_fn(lambda rng, shape: MLP_PARAMS, APPLY_FN, KEY, 1)(X1, X2),
        TypeError,
        r"`init_fn` to return `\(output_shape, params\)`, got dict",
    ),
    "functions of a layer exchanged": (
        lambda: nt.monte_carlo_kernel_fn(APPLY_FN, INIT_FN, KEY, 1)(X1, X2),
        ValueError,
        r"`init_fn` was called as init_fn\(rng, input_shape\) with input_shape=\(3, 5\)",
    ),
}


@pytest.mark.parametrize("name", MISUSES)
def test_misuse_is_answered(name):
    """`match` of pytest looks at the message of an error and at its notes."""
    call, error, message = MISUSES[name]
    with pytest.raises(error, match=message):
        call()


def test_errors_of_networks_stay_what_they_are():
    class OwnError(Exception):
        pass

    def f(params, x):
        raise OwnError("own words")

    with pytest.raises(OwnError, match="own words") as failure:
        ntk(f)(X1, X2, MLP_PARAMS)
    assert any("called as f(params, x)" in note for note in failure.value.__notes__)


def test_errors_do_not_depend_on_the_implementation():
    with pytest.raises(KeyError, match="Expected `implementation` to be one of 0 .AUTO.*; got 4"):
        nt.empirical_ntk_fn(mlp, implementation=4)
    for implementation in (0, 1, 2, 3):
        fn = nt.empirical_ntk_fn(mlp, implementation=implementation)
        with pytest.raises(TypeError, match=r"got int32 at params\['steps'\]\[1\]"):
            fn(X1, X2, {**MLP_PARAMS, "steps": [np.zeros(2), np.zeros(2, np.int32)]})
        with pytest.raises(ValueError, match="x1 and x2 to be trees of arrays of the same structure"):
            fn(X1, [X2], MLP_PARAMS)
        with pytest.raises(TypeError, match=r"overlap in \[1\]"):
            nt.empirical_ntk_fn(mlp, (-1,), (1,), implementation=implementation)(X1, X2, MLP_PARAMS)
        with pytest.raises(
            ValueError, match=r"`diagonal_axes=\(2,\)` does not fit an output of the network with 2 axes"
        ):
            nt.empirical_ntk_fn(mlp, (-1,), (2,), implementation=implementation)(X1, X2, MLP_PARAMS)
        with pytest.raises(ValueError, match="Axis 0 is traced or diagonal"):
            nt.empirical_ntk_fn(mlp, (0,), (), implementation=implementation)(X1, X2, MLP_PARAMS)


def test_outputs_must_have_one_structure():
    def f(p, x):
        out = mlp(p, x)
        return out if x.shape[0] == 3 else (out, out)

    with pytest.raises(ValueError, match="trees of the same structure for x1 and x2"):
        nt.empirical_ntk_fn(f)(X1, X2, MLP_PARAMS)


def test_networks_that_mix_samples_do_not_fit_axes_of_samples():
    with pytest.raises(ValueError, match="size 1 along axis 0"):
        nt.empirical_ntk_fn(lambda p, x: mlp(p, x)[:0], vmap_axes=0)(X1, X2, MLP_PARAMS)


def test_integer_outputs_are_errors():
    with pytest.raises(TypeError, match="Expected outputs of real or complex type, got int32"):
        nt.empirical_ntk_fn(lambda p, x: jnp.argmax(x * p, -1), trace_axes=())(jnp.ones((2, 3)), None, jnp.ones(()))


def test_parameters_are_real_or_complex():
    check_parameters({"w": np.zeros(2), "z": np.zeros(2, complex), "half": jnp.zeros(2, jnp.bfloat16), "number": 1.0})
    check_parameters(())


@pytest.mark.parametrize("value", [np.zeros(2, np.int32), np.zeros(2, bool), 3, jax.random.key(0), "float32", len])
def test_other_parameters_are_named(value):
    with pytest.raises(TypeError, match=r"real or complex type, got \S+ at params\['a'\]\[1\]\. Take it out"):
        check_parameters({"a": [np.zeros(2), value]})


def test_outputs_become_arrays():
    found = as_arrays({"number": 2.0, "array": np.ones(3), "none": None})
    assert isinstance(found["number"], jax.Array) and isinstance(found["array"], jax.Array) and found["none"] is None
    for empty in ((), {"a": None}, []):
        with pytest.raises(TypeError, match=f"got {type(empty).__name__} without arrays"):
            as_arrays(empty)


def test_vectors_for_outputs_of_integers():
    """Their vectors are of jax's type `float0`."""
    outputs = {"y": jnp.ones(2), "i": jnp.arange(3)}
    check_vector({"y": np.ones(2, np.float32), "i": np.zeros(3, jax.dtypes.float0)}, outputs)
    for wrong in ({"y": jnp.ones(3), "i": 0}, {"y": jnp.ones(2)}, {"y": jnp.arange(2), "i": 0}):
        with pytest.raises(ValueError, match=r"that is v\['i'\]: int32\[3\], v\['y'\]: float32\[2\]; got v\['"):
            check_vector(wrong, outputs)


def test_trees_in_few_words():
    assert described("x", X1) == "x: float32[3, 5]"
    assert described("params", {"w": (1.0, "name")}) == "params['w'][0]: float32[], params['w'][1]: str"
    assert described("params", [1.0] * 100).endswith("params[5]: float32[], and 94 more arrays")
