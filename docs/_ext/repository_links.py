"""Links of pages to files of the repository: to other pages of the site, or to where the repository is published.

Pages link as they have to where the repository is browsed: `../examples/x.py`. On the site, files outside of `docs` are
at `html_context["repository"]`; if that is not known, the text stays and the link goes.
"""

import os
import re
from pathlib import Path
from typing import Any

LINK = re.compile(r"(?<!!)\[([^\]\[]*)\]\(((?:\.\.?/)+[\w./-]+)(#[\w-]+)?\)")


def rewritten(text: str, folder: Path, shown_in: Path, site: Path, repository: str | None) -> str:
    """A page with links as they are on the site.

    Args:
      text: the source of a page, or of a notebook.
      folder: the folder of the repository that its links start from.
      shown_in: the folder of the site that it is shown in.
      site: the folder `docs`.
      repository: where the repository is published.
    """

    def replace(match: re.Match[str]) -> str:
        words, path, anchor = match[1], (folder / match[2]).resolve(), match[3] or ""
        if path.is_relative_to(site):
            return f"[{words}]({os.path.relpath(path, shown_in)}{anchor})"
        if path.is_relative_to(site.parent / "notebooks"):
            return f"[{words}]({os.path.relpath(site / 'notebooks' / path.name, shown_in)}{anchor})"
        return f"[{words}]({repository}/blob/main/{path.relative_to(site.parent)}{anchor})" if repository else words

    return LINK.sub(replace, text)


def rewrite_links(app: Any, docname: str, source: list[str]) -> None:
    site = Path(app.srcdir).resolve()
    shown_in = (site / docname).parent
    folder = site.parent / "notebooks" if shown_in == site / "notebooks" else shown_in
    source[0] = rewritten(source[0], folder, shown_in, site, app.config.html_context.get("repository"))


def setup(app: Any) -> dict[str, bool]:
    app.connect("source-read", rewrite_links)
    return {"parallel_read_safe": True}
