"""What users read in `help` and in hovers is complete: each public name says what it is, takes, returns and raises.

The checks take docstrings as data, so that each is also shown to catch what it forbids.
"""

import dataclasses
import doctest
import enum
import inspect
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import neural_tangents as nt
from neural_tangents import batching, empirical, estimators, experimental, predict, stax, tracing

PACKAGES = {
    **{"stax": stax, "predict": predict, "empirical": empirical, "batching": batching, "experimental": experimental},
    **{"estimators": estimators, "tracing": tracing},
    "neural_tangents": nt,
}
PUBLIC = {
    f"{package}.{name}": getattr(module, name)
    for package, module in PACKAGES.items()
    for name in module.__all__
    if not inspect.ismodule(getattr(module, name)) and name != "__version__"
    if module is not nt or name not in empirical.__all__  # it is the same there
}
CLASSES = {name: x for name, x in PUBLIC.items() if inspect.isclass(x)}
FUNCTIONS = {name: x for name, x in PUBLIC.items() if inspect.isfunction(x)}

# These raise nothing of their own, whatever they are given.
CANNOT_RAISE = {"stax.Identity", "stax.unmask_fn"}

# The equations of these say what a layer does, follow from its being linear, or are the user's: nothing to look up.
NEEDS_NO_SOURCE = {
    "stax.DotGeneral",
    "stax.Elementwise",
    "stax.FanInConcat",
    "stax.FanInSum",
    "stax.FanOut",
    "stax.Identity",
    "stax.ImageResize",
    "stax.Index",
    "stax.parallel",
    "stax.repeat",
    "stax.serial",
}

MUST_HAVE_EXAMPLES = """
stax.serial stax.Dense stax.Conv stax.Relu predict.gp_inference predict.gradient_descent_mse_ensemble
empirical.empirical_ntk_fn empirical.linearize
""".split()

EXAMPLES_SEE = {
    "nt": nt,
    "stax": stax,
    "predict": predict,
    "empirical": empirical,
    "tracing": tracing,
    "jax": jax,
    "jnp": jnp,
    "np": np,
}

SECTION = re.compile(r"^(Args|Attributes|Returns|Raises|Warns|Source|Example|Examples|Yields|Note):", re.MULTILINE)


def summary_of(docstring: str) -> str:
    """Returns the first paragraph."""
    return docstring.strip().partition("\n\n")[0]


def section(docstring: str, *names: str) -> str:
    """Returns the text of the sections with some names, without their headings; empty if there are none."""
    starts = [*SECTION.finditer(docstring)]
    ends = [match.start() for match in starts[1:]] + [len(docstring)]
    return "\n".join(docstring[m.end() : end] for m, end in zip(starts, ends, strict=False) if m[1] in names)


def entries(docstring: str, *names: str) -> set[str]:
    """Returns what sections such as `Args` have entries for: names, also several on one line, without stars."""
    heads = re.findall(r"^  (\*{0,2}\w+(?:, \*{0,2}\w+)*):", section(docstring, *names), flags=re.MULTILINE)
    return {name.strip("* ") for head in heads for name in head.split(",")}


def has_equation(docstring: str) -> bool:
    """Returns whether the text before the first section has an equation in a line of its own, or one of a kernel."""
    return bool(re.search(r"^ {4,}\S.*=|`[^`]*\b(nngp|ntk)'?[^`]* = ", SECTION.split(docstring)[0], flags=re.MULTILINE))


def lacks_summary(docstring: str) -> list[str]:
    """A summary is one sentence in one paragraph, and no copy of what `dataclass` generates."""
    summary = summary_of(docstring)
    ends = summary.endswith((".", ":", "?", "`", ")"))
    return [] if ends and "\n" not in summary and len(summary.split()) > 2 else [f"summary line: {summary!r}"]


def lacks_arguments(docstring: str, parameters: set[str]) -> list[str]:
    named = entries(docstring, "Args")
    missing = [f"argument {name}" for name in sorted(parameters - named)]
    return missing + [f"no such argument: {name}" for name in sorted(named - parameters)]


