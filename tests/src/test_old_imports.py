"""Names that programs import from the inside of the archived library are there, and missing ones say what to use."""

import importlib
import subprocess
import sys
import typing

import jax.numpy as jnp
import pytest

import neural_tangents as nt
from neural_tangents import _src, stax

# Layers that the archived library does not have.
NEW = (
    """Elu HardTanh LogCosh Mish Nonlinearity Relu6 Selu Sigmoid Silu Softplus Softsign Squareplus Swish Tanh""".split()
)
LAYERS = [
    name
    for name in stax.__all__
    if isinstance(getattr(stax, name), type(stax.Dense)) and name[0].isupper() and name not in NEW
]
TYPES = """PyTree Axes NTTree NTTrees Shapes InitFn ApplyFn MaskFn KernelOrInput Get LayerKernelFn AnalyticKernelFn
EmpiricalGetKernelFn EmpiricalKernelFn MonteCarloKernelFn KernelFn InternalLayer InternalLayerMasked Layer Kernels
VMapAxes VMapAxisTriple Any Callable Dict Generator Iterable List Optional Protocol Sequence Tuple TypeVar Union"""

# Private names that have been imported, by module; public ones are those of `__all__`.
PRIVATE = {
    "batching": "_serial _parallel _jit_or_pmap_broadcast pmap batch",
    "empirical": "_DEFAULT_TESTING_NTK_IMPLEMENTATION DEFAULT_NTK_IMPLEMENTATION _DEFAULT_NTK_FWD "
    "_DEFAULT_NTK_J_RULES _DEFAULT_NTK_S_RULES linearize taylor_expand empirical_ntk_vp_fn",
    "monte_carlo": "_sample_once_kernel_fn monte_carlo_kernel_fn",
    "predict": "_is_on_cpu gp_inference gradient_descent_mse_ensemble max_learning_rate ODEState Gaussian",
    "stax.branching": "FanOut FanInSum FanInProd FanInConcat",
    "stax.combinators": "serial parallel repeat _get_input_req_attr",
    "stax.elementwise": "_elementwise _sqrt _arctan2 Relu Sigmoid_like Gabor",
    "stax.linear": "_affine _conv_kernel_full_spatial_shared _get_dimension_numbers _Pooling Padding Slice Dense "
    "AggregateImplementation AttentionMechanism PositionalEmbedding",
    "stax.requirements": "layer requires supports_masking unmask_fn MaskedArray Bool Diagonal get_diagonal "
    "get_diagonal_outer_prods mean_and_var get_req _has_req _set_req _fuse_requirements _DEFAULT_INPUT_REQ",
    "utils.dataclasses": "dataclass field",
    "utils.kernel": "Kernel",
    "utils.typing": TYPES,
    "utils.utils": "zip_flat zip_axes unzip_axes axis_after_dot canonicalize_idx canonicalize_axis canonicalize_get "
    "get_namedtuple is_nt_tree_of nt_tree_fn all_none size_at mod make_2d is_on_cpu is_list_or_tuple wraps",
}


def module(path):
    return importlib.import_module(f"neural_tangents._src.{path}")


@pytest.mark.parametrize("path", PRIVATE)
def test_names_are_there_and_public_ones_are_the_same(path):
    where = [nt, nt.predict] if path == "predict" else [stax, nt]  # `Gaussian` is a name of both
    public = {name: getattr(place, name) for place in reversed(where) for name in place.__all__}
    for name in {*PRIVATE[path].split(), *module(path).__all__}:
        assert getattr(module(path), name) is public.get(name, getattr(module(path), name))


def test_every_layer_is_where_it_was():
    places = [module(f"stax.{part}") for part in ("branching", "combinators", "elementwise", "linear")]
    assert len(LAYERS) > 40
    assert [name for name in LAYERS if sum(hasattr(place, name) for place in places) != 1] == []


@pytest.mark.parametrize("path", PRIVATE)
@pytest.mark.parametrize("statement", ["from {} import _zzz", "import {}\n{}._zzz", "import {}._zzz"])
def test_missing_names_say_what_to_use(path, statement):
    name = f"neural_tangents._src.{path}"
    with pytest.raises((ImportError, AttributeError), match="Use public names, of `"):
        exec(statement.format(name, name))
    assert not hasattr(module(path), "_zzz") and not hasattr(module(path), "__wrapped__")


@pytest.mark.parametrize(
    ("path", "name", "words"),
    [
        ("stax.linear", "_pool_kernel", "stax.AvgPool"),
        ("stax.linear", "_conv_kernel_diagonal_spatial", "stax.Conv"),
        ("stax.requirements", "_set_shapes", "stax.layer"),
        ("utils", "rules", "empirical_ntk_fn"),
    ],
)
def test_some_missing_names_have_advice_of_their_own(path, name, words):
    with pytest.raises(ImportError, match=words) as caught:
        exec(f"from neural_tangents._src.{path} import {name}")
    assert "known to import" not in str(caught.value)


def test_types_are_right_in_annotations():
    types = module("utils.typing")

    def annotated(x: types.NTTree[int], k: types.LayerKernelFn, f: types.VMapAxes) -> types.NTTrees[str]: ...

    assert set(typing.get_type_hints(annotated, localns={"NTTree": types.NTTree, "T": types.T})) == {*"xkf", "return"}


def test_helpers_come_without_an_import_of_their_own():
    """Programs write `nt._src.utils.kernel.Kernel`. It is imported then, and neither it nor what it needs before."""
    code = """
import sys, neural_tangents as nt
assert not [name for name in sys.modules if "neural_tangents._src" in name or "neural_tangents.experimental" in name]
assert nt._src.utils.kernel.Kernel is nt.Kernel
assert nt._src.stax.linear.Dense is nt.stax.Dense
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_kernel_made_by_hand_goes_through_a_network():
    q = jnp.asarray([1.0, 2.0])
    kernel = _src.utils.kernel.Kernel(
        **dict(nngp=jnp.diag(q) + 0.1, ntk=None, cov1=q + 0.1, cov2=None, x1_is_x2=True, is_gaussian=True),
        **dict(is_reversed=False, is_input=True, diagonal_batch=True, diagonal_spatial=False),
        **dict(shape1=(2, 3), shape2=(2, 3), batch_axis=0, channel_axis=1),
    )
    found = stax.serial(stax.Dense(4, 2.0), stax.Identity())[2](kernel)
    assert jnp.allclose(found.nngp, 4 * kernel.nngp) and found.is_gaussian
