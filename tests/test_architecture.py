"""The structure of the code that must never slip: who may import whom, and which parts of jax are off limits.

Imports go down only:

    neural_tangents/__init__.py
      stax   predict   empirical   batching   experimental   typing     do not import each other
        _core
          _compat                                                       alone touches jax.extend and jax.interpreters

The checks take sources as data, `{module name: source text}`, so that each is also shown to catch what it forbids.
"""

import ast
import graphlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "neural_tangents"

# Height of each part of the library. A module imports from its own part and from lower ones. New parts go here.
HEIGHTS = {
    "": 3,
    "stax": 2,
    "predict": 2,
    "empirical": 2,
    "batching": 2,
    "experimental": 2,
    "typing": 2,
    "_core": 1,
    "_compat": 0,
}

# Where the parts of jax without a promise of stability may be used; `None` is nowhere.
RESTRICTED = {"jax._src": None, "jax.extend": f"{PACKAGE}._compat", "jax.interpreters": f"{PACKAGE}._compat"}

Sources = Mapping[str, str]


def read_sources(folder: Path) -> tuple[dict[str, str], set[str]]:
    """Returns `{module name: source}` of every file under `folder`, and which of these modules are packages."""
    sources, packages = {}, set()
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder.parent).with_suffix("").parts
        if parts[-1] == "__init__":
            parts = parts[:-1]
            packages.add(".".join(parts))
        sources[".".join(parts)] = path.read_text()
    return sources, packages


def is_within(name: str, prefix: str) -> bool:
    """Returns whether a dotted name is `prefix` or lies below it."""
    return name == prefix or name.startswith(prefix + ".")


