"""What was understood of a network, as a table of its parameters."""

from collections.abc import Sequence

import numpy as np

from neural_tangents.tracing._graph import Bias, Embedding, Linear, Node, Phi, Scale, walk
from neural_tangents.tracing._reading import Leaf, Reading

_HEAD = ("parameter", "shape", "role", "mean", "variance", "variance x fan-in", "trained")


def fan_in(node: Linear) -> int:
    """How many products each output of a product with weights adds up."""
    summed = [n for n, kind in zip(node.child.fin, node.axes, strict=True) if isinstance(kind, str) and kind == "sum"]
    windows = [kind.shape[1] for kind in node.axes if isinstance(kind, np.ndarray)]
    return node.width * int(np.prod([*summed, *windows]))


def table(reading: Reading, outputs: Sequence[Node], backend: str) -> str:
    """The table of all parameters, each with its role in the network, and lines on nonlinearities and the back end.

    Args:
      reading: what is known of the program.
      outputs: nodes of the outputs.
      backend: what computes the kernel.
    """
    uses: dict[int, dict[str, float | None]] = {}
    series: dict[str, None] = {}
    for node in walk([*outputs, *(expectation.node for expectation in reading.expectations.values())]):
        if isinstance(node, Linear):
            name, scaled = "weights", node.weights.variance * fan_in(node)
            uses.setdefault(node.weights.leaf, {})[name] = scaled
        elif isinstance(node, Bias | Embedding | Scale):
            uses.setdefault(node.weights.leaf, {})[type(node).__name__.lower()] = None
        elif isinstance(node, Phi) and node.activation.accuracy:
            by = "quadrature" if node.activation.needs_quadrature else "series"
            series[f"By {by}, {node.activation.accuracy}."] = None
    rows = [_HEAD, *(_row(leaf, uses.get(i, {})) for i, leaf in enumerate(reading.leaves))]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_HEAD))]
    lines = ["  ".join(cell.ljust(n) for cell, n in zip(row, widths, strict=True)).rstrip() for row in rows]
    how = {"stax": "layers of `stax`", "direct": "pairs of activations"}[backend]
    return "\n".join([*lines, *series, f"The kernel is computed by {how} (backend {backend!r})."])


def _row(leaf: Leaf, uses: dict[str, float | None]) -> tuple[str, ...]:
    constant = not leaf.variance and not leaf.rate
    role = ", ".join(uses) or ("constant" if constant else "not used")
    scaled = next((value for value in uses.values() if value is not None), None)
    return (
        leaf.path,
        "x".join(map(str, leaf.shape)) or "()",
        role,
        "array" if leaf.value is not None else f"{leaf.mean:.4g}",
        f"{leaf.variance:.4g}",
        "" if scaled is None else f"{scaled:.4g}",
        "yes" if leaf.rate else "no",
    )
