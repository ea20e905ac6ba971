"""Every example runs, and shows what it claims."""

import importlib.util
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def load(name):
    """Imports an example by the name of its file."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_infinite_fcn_reads_handwritten_digits(tmp_path, capsys):
    plot = tmp_path / "digits.png"
    accuracies = load("infinite_fcn").main(["--plot", str(plot)])
    assert set(accuracies) == {"nngp", "ntk"}
    assert min(accuracies.values()) >= 0.96
    assert plot.read_bytes().startswith(b"\x89PNG")
    summary = capsys.readouterr().out
    assert summary.count("test accuracy") == 2