def imported_names(module: str, is_package: bool, source: str) -> Iterator[str]:
    """Yields every dotted name that a module imports, at any depth of its code, with relative ones resolved."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = module.split(".") if is_package else module.split(".")[:-1]
            base = parents[: len(parents) - node.level + 1] if node.level else []
            origin = ".".join([*base, *filter(None, [node.module])])
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def import_graph(sources: Sources, packages: set[str]) -> dict[str, set[str]]:
    """Returns which modules of `sources` each of them imports."""
    graph: dict[str, set[str]] = {}
    for module, source in sources.items():
        graph[module] = set()
        for name in imported_names(module, module in packages, source):
            if not is_within(name, PACKAGE):
                continue
            while name not in sources and "." in name:  # `from module import thing` imports the module
                name = name.rpartition(".")[0]
            graph[module].add(name)
    return graph


def part_of(module: str) -> str:
    """Returns the part of the library a module belongs to: `"stax"` for `neural_tangents.stax._dense`."""
    return [*module.split("."), ""][1]


def find_upward_imports(graph: Mapping[str, set[str]]) -> list[str]:
    """Returns imports that go up, or sideways from one package to its neighbour, and modules that have no place."""
    found = [f"{m}: '{part_of(m)}' is not in HEIGHTS" for m in graph if part_of(m) not in HEIGHTS]
    for module, targets in graph.items():
        for target in targets:
            here, there = part_of(module), part_of(target)
            if here != there and HEIGHTS.get(here, 0) <= HEIGHTS.get(there, 0):
                found.append(f"{module} imports {target}, which is not below it")
    return found


def find_private_imports(graph: Mapping[str, set[str]]) -> list[str]:
    """Returns imports of a private module `_x` from outside the part of the library that `_x` lies in."""
    found = []
    for module, targets in graph.items():
        for target in targets:
            is_private = any(name.startswith("_") for name in target.split(".")[2:])
            if is_private and part_of(module) != part_of(target):
                found.append(f"{module} imports {target}, which is private")
    return found


def find_cycle(graph: Mapping[str, set[str]]) -> list[str]:
    """Returns the modules along one import cycle, or an empty list."""
    try:
        graphlib.TopologicalSorter({m: targets - {m} for m, targets in graph.items()}).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return []


def find_restricted_jax(sources: Sources, packages: set[str]) -> list[str]:
    """Returns uses, by import or by attribute, of parts of jax that the module may not use."""
    found = []
    for module, source in sources.items():
        tree = ast.parse(source)
        attributes = {ast.unparse(n) for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
        names = attributes.union(imported_names(module, module in packages, source))
        for part, home in RESTRICTED.items():
            if module != home and any(is_within(name, part) for name in names):
                found.append(f"{module} uses {part}")
    return found


def find_code_in_init(sources: Sources, packages: set[str]) -> list[str]:
    """Returns statements of `__init__` files that do more than export."""
    found = []
    for package in sorted(packages):
        for node in ast.parse(sources[package]).body:
            is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            is_listing = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in ("__all__", "__version__")
            if not (is_docstring or is_listing or isinstance(node, ast.Import | ast.ImportFrom)):
                found.append(f"{package}/__init__.py line {node.lineno}: {type(node).__name__}")
    return found


# The library.


@pytest.fixture(scope="module")
def library():
    sources, packages = read_sources(ROOT / PACKAGE)
    assert {PACKAGE, f"{PACKAGE}.stax", f"{PACKAGE}.predict", f"{PACKAGE}._core"} <= packages
    return sources, packages


def test_imports_go_down_only(library):
    assert find_upward_imports(import_graph(*library)) == []


def test_private_modules_stay_private(library):
    assert find_private_imports(import_graph(*library)) == []


def test_no_import_cycles(library):
    assert find_cycle(import_graph(*library)) == []


def test_init_files_only_export(library):
    assert find_code_in_init(*library) == []


@pytest.mark.parametrize("folder", [PACKAGE, "tests", "examples", "benchmarks"])
def test_only_stable_jax(folder):
    assert find_restricted_jax(*read_sources(ROOT / folder)) == []


# The checks.


def synthetic(**modules: str) -> tuple[dict[str, str], set[str]]:
    """Returns sources from `stax___dense="..."`, named without `neural_tangents.` and with `__` for a dot."""
    sources = {PACKAGE: "", **{f"{PACKAGE}.{name.replace('__', '.')}": text for name, text in modules.items()}}
    return sources, {name for name in sources if any(other.startswith(name + ".") for other in sources)}


@pytest.mark.parametrize(
    "statement",
    [
        "from neural_tangents import predict",
        "from neural_tangents.predict import f",
        "import neural_tangents.predict.gp",
        "import neural_tangents",
        "from .. import predict",
        "from ..predict.gp import f",
        "def late():\n    from neural_tangents.predict import gp",
    ],
)
def test_finds_imports_sideways_and_up(statement):
    sources = synthetic(stax="", stax__dense=statement, predict="", predict__gp="")
    assert len(find_upward_imports(import_graph(*sources))) == 1


def test_finds_imports_from_core_and_parts_without_a_place():
    assert find_upward_imports(import_graph(*synthetic(_core="", _core__a="from neural_tangents import stax", stax="")))
    assert find_upward_imports(import_graph(*synthetic(utils="")))


def test_accepts_imports_downwards_and_within_a_part():
    sources = synthetic(
        stax="from neural_tangents.stax._dense import Dense",
        stax___dense="from neural_tangents._core.axes import zip_axes\nfrom . import _other\nimport numpy, jax",
        stax___other="from .._core import axes",
        _core="",
        _core__axes="from neural_tangents import _compat",
        _compat="",
    )
    graph = import_graph(*sources)
    assert graph["neural_tangents.stax._dense"] == {"neural_tangents._core.axes", "neural_tangents.stax._other"}
    assert graph["neural_tangents._core.axes"] == {"neural_tangents._compat"}
    assert find_upward_imports(graph) == find_private_imports(graph) == find_cycle(graph) == []


def test_finds_imports_of_private_modules():
    sources = synthetic(
        stax="from neural_tangents.stax._dense import Dense",
        stax___dense="from neural_tangents._core import _secret\nfrom neural_tangents.predict._gp import infer",
        predict="",
        predict___gp="from neural_tangents._core import axes",
        _core="",
        _core__axes="",
        _core___secret="",
    )
    assert len(find_private_imports(import_graph(*sources))) == 2


def test_finds_cycles():
    ring = {"_core__a": "from . import b", "_core__b": "from . import c", "_core__c": "def f():\n    from . import a"}
    assert len(find_cycle(import_graph(*synthetic(_core="", **ring)))) == 4
    assert not find_cycle(import_graph(*synthetic(_core="", **{**ring, "_core__c": ""})))
    through_init = synthetic(_core="from .a import f", _core__a="from neural_tangents._core import g")
    assert find_cycle(import_graph(*through_init))


@pytest.mark.parametrize(
    "statement",
    [
        "import jax._src.core",
        "from jax._src import core",
        "from jax import _src",
        "import jax\njax._src.core.f()",
        "import jax.extend as jex",
        "from jax.extend.core import Primitive",
        "from jax.interpreters import partial_eval",
        "import jax\nx = jax.extend.core.Literal",
    ],
)
def test_finds_restricted_parts_of_jax(statement):
    assert len(find_restricted_jax(*synthetic(stax=statement))) == 1


def test_compat_alone_may_use_the_semi_public_parts_of_jax():
    assert not find_restricted_jax(*synthetic(_compat="import jax.extend.core\nfrom jax.interpreters import ad"))
    assert find_restricted_jax(*synthetic(_compat="import jax._src"))
    assert not find_restricted_jax(*synthetic(stax="import jax.numpy as jnp\njnp.extend\nfrom jax.scipy import linalg"))


@pytest.mark.parametrize("statement", ["x = 1", "def f(): pass", "if True:\n    import a", "f()", "class A: pass"])
def test_finds_code_in_init_files(statement):
    allowed = '"""Doc."""\nfrom .a import b\nimport c\n__all__ = ("b",)\n__version__ = "1"\n'
    assert not find_code_in_init(*synthetic(stax=allowed, stax__a=statement))
    assert len(find_code_in_init(*synthetic(stax=allowed + statement, stax__a=""))) == 1
