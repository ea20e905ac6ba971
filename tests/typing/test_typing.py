"""What users write is checked as they check it: right uses pass, wrong ones are found, and right ones run.

Each wrong line ends in a comment `# error: what is wrong`, and each of two type checkers, in its strict mode, has to
find an error in every such line and in no other.
"""

import importlib.util
import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import jax
import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RIGHT, WRONG = sorted(HERE.glob("right*.py")), sorted(HERE.glob("wrong*.py"))

Errors = dict[tuple[str, int], str]


def run_module(*arguments: str) -> str:
    """Runs `python -m` and returns what it prints; exits with status 1 say that there are errors in the files."""
    done = subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


def mypy(folder: Path) -> Errors:
    """Errors of mypy by file and line. The library is read as installed: its own errors are not the user's."""
    settings = folder / "mypy.ini"
    settings.write_text("[mypy]\nstrict = True\nfollow_imports = silent\n")
    files = [str(path) for path in (*RIGHT, *WRONG)]
    options = ["--config-file", str(settings), "--cache-dir", str(folder / "cache"), "--output", "json"]
    found = map(json.loads, run_module("mypy", *options, *files).splitlines())
    return {(Path(e["file"]).name, e["line"]): e["message"] for e in found if e["severity"] == "error"}


def pyright(folder: Path) -> Errors:
    """Errors of pyright by file and line."""
    settings = folder / "pyrightconfig.json"
    files = [os.path.relpath(path, folder) for path in (*RIGHT, *WRONG)]
    settings.write_text(json.dumps({"include": files, "extraPaths": [str(ROOT)], "typeCheckingMode": "strict"}))
    options = ["--project", str(settings), "--pythonpath", sys.executable, "--outputjson"]
    found = json.loads(run_module("basedpyright", *options))["generalDiagnostics"]
    return {
        (Path(e["file"]).name, e["range"]["start"]["line"] + 1): e["message"] for e in found if e["severity"] == "error"
    }


def marked() -> Errors:
    """What is wrong, by file and line, as the files say."""
    return {
        (path.name, number): comment[1]
        for path in WRONG
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if (comment := re.search(r"# error: (.+)", line))
    }


@pytest.mark.slow
@pytest.mark.skipif("PIP_CONSTRAINT" in os.environ, reason="annotations differ between releases of jax")
@pytest.mark.parametrize(("checker", "module"), [(mypy, "mypy"), (pyright, "basedpyright")])
def test_wrong_lines_and_no_others_are_found(checker, module, tmp_path):
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    found, wrong = checker(tmp_path), marked()
    assert {place: found[place] for place in found.keys() - wrong.keys()} == {}
    assert {place: wrong[place] for place in wrong.keys() - found.keys()} == {}


@pytest.mark.parametrize("path", RIGHT, ids=lambda path: path.name)
def test_right_uses_run(path):
    """Traced, which takes no time to compile."""

    def run() -> None:
        runpy.run_path(str(path))

    jax.eval_shape(run)


def test_there_are_right_and_wrong_uses():
    assert RIGHT and len(marked()) > 20
