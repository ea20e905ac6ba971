"""What is released: its name, version and extras are the same wherever they are written, and nothing is left out."""

import importlib.util
import re
import tomllib
from pathlib import Path

import pytest

import neural_tangents as nt

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
TEXTS = [
    path
    for folder in ("neural_tangents", "docs", "examples", "notebooks", "benchmarks", ".")
    for suffix in ("py", "md", "toml")
    for path in (ROOT.glob(f"*.{suffix}") if folder == "." else (ROOT / folder).rglob(f"*.{suffix}"))
    if "_build" not in path.parts
]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def test_extras_that_texts_name_exist():
    """`neural-tangents[...]` would install the archived library."""
    named = [match for path in TEXTS for match in re.findall(r"(neural-tangents[\w-]*)\[([\w, ]+)\]", path.read_text())]
    assert {name for name, _ in named} == {PROJECT["name"]} == {"neural-tangents-jax"}
    extras = {extra.strip() for _, several in named for extra in several.split(",")}
    assert {"store", "tensorflow"} <= extras <= set(EXTRAS)


def test_version_of_the_citation():
    citation = (ROOT / "CITATION.cff").read_text()
    assert re.findall(r"^version: (.+)$", citation, re.MULTILINE) == [nt.__version__]
    assert re.findall(r"^license: (.+)$", citation, re.MULTILINE) == [PROJECT["license"]]


def test_release_finds_the_version():
    """The release compares it with the tag in this form, and the build reads it without an import."""
    assert f'__version__ = "{nt.__version__}"' in (ROOT / "neural_tangents" / "__init__.py").read_text().splitlines()


def test_every_folder_of_the_library_is_a_package():
    """The build takes packages only."""
    folders = {path.parent for path in (ROOT / "neural_tangents").rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []
    assert (ROOT / "neural_tangents" / "py.typed").is_file()


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_run_what_is_there(path):
    text = path.read_text()
    scripts = re.findall(r"(?<![\w/])(\.ci/\w+)", text)
    assert [script for script in scripts if not (ROOT / script).stat().st_mode & 0o100] == []
    if importlib.util.find_spec("yaml"):
        import yaml

        jobs = yaml.safe_load(text)["jobs"]
        assert all(job["runs-on"] == "ubuntu-latest" and job["timeout-minutes"] <= 60 for job in jobs.values())


def test_supported_versions_are_tested():
    matrix = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    supported = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    assert re.search(r'python: \[(".*")\]', matrix)[1] == ", ".join(f'"{version}"' for version in supported)
    (oldest,) = [re.fullmatch(r"jax>=(.+)", item)[1] for item in PROJECT["dependencies"] if item.startswith("jax>=")]
    assert f"jax=={oldest}.0\\n" in matrix
    assert PROJECT["requires-python"] == f">={supported[0]}"
