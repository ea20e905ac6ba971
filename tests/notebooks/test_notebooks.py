"""Every notebook runs at small sizes, and is kept as text and, executed, with the same cells and with outputs."""

import importlib.util
import os
import re
import sys
import tomllib
import types
from pathlib import Path

import jupytext
import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "notebooks"

# Sizes of the cell tagged `parameters`, for which the notebook runs fast.
SMALL = {
    "big_kernels": {"N_TRAIN": 120, "N_TEST": 60, "TILE": 30, "SIZES": [60]},
    "cookbook": {"WIDTH": 64, "MEMBERS": 20, "STEPS": 200, "GRID": 20},
    "elementwise_nonlinearities": {"N_ANGLES": 13, "DEGREES": [32], "N_TRAIN": 60, "N_TEST": 40},
    "empirical_ntk_fcn": {"N_IMAGES": 8, "WIDTHS": [16, 64, 256], "DRAWS": 8, "TIMED_WIDTH": 32, "STEPS": 50},
    "empirical_ntk_resnet": {"N_CLASSES": 2, "N_TRAIN": 8, "N_TEST": 10, "N_TIMED": 4, "CHANNELS": 4, "STEPS": 40},
    "estimators": {"N_CURVE": 15, "DEPTHS": [1, 2], "N_DIGITS": 100, "N_FEATURES": 10, "N_LEARNED": 250},
    "function_space_linearization": {"N_TRAIN": 12, "N_TEST": 12, "WIDTH": 256, "STEPS": 100},
    "influence": {"N_POINTS": 20, "N_TRAIN": 300, "N_TEST": 100},
    "learning_curves": {"N_SPHERE": 120, "DRAWS": 8, "N_IMAGES": 300, "SIZES": [50, 150]},
    "lifted_flax_cnn": {"TRAIN_SIZES": [20], "N_TEST": 20, "N_TRAINED": 8, "WIDTH": 64, "MEMBERS": 8, "STEPS": 20},
    "marginal_likelihood": {"N_POINTS": 30, "STEPS": 60, "GRID": 8, "SIDE": 16, "N_PIXELS": 100, "DEPTHS": [1, 2]},
    "myrtle_kernels": {"TRAIN_SIZES": [10, 30], "N_TEST": 30, "SIDES": [4, 8], "COUNTS": [1]},
    "phase_diagram": {"GRID": 30, "DEPTH": 100, "N_IMAGES": 30, "IMAGE_DEPTHS": [1, 8, 64], "N_WEIGHTS": 4},
    "weight_space_linearization": {"N_TRAIN": 60, "N_TEST": 100, "STEPS": 40, "WIDTHS": [32, 128, 512]},
}


@pytest.fixture(scope="module")
def script():
    """The module `notebooks/execute.py`."""
    spec = importlib.util.spec_from_file_location("execute_notebooks", FOLDER / "execute.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def with_sizes(notebook, sizes):
    """Replaces the assignments in the cell tagged `parameters`."""
    (cell,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    names = re.findall(r"^(\w+) = ", cell.source, flags=re.MULTILINE)
    assert names == list(sizes), "the table of small sizes has all names of the cell, in its order"
    cell.source = "\n".join(f"{name} = {value}" for name, value in sizes.items())


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_runs(script, name, tmp_path, monkeypatch):
    notebook = script.read(name)
    with_sizes(notebook, SMALL[name])
    first = nbformat.v4.new_code_cell("import warnings\n\nwarnings.simplefilter('error')")
    last = nbformat.v4.new_code_cell("warnings.resetwarnings()")  # what ends the process is not ours
    notebook.cells = [first, *notebook.cells, last]
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]))
    script.execute(notebook, tmp_path)
    printed = [output for cell in code_cells(notebook) for output in cell.outputs if output.output_type == "stream"]
    assert [output.text for output in printed if output.name == "stderr"] == []


def test_all_notebooks_are_listed(script):
    executed = sorted(path.stem for path in FOLDER.glob("*.ipynb"))
    assert script.names() == executed == sorted(SMALL)
    listed = re.findall(r"\((\w+)\.ipynb\)", (FOLDER / "README.md").read_text())
    assert sorted(listed) == executed


@pytest.mark.parametrize("name", SMALL)
def test_text_and_executed_notebook_have_the_same_cells(script, name):
    text, executed = script.read(name), jupytext.read(FOLDER / f"{name}.ipynb")
    parts = [[(cell.cell_type, cell.source, cell.metadata.get("tags")) for cell in n.cells] for n in (text, executed)]
    assert parts[0] == parts[1], f"run `python notebooks/execute.py {name}`"


@pytest.mark.parametrize("name", SMALL)
def test_was_executed_in_order_without_errors_and_has_plots(name):
    path = FOLDER / f"{name}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert {output.output_type for output in outputs} <= {"stream", "display_data", "execute_result"}
    assert all(output.name == "stdout" for output in outputs if output.output_type == "stream")
    plots = [output for output in outputs if "image/png" in output.get("data", {})]
    explanations = sum(cell.source.count("**What to see.**") for cell in notebook.cells)
    assert len(plots) >= 2 and explanations >= 2
    assert path.stat().st_size < 400_000


@pytest.mark.parametrize("name", SMALL)
def test_has_one_title(script, name):
    cells = script.read(name).cells
    headings = [line for c in cells if c.cell_type == "markdown" for line in c.source.splitlines() if line[:1] == "#"]
    assert cells[0].source.startswith("# ")
    assert [heading.split()[0] for heading in headings] == ["#"] + ["##"] * (len(headings) - 1)


@pytest.mark.parametrize("name", SMALL)
def test_installs_the_library_where_it_is_missing(script, name, monkeypatch):
    first, *_ = code_cells(script.read(name))
    source = TransformerManager().transform_cell(first.source)
    distribution = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["name"]
    commands = []

    def run_line_magic(magic, line):
        commands.append(f"{magic} {line}")
        monkeypatch.undo()

    shell = types.SimpleNamespace(run_line_magic=run_line_magic)
    exec(source, {"get_ipython": lambda: shell})
    assert commands == []
    monkeypatch.setitem(sys.modules, "neural_tangents", None)  # importing it is an ImportError
    exec(source, {"get_ipython": lambda: shell})
    assert commands == [f'pip install -q "{distribution}[notebooks,store]"']