def lacks_members(docstring: str, members: set[str]) -> list[str]:
    return [f"attribute {name}" for name in sorted(members - entries(docstring, "Attributes"))]


def lacks_section(docstring: str, name: str) -> list[str]:
    return [] if section(docstring, name).strip() else [name]


def lacks_source(docstring: str) -> list[str]:
    return lacks_section(docstring, "Source") if has_equation(docstring) else []


def parameters_of(fn) -> set[str]:
    """Returns the names of parameters; one that starts with an underscore is for experts, but documented too."""
    return set(inspect.signature(fn).parameters)


def members_of(cls) -> set[str]:
    """Returns the names of fields of data classes and named tuples, and of members of enumerations."""
    if issubclass(cls, enum.Enum):
        return set(cls.__members__)
    if dataclasses.is_dataclass(cls):
        return {field.name for field in dataclasses.fields(cls) if not field.name.startswith("_")}
    return set(getattr(cls, "_fields", ()))


def methods_of(cls) -> dict[str, object]:
    """Returns public methods, properties and operators that a class defines itself."""
    operators = re.compile(r"__(r?mul|truediv|add|sub|neg|pos|and|rand|or|rshift|lshift|bool|call|getitem|matmul)__")
    generated = {"_make", "_replace", "_asdict"}
    return {
        name: x
        for name, x in vars(cls).items()
        if (callable(x) or isinstance(x, property | classmethod | staticmethod))
        and type(x) is not cls
        and (operators.fullmatch(name) or not name.startswith("_"))
        and name not in generated
        and not isinstance(x, type)
    }


def undocumented_methods(cls) -> list[str]:
    found = []
    for name, x in methods_of(cls).items():
        if not (inspect.getdoc(getattr(x, "__func__", x)) or "").strip():
            found.append(f"{cls.__name__}.{name}")
    return found


def run_examples(name: str, docstring: str) -> tuple[int, str]:
    """Returns the number of examples in a docstring, and a report of those that fail."""
    test = doctest.DocTestParser().get_doctest(docstring, dict(EXAMPLES_SEE), name, None, 0)
    report: list[str] = []
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    doctest.DocTestRunner(optionflags=flags, verbose=False).run(test, out=report.append)
    return len(test.examples), "".join(report)


# The library.


@pytest.mark.parametrize("name", PUBLIC)
def test_summary(name):
    docstring = inspect.getdoc(PUBLIC[name]) or ""
    assert lacks_summary(docstring) == []


@pytest.mark.parametrize("name", FUNCTIONS)
def test_arguments(name):
    fn = FUNCTIONS[name]
    assert lacks_arguments(inspect.getdoc(fn) or "", parameters_of(fn)) == []


@pytest.mark.parametrize("name", FUNCTIONS)
def test_returns(name):
    assert lacks_section(inspect.getdoc(FUNCTIONS[name]) or "", "Returns") == []


@pytest.mark.parametrize("name", FUNCTIONS)
def test_raises(name):
    lacking = lacks_section(inspect.getdoc(FUNCTIONS[name]) or "", "Raises")
    assert lacking == (["Raises"] if name in CANNOT_RAISE else [])


@pytest.mark.parametrize("name", PUBLIC)
def test_source(name):
    lacking = lacks_source(inspect.getdoc(PUBLIC[name]) or "")
    assert lacking == [] or name in NEEDS_NO_SOURCE


@pytest.mark.parametrize("name", CLASSES)
def test_members(name):
    assert lacks_members(inspect.getdoc(CLASSES[name]) or "", members_of(CLASSES[name])) == []


@pytest.mark.parametrize("name", CLASSES)
def test_methods(name):
    assert undocumented_methods(CLASSES[name]) == []


@pytest.mark.parametrize("name", [name for name in PUBLIC if not name.startswith("experimental.")])
def test_examples(name):
    """Those of `experimental` run where TensorFlow is, see `tests/experimental`."""
    number, report = run_examples(name, inspect.getdoc(PUBLIC[name]) or "")
    assert report == ""
    assert number or name not in MUST_HAVE_EXAMPLES


