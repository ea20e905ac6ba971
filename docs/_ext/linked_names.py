"""Code in running text that is a public name, such as `stax.Dense(1)` or `nt.batch`, links to its reference."""

import inspect
import re
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.transforms import SphinxTransform

import neural_tangents as nt
from neural_tangents import batching, empirical, estimators, predict, stax, tracing, typing

MODULES = {
    **{"": nt, "stax": stax, "predict": predict, "empirical": empirical, "batching": batching},
    **{"estimators": estimators, "tracing": tracing, "typing": typing},
}


def targets() -> dict[str, str]:
    """What can be written, and the full name that it stands for. Names that are two things need their package."""
    found: dict[str, str] = {}
    bare: dict[str, set[str]] = {}
    for package, module in MODULES.items():
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.ismodule(value) or name == "__version__":
                continue
            is_shared = package in ("empirical", "batching") and name in nt.__all__
            full = f"neural_tangents.{name}" if is_shared or not package else f"neural_tangents.{package}.{name}"
            for prefix in ("", "nt.", "neural_tangents."):
                found[prefix + (f"{package}." if package else "") + name] = full
            bare.setdefault(name, set()).add(full)
    unmistakable = {name: full for name, (full, *more) in bare.items() if not more and is_unmistakable(name)}
    return {name: full for name, full in found.items() if "." in name} | unmistakable


def is_unmistakable(name: str) -> bool:
    """Whether a name cannot be a word, or the name of an argument."""
    return "_" in name or name[0].isupper()


TARGETS = targets()
WRITTEN = re.compile(r"([A-Za-z_][\w.]*)(\(.*\))?")


class LinkNames(SphinxTransform):
    """Makes references of inline code, except in headings and links."""

    default_priority = 400

    def apply(self, **kwargs: Any) -> None:
        for node in list(self.document.findall(nodes.literal)):
            match = WRITTEN.fullmatch(node.astext())
            if match is None or match[1] not in TARGETS or has_ancestor(node, nodes.title, nodes.reference):
                continue
            if has_ancestor(node, addnodes.pending_xref, addnodes.desc_signature):
                continue
            reference = addnodes.pending_xref(
                "", refdomain="py", reftype="obj", reftarget=TARGETS[match[1]], refexplicit=True, refwarn=True
            )
            reference.source, reference.line = node.source, node.line
            node.replace_self(reference)
            reference += node


def has_ancestor(node: nodes.Node, *kinds: type) -> bool:
    while node.parent is not None:
        node = node.parent
        if isinstance(node, kinds):
            return True
    return False


def setup(app: Any) -> dict[str, bool]:
    app.add_transform(LinkNames)
    return {"parallel_read_safe": True}
