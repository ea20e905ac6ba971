"""From raw measurements to medians, ratios and a table. Plain Python: no arrays, no processes."""

import statistics
from collections.abc import Sequence


def summarise_library(setup: dict, runs: Sequence[dict], finish: dict) -> dict:
    """Joins the answers of one worker about one case."""
    seconds = [run["seconds"] for run in runs]
    return {
        "versions": setup["versions"],
        "compile_seconds": setup["trace_seconds"] + setup["compile_seconds"],
        "trace_seconds": setup["trace_seconds"],
        "median_seconds": statistics.median(seconds),
        "min_seconds": min(seconds),
        "max_seconds": max(seconds),
        "seconds": seconds,
        "peak_memory_mb": finish["peak_memory_mb"],
    }


def relative_difference(ours: Sequence[dict], reference: Sequence[dict]) -> float:
    """The largest difference between two libraries' outputs, each output relative to its own largest sampled entry.

    Compares the norms as well, so that entries outside the samples count.
    """
    if len(ours) != len(reference):
        raise ValueError(f"Expected as many outputs as the reference has, {len(reference)}, got {len(ours)}.")
    return max(_output_difference(a, b) for a, b in zip(ours, reference, strict=True))


def _output_difference(a: dict, b: dict) -> float:
    scale = max(abs(y) for y in b["sample"])
    largest = max(abs(x - y) for x, y in zip(a["sample"], b["sample"], strict=True))
    return max(_ratio(largest, scale), _ratio(abs(a["norm"] - b["norm"]), b["norm"]))


def _ratio(difference: float, scale: float) -> float:
    return 0.0 if difference == 0 else difference / scale if scale else float("inf")


HEADER = ("case", "library", "median", "min", "max", "compile", "peak", "ratio", "difference")


def table(results: Sequence[dict]) -> str:
    """One line per case and library; the ratio (reference / ours) and the difference stand on the reference's line."""
    rows = [HEADER]
    for result in results:
        rows.append((result["case"]["name"], "ours", *_cells(result["ours"]), "", ""))
        if "reference" in result:
            agreement = (f"{result['ratio']:.2f}", f"{result['max_relative_difference']:.0e}")
            rows.append(("", "reference", *_cells(result["reference"]), *agreement))
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADER))]
    return "\n".join(_line(row, widths) for row in rows)


def _cells(library: dict) -> tuple[str, ...]:
    times = (_milliseconds(library[f"{name}_seconds"]) for name in ("median", "min", "max"))
    return (*times, f"{library['compile_seconds']:.2f} s", f"{library['peak_memory_mb']:.0f} MB")


def _milliseconds(seconds: float) -> str:
    milliseconds = 1e3 * seconds
    return f"{milliseconds:.0f} ms" if milliseconds >= 100 else f"{milliseconds:.3g} ms"


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    names = [cell.ljust(width) for cell, width in zip(row[:2], widths[:2], strict=True)]
    numbers = [cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)]
    return "  ".join(names + numbers).rstrip()
