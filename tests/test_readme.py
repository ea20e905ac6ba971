"""What the README and CONTRIBUTING say is true: their code runs, their commands and files exist."""

import os
import re
import subprocess
import sys
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
        "docs/big_kernels.md",
        "docs/inference.md",
        "docs/performance.md",
        "docs/recipes.md",
    )
}
FENCED = re.compile(r"^ *```(\S[^\n]*)\n(.*?)^ *```$", flags=re.MULTILINE | re.DOTALL)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "at_least"),
    [
        ("README.md", 6),
        ("CONTRIBUTING.md", 4),
        ("docs/big_kernels.md", 7),
        ("docs/inference.md", 4),
        ("docs/recipes.md", 6),
    ],
)
def test_snippets_run_in_order(name, at_least, tmp_path, monkeypatch):
    """All Python blocks run, one after the other, as a reader would type them, in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    blocks = [block for block in FENCED.finditer(TEXTS[name]) if block[1] == "python"]
    assert len(blocks) >= at_least
    namespace: dict = {}
    for block in blocks:
        padding = "\n" * TEXTS[name].count("\n", 0, block.start(2))  # an error then shows its line of the document
        exec(compile(padding + textwrap.dedent(block[2]), str(ROOT / name), "exec"), namespace)


# Variables of a process that Slurm has started: the second job of an array of two.
SLURM = {
    **{"SLURM_JOB_ID": "1", "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": "1", "SLURM_PROCID": "0"},
    **{"SLURM_LOCALID": "0", "SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_TASK_COUNT": "2"},
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "printed"), [("several_hosts.py", ""), ("fill.py", "5 of 10 tiles"), ("on_dask.py", "10 of 10 tiles")]
)
def test_scripts_run(script, printed, tmp_path):
    """Python blocks with the name of a file are whole scripts."""
    if script == "on_dask.py":
        pytest.importorskip("distributed")
    (text,) = [block[2] for block in FENCED.finditer(TEXTS["docs/big_kernels.md"]) if block[1] == f"python {script}"]
    (tmp_path / script).write_text(text)
    flags = "--xla_force_host_platform_device_count=4"
    environment = {**os.environ, **SLURM, "XLA_FLAGS": flags, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and printed in done.stdout, done.stderr[-3000:]


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
