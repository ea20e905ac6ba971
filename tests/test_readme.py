"""What the README, CONTRIBUTING and docs say is true: their code runs, their commands and files exist."""

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from sweeps import mostly_slow

ROOT = Path(__file__).parents[1]
GENERATED = {"notebooks"}  # parts of the site that are made when it is built
PAGES = [
    path.relative_to(ROOT).as_posix()
    for path in sorted((ROOT / "docs").rglob("*.md"))
    if path.relative_to(ROOT).parts[1] not in GENERATED | {"_build"}
]
TEXTS = {name: (ROOT / name).read_text() for name in ["README.md", "CONTRIBUTING.md", *PAGES]}
FENCED = re.compile(r"^ *```(\S[^\n]*)\n(.*?)^ *```$", flags=re.MULTILINE | re.DOTALL)


def python_blocks(text: str) -> list[re.Match[str]]:
    """Returns blocks that are meant to run where they stand; others name a file, or say that they do not run."""
    return [block for block in FENCED.finditer(text) if block[1] in ("python", "{code-cell} python")]


AT_LEAST = {
    "README.md": 6,
    "CONTRIBUTING.md": 4,
    "docs/big_kernels.md": 7,
    "docs/inference.md": 4,
    "docs/recipes.md": 6,
}


def test_pages_have_code():
    assert {name for name, number in AT_LEAST.items() if len(python_blocks(TEXTS[name])) < number} == set()
    sections = ("docs/concepts/", "docs/howto/", "docs/tutorial.md")
    silent = [name for name in PAGES if name.startswith(sections) and not python_blocks(TEXTS[name])]
    assert silent == ["docs/concepts/index.md", "docs/howto/index.md"]


# Building the site executes cells. Here, they would run for minutes, as tests compile without optimisation.
RUN_HERE = [name for name, text in TEXTS.items() if python_blocks(text) and "```{code-cell}" not in text]


@pytest.mark.parametrize("name", mostly_slow(RUN_HERE, ["README.md"]))
def test_snippets_run_in_order(name, tmp_path, monkeypatch):
    """All Python blocks run, one after the other, as a reader would type them, in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")  # figures are drawn, and not shown
    namespace: dict = {}
    for block in python_blocks(TEXTS[name]):
        padding = "\n" * TEXTS[name].count("\n", 0, block.start(2))  # an error then shows its line of the document
        code = re.sub(r"\A:tags:.*", "", textwrap.dedent(block[2]))
        exec(compile(padding + code, str(ROOT / name), "exec"), namespace)


# Variables of a process that Slurm has started: the second job of an array of two.
SLURM = {
    **{"SLURM_JOB_ID": "1", "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": "1", "SLURM_PROCID": "0"},
    **{"SLURM_LOCALID": "0", "SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_TASK_COUNT": "2"},
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "printed"), [("several_hosts.py", ""), ("fill.py", "5 of 10 tiles"), ("on_dask.py", "10 of 10 tiles")]
)
def test_scripts_run(script, printed, tmp_path, four_devices):
    """Python blocks with the name of a file are whole scripts."""
    if script == "on_dask.py":
        pytest.importorskip("distributed")
    (text,) = [block[2] for block in FENCED.finditer(TEXTS["docs/big_kernels.md"]) if block[1] == f"python {script}"]
    (tmp_path / script).write_text(text)
    environment = {**four_devices, **SLURM, "PYTHONPATH": str(ROOT)}
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
    assert steps["sh run-tests"] == ".venv/bin/python -m pytest -n 2"
    interpreter, script = steps["sh run-example"].split()
    assert interpreter == ".venv/bin/python" and (ROOT / script).is_file()


@pytest.mark.parametrize("name", TEXTS)
def test_relative_links_lead_somewhere(name):
    """Files that a document links to exist."""
    prose = FENCED.sub("", TEXTS[name])
    links = [link for link in re.findall(r"\]\(([^)#]+)", prose) if "://" not in link]
    links = [link for link in links if link.partition("/")[0] not in GENERATED]
    assert [link for link in links if not (ROOT / name).parent.joinpath(link).exists()] == []
