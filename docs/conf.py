"""Settings of the documentation site: `python -m sphinx -W --keep-going -b html docs docs/_build/html`."""

import os
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

import neural_tangents  # noqa: E402

project = "neural-tangents"
author = "the neural-tangents authors"
project_copyright = author
release = version = neural_tangents.__version__

# Where the repository is published: as the package says, or as the service that builds this says.
urls = tomllib.loads((HERE.parent / "pyproject.toml").read_text())["project"].get("urls", {})
built_from = [os.environ.get(name, "") for name in ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY")]
repository = urls.get("Repository") or ("/".join(built_from) if all(built_from) else None)

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "myst_nb",
    "sphinx_copybutton",
    "house_docstrings",
    "linked_names",
    "kernel_figures",
    "repository_links",
]
exclude_patterns = ["_build", "_ext", "_generated"]
nitpicky = True  # a reference that leads nowhere is a warning; the types of other libraries are elsewhere
nitpick_ignore_regex = [("py:(class|exc|data)", r"(?!neural_tangents\.).*")]
smartquotes_action = "D"  # dashes only: quotation marks around names are code

# Markdown.
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # notebooks are kept with their outputs; a page that is executed says so itself
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_merge_streams = True

# Reference.
autodoc_typehints = "none"  # signatures come from the source, as they are written
autodoc_member_order = "bysource"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_attr_annotations = False
maximum_signature_line_length = 80
add_module_names = False
toc_object_entries_show_parents = "hide"

# Appearance.
html_theme = "furo"
html_title = f"{project} {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_context = {"repository": repository}
if repository:
    html_theme_options = {"source_repository": repository, "source_branch": "main", "source_directory": "docs/"}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# Links out of the site: `python -m sphinx -b linkcheck docs docs/_build/linkcheck`.
linkcheck_timeout = 20
linkcheck_retries = 3
linkcheck_workers = 8
linkcheck_anchors_ignore_for_url = [r"https://github\.com/.*"]
linkcheck_ignore = [r"https://doi\.org/.*"]  # publishers refuse robots


def copy_notebooks() -> None:
    """Brings `notebooks/*.ipynb` of the repository into the sources, and makes the page that lists them."""
    target = HERE / "notebooks"
    target.mkdir(exist_ok=True)
    files = {path.name: path.read_text() for path in sorted((HERE.parent / "notebooks").glob("*.ipynb"))}
    names = [name.removesuffix(".ipynb") for name in files]
    toctree = "\n".join(["```{toctree}", ":maxdepth: 1", "", *names, "```"]) if names else "There are none yet."
    files["index.md"] = (
        f"# Notebooks\n\nExperiments, with what they gave. Each opens in Jupyter or Colab.\n\n{toctree}\n"
    )
    for stale in target.glob("*.ipynb"):
        if stale.name not in files:
            stale.unlink()
    for name, text in files.items():
        if not (target / name).exists() or (target / name).read_text() != text:
            (target / name).write_text(text)


copy_notebooks()
