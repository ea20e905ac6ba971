"""What the README and CONTRIBUTING say is true: their code runs, their commands and files exist."""

import re
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXTS = {
    name: (ROOT / name).read_text()
    for name in (
        "README.md",
        "CONTRIBUTING.md",
        "docs/architecture.md",
        "docs/inference.md",
        "docs/performance.md",
        "docs/recipes.md",
    )
}
FENCED = re.compile(r"^ *```(\S[^\n]*)\n(.*?)^ *```$", flags=re.MULTILINE | re.DOTALL)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "at_least"), [("README.md", 6), ("CONTRIBUTING.md", 4), ("docs/recipes.md", 6), ("docs/inference.md", 4)]
)
def test_snippets_run_in_order(name, at_least):
    """All Python blocks run, one after the other, as a reader would type them."""
    blocks = [block for block in FENCED.finditer(TEXTS[name]) if block[1] == "python"]
    assert len(blocks) >= at_least
    namespace: dict = {}
    for block in blocks:
        padding = "\n" * TEXTS[name].count("\n", 0, block.start(2))  # an error then shows its line of the document
        exec(compile(padding + textwrap.dedent(block[2]), str(ROOT / name), "exec"), namespace)


def test_set_up_is_two_commands():
    """There is one command for the example and one for the tests, each a line that makes its own environment."""
    blocks = [block for block in FENCED.finditer(TEXTS["README.md"]) if block[1].startswith("sh")]
    commands = {block[1]: block[2].splitlines() for block in blocks}
    assert len(blocks) == len(commands)
    assert set(commands) == {"sh run-example", "sh run-tests"}
    steps = {}
    for kind, lines in commands.items():
        assert len(lines) == 1
        make, install, steps[kind] = lines[0].split(" && ")
        assert make == "python3 -m venv .venv" and install.startswith(".venv/bin/pip install -e ")
    assert steps["sh run-tests"] == ".venv/bin/python -m pytest"
    interpreter, script = steps["sh run-example"].split()
    assert interpreter == ".venv/bin/python" and (ROOT / script).is_file()


@pytest.mark.parametrize("name", TEXTS)
def test_relative_links_lead_somewhere(name):
    """Files that a document links to exist."""
    prose = FENCED.sub("", TEXTS[name])
    links = [link for link in re.findall(r"\]\(([^)#]+)", prose) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / name).parent.joinpath(link).exists()] == []
