"""Executes notebooks, which are kept as text in `NAME.py`, and writes them with their outputs to `NAME.ipynb`.

python notebooks/execute.py            # all
python notebooks/execute.py cookbook   # some
"""

import argparse
import time
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent
FORMAT = {"extension": ".py", "format_name": "percent", "comment_magics": True}  # `# %pip` is `%pip`
KERNEL = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}


def names():
    """Returns the names of all notebooks."""
    return sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != Path(__file__).stem)


def read(name):
    """Returns the notebook of `NAME.py`, without outputs. Cells have the same ids each time."""
    notebook = jupytext.read(FOLDER / f"{name}.py", fmt=FORMAT)
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"
    notebook.metadata = nbformat.from_dict(KERNEL)
    return notebook


def execute(notebook, folder):
    """Runs all cells of a notebook in a process of its own, in `folder`, and puts their outputs into the notebook."""
    settings = {"timeout": 600, "record_timing": False, "extra_arguments": ["--log-level=ERROR"]}
    NotebookClient(notebook, resources={"metadata": {"path": str(folder)}}, **settings).execute()
    notebook.metadata.language_info = nbformat.from_dict({"name": "python"})


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", default=names(), help="by default all")
    for name in parser.parse_args().names:
        start, notebook = time.perf_counter(), read(name)
        execute(notebook, FOLDER)
        nbformat.write(notebook, FOLDER / f"{name}.ipynb")
        size = (FOLDER / f"{name}.ipynb").stat().st_size
        print(f"{name}: {time.perf_counter() - start:.0f} s, {size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
