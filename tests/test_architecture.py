"""The structure of the code that must never slip: who may import whom, rooms, names, and what of jax is off limits.

Imports go down only, never up, and never sideways from one part to its neighbour:

    neural_tangents/__init__.py                              4
      _src   experimental   estimators   tracing             3
        typing   stax   predict   empirical   batching       2
          _core                                              1
            _compat                                          0   alone touches jax.extend and jax.interpreters

The checks take sources as data, `{module name: source text}`, so that each is also shown to catch what it forbids.
"""

import ast
import graphlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "neural_tangents"

# Height of each part of the library. A module imports from its own part and from lower ones. New parts go here.
HEIGHTS = {
    "": 4,
    **dict.fromkeys(["_src", "experimental", "estimators", "tracing"], 3),
    **dict.fromkeys(["typing", "stax", "predict", "empirical", "batching"], 2),
    "_core": 1,
    "_compat": 0,
}

# Exports, under the paths that old programs import, what is elsewhere: so its files have the names that they had in the
# archived library, which others have here too, and a few of the things that it exports are private.
OLD_PATHS = "_src"

# Lines of a file, and of a function without its docstring.
LONGEST_FILE, LONGEST_FUNCTION = 400, 60
# Longer functions, each with the reason why it holds one idea.
LONG_FUNCTIONS = {
    f"{PACKAGE}.stax._layers.attention.self_attention.GlobalSelfAttention": "a line or two for each of 19 arguments",
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
        for target in targets if part_of(module) != OLD_PATHS else ():
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
            is_import = isinstance(node, ast.Import | ast.ImportFrom)
            if isinstance(node, ast.If) and ast.unparse(node.test) == "not TYPE_CHECKING":
                is_import = all(isinstance(inner, ast.ImportFrom) for inner in [*node.body, *node.orelse])
            if not (is_docstring or is_listing or is_import):
                found.append(f"{package}/__init__.py line {node.lineno}: {type(node).__name__}")
    return found


def find_equal_file_names(sources: Sources, packages: set[str]) -> list[str]:
    """Returns base names that two files share, but for a leading underscore."""
    modules: dict[str, list[str]] = {}
    for module in sources:
        if module not in packages and part_of(module) != OLD_PATHS:
            modules.setdefault(module.rpartition(".")[2].lstrip("_"), []).append(module)
    return [f"{' and '.join(equal)} have the same file name" for equal in modules.values() if len(equal) > 1]


def find_badly_named_files(sources: Sources, packages: set[str]) -> list[str]:
    """Returns files of a private room with an underscore, which is the room's, and other ones of a package without."""
    found = []
    for module in sources:
        *rooms, name = module.split(".")[1:] or [""]
        if module in packages or len(rooms) == 0:
            continue
        is_private_room = any(room.startswith("_") for room in rooms)
        if is_private_room == name.startswith("_"):
            found.append(f"{module}: files of a private room carry no underscore, other private files do")
    return found


def find_rooms_without_a_purpose(sources: Sources, packages: set[str]) -> list[str]:
    """Returns packages whose `__init__` does not say what they are for."""
    return [package for package in sorted(packages) if not ast.get_docstring(ast.parse(sources[package]))]


def length(function: ast.FunctionDef) -> int:
    """Returns the number of lines of a function, without its docstring and those of functions inside it."""
    lines = set(range(function.lineno, function.end_lineno + 1))
    for node in ast.walk(function):
        if isinstance(node, ast.FunctionDef) and ast.get_docstring(node) is not None:
            lines -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return len(lines)


def find_long_code(sources: Sources, exceptions: Collection[str] = ()) -> list[str]:
    """Returns files and functions that are longer than they may be, and exceptions that are none."""
    found, long_functions = [], set()
    for module, source in sources.items():
        if source.count("\n") > LONGEST_FILE:
            found.append(f"{module} has more than {LONGEST_FILE} lines")
        functions = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef))
        long_functions |= {f"{module}.{node.name}" for node in functions if length(node) > LONGEST_FUNCTION}
    return found + sorted(long_functions ^ set(exceptions))


def rooms_of(folder: Path, test_files: bool) -> set[str]:
    """Returns the folders with Python files (or with tests) below `folder`, without underscores."""
    files = folder.rglob("test_*.py" if test_files else "*.py")
    return {"/".join(part.lstrip("_") for part in path.parent.relative_to(folder).parts) for path in files}


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


def test_file_names_are_unique(library):
    assert find_equal_file_names(*library) == []


def test_file_names_say_what_is_private(library):
    assert find_badly_named_files(*library) == []


def test_rooms_say_what_they_are_for(library):
    assert find_rooms_without_a_purpose(*library) == []


def test_nothing_is_long(library):
    assert find_long_code(library[0], LONG_FUNCTIONS) == []


def test_tests_follow_the_tree():
    """Folders of tests are rooms of the library, but for a few that test across rooms."""
    across = {"notebooks", "papers", "parity", "typing"}
    assert rooms_of(ROOT / "tests", True) - rooms_of(ROOT / PACKAGE, False) == across


@pytest.mark.parametrize("folder", [PACKAGE, "tests", "examples", "notebooks", "benchmarks"])
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


def test_finds_equal_and_badly_named_files():
    named = synthetic(stax="", stax___dense="", stax___layers="", stax___layers__pool="", predict="", predict___gp="")
    assert find_equal_file_names(*named) == find_badly_named_files(*named) == []
    assert (
        len(find_equal_file_names(*synthetic(stax="", stax___dense="", stax___layers="", stax___layers__dense=""))) == 1
    )
    assert len(find_badly_named_files(*synthetic(stax="", stax___layers="", stax___layers___pool=""))) == 1
    assert len(find_badly_named_files(*synthetic(stax="", stax__dense=""))) == 1


def test_old_paths_have_old_names():
    named = synthetic(_src="", _src__kernel="from neural_tangents.stax._dense import f", _core="", _core__kernel="")
    assert find_equal_file_names(*named) == find_private_imports(import_graph(*named)) == []
    assert find_upward_imports(import_graph(*synthetic(stax="from neural_tangents._src import kernel", _src="")))


def test_finds_rooms_without_a_purpose():
    assert find_rooms_without_a_purpose(*synthetic(stax="", stax___dense="")) == [PACKAGE, f"{PACKAGE}.stax"]


def test_finds_long_code():
    doc = '    "' + "-\\\n" * 99 + '"\n'
    short, long = ("def f():\n" + doc + "    x = 1\n" * n for n in (59, 60))
    assert find_long_code(synthetic(stax=short)[0]) == []
    assert find_long_code(synthetic(stax=long)[0]) == [f"{PACKAGE}.stax.f"]
    assert len(find_long_code(synthetic(stax="\n" * 401)[0])) == 1


@pytest.mark.parametrize("statement", ["x = 1", "def f(): pass", "if True:\n    import a", "f()", "class A: pass"])
def test_finds_code_in_init_files(statement):
    allowed = '"""Doc."""\nfrom .a import b\nimport c\n__all__ = ("b",)\n__version__ = "1"\n'
    allowed += "if not TYPE_CHECKING:\n    from .a import d\nelse:\n    from .a import e\n"
    assert not find_code_in_init(*synthetic(stax=allowed, stax__a=statement))
    assert len(find_code_in_init(*synthetic(stax=allowed + statement, stax__a=""))) == 1
