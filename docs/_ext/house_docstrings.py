"""Docstrings of the library, for Sphinx: what they write in a terminal's way becomes reStructuredText.

In a docstring, backticks hold code, an indented block before the first section holds equations, and `Source:` is a
paragraph. The remaining sections are Google's, and go to napoleon. Signatures are shown as the source has them.
"""

import ast
import inspect
import itertools
import re
import textwrap
from collections.abc import Iterator
from typing import Any

from equations import latex

SECTION = re.compile(r"^(Args|Attributes|Returns|Raises|Warns|Example|Source):")
CONSTRUCTED = {"Diagonal", "MaskedArray", "ODEState"}
CODE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")


def reformatted(lines: list[str]) -> list[str]:
    """The lines of a docstring as reStructuredText."""
    head, sections = [], []
    for line in join_code(lines):
        if SECTION.match(line):
            sections.append([line])
        else:
            (sections[-1] if sections else head).append(line)
    return [*equations(head), *(line for part in sections for line in section(part))]


def join_code(lines: list[str]) -> list[str]:
    """Puts code that is broken between two lines into one of them: inline code ends on the line where it starts."""
    joined: list[str] = []
    for line in lines:
        if joined and joined[-1].count("`") % 2 and ">>>" not in joined[-1]:
            joined[-1] += " " + line.strip()
        else:
            joined.append(line)
    return joined


def equations(lines: list[str]) -> list[str]:
    """Text before the first section: indented blocks are equations, as formulas where they can be read as such."""
    result: list[str] = []
    for is_block, group in itertools.groupby(with_blocks(lines), key=lambda pair: pair[0]):
        text = [line for _, line in group]
        result += block(text) if is_block else map(inline, text)
    return result


def with_blocks(lines: list[str]) -> Iterator[tuple[bool, str]]:
    """Each line, and whether it belongs to a block of equations: indented, after an empty line or another of them."""
    in_block = False
    for before, line in zip(["", *lines], lines, strict=False):
        indented = line.startswith("    ")
        in_block = (indented or not line.strip()) if in_block else indented and not before.strip()
        yield in_block, line


def block(lines: list[str]) -> list[str]:
    """A block of equations."""
    written = latex([line for line in lines if line.strip()])
    if written is None:
        return [".. code-block:: text", "   :class: equation", "", *lines, ""]
    return [".. math::", "   :nowrap:", "", *(f"   {line}" for line in written), ""]


def section(lines: list[str]) -> list[str]:
    """A section, with what napoleon would misread written out."""
    name = lines[0].partition(":")[0]
    if name == "Example":
        return ["", *lines]
    text = textwrap.dedent("\n".join([lines[0].partition(":")[2].strip(), *lines[1:]])).strip().splitlines()
    if name == "Source":
        return ["", "**Source:** " + inline(" ".join(line.strip() for line in text)), ""]
    if name == "Returns":
        return ["", ":returns: " + inline(" ".join(line.strip() for line in text)), ""]
    return ["", *map(inline, lines)]


def inline(line: str) -> str:
    """Code in the way of reStructuredText, and stars, bars and underscores as what they are."""
    parts = CODE.split(line)
    for i, part in enumerate(parts):
        parts[i] = f"``{part.strip()}``" if i % 2 else re.sub(r"([*|])|(?<=\w)(_)(?=\W|$)", r"\\\1\2", part)
        if i and not i % 2 and part[:1].isalnum():  # `x`s
            parts[i] = "\\ " + parts[i]
    return "".join(parts)


def process_docstring(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    lines[:] = reformatted(lines)


def process_signature(
    app: Any, what: str, name: str, obj: Any, options: Any, signature: str | None, returns: str | None
) -> tuple[str | None, str | None] | None:
    """Signatures with the types that the source has, which are shorter than what they stand for."""
    if inspect.isclass(obj):
        return None if signature is None else hide_constructor(obj, signature)
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(obj)))).body[0]
    except (TypeError, OSError, SyntaxError):
        return None
    if not isinstance(tree, ast.FunctionDef):
        return None
    arguments = tree.args
    if arguments.args and arguments.args[0].arg in ("self", "cls"):
        del arguments.args[0]
    result = ast.unparse(tree.returns).replace("LayerSpec", "Layer").strip("'") if tree.returns else None
    return f"({ast.unparse(arguments)})", result


def hide_constructor(cls: type, signature: str | None) -> tuple[str, None]:
    """Most classes are not made by calling them, and the fields of the others are in the section `Attributes`."""
    return (signature or "") if cls.__name__ in CONSTRUCTED else "", None


def skip_member(app: Any, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Fields are in the section `Attributes`; what `dataclass` and `NamedTuple` generate is no documentation."""
    text = inspect.getdoc(obj) or ""
    return True if not text or text.startswith("Alias for field number") else None


def setup(app: Any) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", process_docstring, priority=100)  # before napoleon
    app.connect("autodoc-process-signature", process_signature)
    app.connect("autodoc-skip-member", skip_member)
    return {"parallel_read_safe": True}
