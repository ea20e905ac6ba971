"""The documentation site is complete: every public name, every old name, every layer with its picture.

None of this builds the site; that is `.ci/docs`, where every warning is an error.
"""

import ast
import importlib
import inspect
import re
from pathlib import Path

import pytest

import neural_tangents as nt
from neural_tangents import batching, empirical, estimators, predict, stax, tracing, typing
from neural_tangents._core import missing_names, old_calls

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
MODULES = {
    **{"": nt, "stax": stax, "predict": predict, "empirical": empirical, "batching": batching},
    **{"estimators": estimators, "tracing": tracing, "typing": typing},
}


# The reference.


def documented(text: str) -> set[str]:
    """Returns full names that a page of the reference documents."""
    names, module = set(), ""
    for directive, name in re.findall(r"^\.\. (\S+):: (\S+)$", text, flags=re.MULTILINE):
        if directive in ("currentmodule", "py:currentmodule"):
            module = name
        elif directive in ("autofunction", "autoclass", "py:data"):
            names.add(f"{module}.{name.removesuffix('()')}")
    return names


def public() -> set[str]:
    """Returns full names of everything public but packages; what is in two places by the shorter name."""
    found = set()
    for package, module in MODULES.items():
        for name in module.__all__:
            if inspect.ismodule(getattr(module, name)) or name == "__version__":
                continue
            is_twice = package in ("empirical", "batching") and name in nt.__all__
            found.add(f"neural_tangents.{name}" if is_twice or not package else f"neural_tangents.{package}.{name}")
    return found


def test_reference_has_every_public_name():
    pages = sorted((DOCS / "reference").glob("*.rst"))
    assert set().union(*(documented(page.read_text()) for page in pages)) == public()


def test_finds_what_is_documented():
    text = ".. currentmodule:: neural_tangents.stax\n\n.. autofunction:: Dense\n.. autoclass:: Bool\n   :members:\n"
    assert documented(text) == {"neural_tangents.stax.Dense", "neural_tangents.stax.Bool"}


def test_every_page_is_in_a_table_of_contents():
    pages = {page.relative_to(DOCS).with_suffix("").as_posix() for page in DOCS.rglob("*.md")}
    pages |= {page.relative_to(DOCS).with_suffix("").as_posix() for page in DOCS.rglob("*.rst")}
    listed = {"index"}
    for page in ["index.md", "concepts/index.md", "howto/index.md", "reference/index.md"]:
        for block in re.findall(r"```\{toctree\}\n(.*?)```", (DOCS / page).read_text(), flags=re.DOTALL):
            for name in re.findall(r"^(?:.* <)?([\w/]+)>?$", block, flags=re.MULTILINE):
                listed.add(name[1:] if name[0] == "/" else (Path(page).parent / name).as_posix())
    assert {page for page in pages if not page.startswith(("_", "notebooks/"))} - listed == set()


# Coming from the archived library.

# The public names of the archived library, and its names for annotations, which were private.
ARCHIVED = {
    "nt": "Kernel NtkImplementation __version__ batch empirical_kernel_fn empirical_nngp_fn empirical_ntk_fn "
    "empirical_ntk_vp_fn experimental linearize monte_carlo_kernel_fn predict stax taylor_expand",
    "stax": "serial parallel repeat FanOut FanInSum FanInProd FanInConcat Aggregate AvgPool Conv ConvLocal "
    "ConvTranspose Dense DotGeneral Dropout Flatten GlobalAvgPool GlobalSelfAttention GlobalSumPool Identity "
    "ImageResize Index LayerNorm SumPool Slice ABRelu Abs Cos Elementwise ElementwiseNumerical Erf Exp ExpNormalized "
    "Gabor Gaussian Gelu Hermite LeakyRelu Monomial Polynomial Rbf RectifiedMonomial Relu Sigmoid_like Sign Sin "
    "Padding AggregateImplementation AttentionMechanism PositionalEmbedding Bool layer requires supports_masking "
    "unmask_fn MaskedArray Diagonal",
    "predict": "gradient_descent gradient_descent_mse gradient_descent_mse_ensemble gp_inference max_learning_rate "
    "ODEState Gaussian",
    "experimental": "empirical_ntk_fn_tf get_apply_fn_and_params",
    "_src.utils.typing": "PyTree Axes NTTree NTTrees Shapes InitFn ApplyFn MaskFn KernelOrInput Get LayerKernelFn "
    "AnalyticKernelFn EmpiricalGetKernelFn EmpiricalKernelFn MonteCarloKernelFn KernelFn InternalLayer "
    "InternalLayerMasked Layer Kernels VMapAxes VMapAxisTriple",
}


@pytest.fixture(scope="module")
def old_names():
    """The rows of all tables: old name, what is written in place of it."""
    text = (DOCS / "coming_from_the_archived_library.md").read_text()
    rows = re.findall(r"^\| `([^`|]+)` \| (.*?) \|(?!\|)", text.replace("\\|", "or"), flags=re.MULTILINE)
    return {old: re.findall(r"`([\w.]+)`", here) for old, here in rows}


def test_old_names_of_the_archived_library(old_names):
    expected = {f"{module}.{name}" for module, names in ARCHIVED.items() for name in names.split()}
    assert expected - set(old_names) == set()


def test_old_names_that_are_errors(old_names):
    """Whatever has an error that says what to use instead is in a table too."""
    short = {"neural_tangents": "nt.", "neural_tangents.predict": "predict.", "neural_tangents.stax": ""}
    advised = {prefix + name for module, prefix in short.items() for name in missing_names._advice[module]}
    assert (advised | set(old_calls._LAYER_ARGUMENTS)) - set(old_names) == set()