@pytest.mark.parametrize("package", PACKAGES)
def test_help_of_packages_is_a_table_of_contents(package):
    """It names every public name, but those of packages within."""
    module = PACKAGES[package]
    text = inspect.getdoc(module) or ""
    assert lacks_summary(text) == []
    assert [name for name in module.__all__ if not re.search(rf"\b{name}\b", text) and name != "__version__"] == []


def test_exceptions_are_names_that_exist():
    assert CANNOT_RAISE | NEEDS_NO_SOURCE | set(MUST_HAVE_EXAMPLES) <= set(PUBLIC)
    assert CANNOT_RAISE <= set(FUNCTIONS)


# The checks.

GOOD = """Adds two numbers: `f(x, y) = x + y`.

    f = x + y.

Args:
  x, y: two numbers.
  **rest: ignored.

Returns:
  Their sum.

Raises:
  TypeError: they are none.

Example:
  >>> 1 + 2
  3

Source: Peano, 1889.
"""


def test_good_docstring_passes():
    assert lacks_summary(GOOD) == lacks_arguments(GOOD, {"x", "y", "rest"}) == lacks_source(GOOD) == []
    assert lacks_section(GOOD, "Returns") == lacks_section(GOOD, "Raises") == []
    assert run_examples("good", GOOD) == (1, "")


@pytest.mark.parametrize("summary", ["", "f(x, y)", "Adds two numbers and", "One line\nand a second one.", "Adds."])
def test_finds_missing_summaries(summary):
    assert len(lacks_summary(summary + "\n\nMore text.")) == 1


def test_finds_missing_arguments():
    assert lacks_arguments(GOOD, {"x", "y", "rest", "z"}) == ["argument z"]
    assert lacks_arguments(GOOD, {"x", "y"}) == ["no such argument: rest"]
    assert lacks_arguments("Adds.\n\nArgs:\n  x: a number.\n    y: not an entry.", {"x", "y"}) == ["argument y"]
    assert lacks_arguments("Adds `x` and `y`.", {"x", "y"}) == ["argument x", "argument y"]


@pytest.mark.parametrize("name", ["Returns", "Raises", "Source"])
def test_finds_missing_and_empty_sections(name):
    assert lacks_section(GOOD.replace(f"{name}:", f"{name}, "), name) == [name]
    assert lacks_section(f"Adds.\n\n{name}:\n\nExample:\n  >>> 1\n  1", name) == [name]


def test_finds_equations_without_a_source():
    assert lacks_source(GOOD.replace("Source:", "See")) == ["Source"]
    assert lacks_source("Adds two numbers, whose kernels add: `nngp' = nngp1 + nngp2`.") == ["Source"]
    assert lacks_source("Adds two numbers.\n\nArgs:\n  x: a number, say\n    x = 3.") == []


def test_finds_missing_members():
    @dataclasses.dataclass
    class Pair:
        first: int
        second: int

    class Choice(enum.Enum):
        LEFT = 1
        RIGHT = 2

    text = "A pair of things.\n\nAttributes:\n  first: one.\n  LEFT: that one.\n"
    assert lacks_members(text, members_of(Pair)) == ["attribute second"]
    assert lacks_members(text, members_of(Choice)) == ["attribute RIGHT"]


def test_finds_undocumented_methods():
    class Thing:
        def documented(self):
            """Says something."""

        def silent(self): ...

        def _private(self): ...

        def __call__(self): ...

        @property
        def value(self): ...

        @classmethod
        def create(cls): ...

    assert undocumented_methods(Thing) == ["Thing.silent", "Thing.__call__", "Thing.value", "Thing.create"]


def test_finds_failing_and_missing_examples():
    number, report = run_examples("bad", GOOD.replace("  3\n", "  4\n"))
    assert number == 1 and "Expected" in report
    assert run_examples("raising", "Example:\n  >>> 1 / 0\n  1\n")[1]
    assert run_examples("none", "Adds two numbers.") == (0, "")