def is_there(name: str) -> bool:
    """Returns whether a name of the column "here" exists."""
    name = name.removeprefix("nt.").removeprefix("neural_tangents.")
    if name.startswith("experimental"):  # imported when it is used
        return name == "experimental" or name.partition(".")[2] in ARCHIVED["experimental"].split()
    value = nt
    for part in name.split("."):
        value = importlib.import_module("neural_tangents.typing") if part == "typing" else getattr(value, part, None)
    return value is not None


def test_names_here_exist(old_names):
    words = {"neural_tangents", "Callable", "PyTree", "Kernel", "W_std", "b_std", "batch_axis", "channel_axis"}
    words |= {"dimension_numbers", "linear_scaling", "do_stabilize"}  # arguments, and types
    names = {name for here in old_names.values() for name in here} - words
    assert len(names) > 70 and {name for name in names if not is_there(name)} == set()
    assert not is_there("stax.MaxPool") and not is_there("predict.nothing")


# What is made when the site is built.


@pytest.fixture(scope="module")
def figures():
    pytest.importorskip("matplotlib")
    return importlib.import_module("kernel_figures")


def test_every_layer_has_a_picture(figures):
    pages = {
        page: documented((DOCS / "reference" / f"{page}.rst").read_text()) for page in ("layers", "nonlinearities")
    }
    names = {page: {name.rpartition(".")[2] for name in found} for page, found in pages.items()}
    not_layers = {name for name in names["layers"] if not inspect.isfunction(getattr(stax, name))}
    assert names["nonlinearities"] == set(figures.NONLINEARITIES)
    assert names["layers"] - not_layers == set(figures.LAYERS) - {"FanInSum", "FanInProd", "FanInConcat"}


@pytest.mark.parametrize("name", ["Rbf", "ExpNormalized", "FanInSum", "Flatten"])
def test_pictures_are_drawn(figures, name, tmp_path):
    path = tmp_path / f"{name}.svg"
    figures.matplotlib.use("Agg")
    figures.draw(name, path)
    assert path.read_text().count("<path") > 10


def test_docstrings_become_restructuredtext():
    house = importlib.import_module("house_docstrings")
    text = inspect.getdoc(stax.Dense)
    lines = house.reformatted(text.splitlines())
    assert "With weights ``W`` of shape ``(C, out_dim)`` and bias ``b``, entries drawn from ``N(0, 1)``:" in lines
    block = lines.index(r"   \text{'ntk':}\quad & x \to \frac{W_{\mathrm{std}}}{\sqrt{C}} x W + b_{\mathrm{std}} b, \\")
    assert lines[block - 4 : block - 1] == [".. math::", "   :nowrap:", ""]
    (returned,) = [line for line in lines if line.startswith(":returns:")]
    assert returned.endswith("channels, or None.")
    (source,) = [line for line in lines if line.startswith("**Source:**")]
    assert source.endswith("https://arxiv.org/abs/2001.07301.")
    assert "  >>> x = jnp.array([[1.0, 0.0], [0.0, 1.0]])" in lines  # examples stay


def test_signatures_are_those_of_the_source():
    house = importlib.import_module("house_docstrings")
    signature, returned = house.process_signature(None, "function", "", stax.FanOut, None, None, None)
    assert (signature, returned) == ("(num: int)", "Layer")
    assert house.process_signature(None, "class", "", stax.Bool, None, "(value)", None) == ("", None)
    tree = ast.parse(f"def f{house.process_signature(None, 'function', '', nt.batch, None, None, None)[0]}: ...")
    assert [argument.arg for argument in tree.body[0].args.args][0] == "kernel_fn"


def test_names_in_running_text_are_links():
    pytest.importorskip("sphinx")
    names = importlib.import_module("linked_names")
    assert set(names.TARGETS.values()) == public()
    assert names.TARGETS["nt.stax.Dense"] == names.TARGETS["Dense"] == "neural_tangents.stax.Dense"
    assert names.TARGETS["empirical.linearize"] == "neural_tangents.linearize"
    assert "Gaussian" not in names.TARGETS and "layer" not in names.TARGETS  # two things; an ordinary word
    assert names.WRITTEN.fullmatch("stax.Dense(512, W_std=1.5)")[1] == "stax.Dense"


def test_links_to_files_of_the_repository(tmp_path):
    rewritten = importlib.import_module("repository_links").rewritten
    site = tmp_path / "docs"
    page = "[a](../../examples/x.py#L1) [b](../inference.md#noise) ![c](../c.png) [d](https://e.org/x)"
    folder = site / "howto"
    expected = (
        "[a](https://h.org/r/blob/main/examples/x.py#L1) [b](../inference.md#noise) ![c](../c.png) [d](https://e.org/x)"
    )
    assert rewritten(page, folder, folder, site, "https://h.org/r") == expected
    assert rewritten(page, folder, folder, site, None).startswith("a [b](")
    notebook, shown_in = tmp_path / "notebooks", site / "notebooks"
    assert rewritten("[a](../docs/inference.md)", notebook, shown_in, site, None) == "[a](../inference.md)"
    assert rewritten("[a](../../notebooks/n.ipynb)", folder, folder, site, None) == "[a](../notebooks/n.ipynb)"


def test_command_line():
    """The script that builds the site is executable, and treats warnings as errors."""
    script = ROOT / ".ci" / "docs"
    assert script.stat().st_mode & 0o100 and " -W " in script.read_text()
