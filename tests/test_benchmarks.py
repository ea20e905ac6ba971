"""The benchmark harness: what it computes, and that it runs; never how fast anything is."""

import importlib
import json
import math
import pathlib
import subprocess
import sys
import unittest.mock

import numpy as np
import pytest
from sklearn import dummy, linear_model

ROOT = pathlib.Path(__file__).resolve().parents[1]
BENCHMARKS = ROOT / "benchmarks"
MODULES = ("cases", "report", "run", "worker")

# A library of one layer, so that the harness is tested whether or not the real one works.
SCALED_DOT = """
def ScaledDot(scale):
    print("Libraries may print.")
    return None, None, lambda x1, x2, get: scale * x1 @ (x1 if x2 is None else x2).T
"""


@pytest.fixture
def harness(monkeypatch):
    """The harness's modules, imported as its scripts import one another, and forgotten afterwards."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    with unittest.mock.patch.dict(sys.modules):
        for name in MODULES:
            sys.modules.pop(name, None)
        modules = {name: importlib.import_module(name) for name in MODULES}
        yield type("Harness", (), modules)


@pytest.fixture
def tiny_library(tmp_path):
    """A folder with a `neural_tangents` that has `stax.ScaledDot` only."""
    package = tmp_path / "neural_tangents"
    package.mkdir()
    (package / "__init__.py").write_text('__version__ = "tiny"\n')
    (package / "stax.py").write_text(SCALED_DOT)
    return tmp_path


def _measure(harness, case, root):
    """Measures a case in two workers that have the same library."""
    with (
        harness.run.start_worker(sys.executable, library_root=root) as ours,
        harness.run.start_worker(sys.executable, library_root=root) as reference,
    ):
        return harness.run.measure(case, {"ours": ours, "reference": reference}, repetitions=2)


@pytest.mark.slow
@pytest.mark.parametrize(("shape2", "dtype"), [((2, 3), "float32"), (None, "float64")])
def test_measures_a_library_against_itself(harness, tiny_library, shape2, dtype):
    case = harness.cases.Case("tiny", "stax.ScaledDot(2.0)", (4, 3), shape2, dtype, "nngp")
    result = _measure(harness, case, tiny_library)
    assert result["max_relative_difference"] == 0
    assert result["ratio"] == result["reference"]["median_seconds"] / result["ours"]["median_seconds"]
    assert result["ours"]["versions"]["neural_tangents"] == "tiny"
    assert len(result["ours"]["seconds"]) == 2
    assert 0 < result["ours"]["trace_seconds"] < result["ours"]["compile_seconds"]
    assert result["ours"]["peak_memory_mb"] > 1
    json.dumps(result)


@pytest.mark.slow
def test_measures_this_library(harness):
    network = "stax.serial(stax.Dense(4), stax.Relu(), stax.Dense(1))"
    case = harness.cases.Case("tiny", network, (4, 3), (2, 3), "float32", ("nngp", "ntk"))
    assert _measure(harness, case, ROOT)["max_relative_difference"] == 0


def test_says_which_worker_failed(harness, tiny_library, capfd):
    case = harness.cases.Case("broken", "stax.Missing()", (4, 3), None, "float32", "nngp")
    with pytest.raises(RuntimeError, match=r"worker\.py.* ended with status 1 at 'setup'"):
        _measure(harness, case, tiny_library)
    assert "Missing" in capfd.readouterr().err


def test_rejects_kernels_that_are_not_finite(harness):
    with pytest.raises(ValueError, match="not finite"):
        harness.worker.summarise([[1.0, math.nan]])


def test_relative_difference_is_per_output_and_sees_the_norm(harness):
    reference = [{"norm": 10.0, "sample": [1.0, -4.0]}, {"norm": 1.0, "sample": [0.0, 0.0]}]
    assert harness.report.relative_difference(reference, reference) == 0
    ours = [{"norm": 10.0, "sample": [1.0, -4.4]}, reference[1]]
    assert harness.report.relative_difference(ours, reference) == pytest.approx(0.1)
    ours = [{"norm": 12.0, "sample": [1.0, -4.4]}, reference[1]]
    assert harness.report.relative_difference(ours, reference) == pytest.approx(0.2)
    ours = [reference[0], {"norm": 1.0, "sample": [0.0, 1e-9]}]
    assert harness.report.relative_difference(ours, reference) == math.inf
    with pytest.raises(ValueError, match="as many outputs as the reference has, 2, got 1"):
        harness.report.relative_difference(reference[:1], reference)


def _library(harness, seconds):
    setup = {"versions": {}, "trace_seconds": 0.25, "compile_seconds": 1.0}
    return harness.report.summarise_library(setup, [{"seconds": s} for s in seconds], {"peak_memory_mb": 300.4})


def test_summary_and_table(harness):
    ours, reference = _library(harness, [0.002, 0.001, 0.009]), _library(harness, [1.0, 1.5, 2.0])
    assert (ours["median_seconds"], ours["min_seconds"], ours["max_seconds"]) == (0.002, 0.001, 0.009)
    assert ours["compile_seconds"] == 1.25
    both = {"ours": ours, "reference": reference, "ratio": 750.0, "max_relative_difference": 1.2e-7}
    lines = harness.report.table([{"case": {"name": "first"}, **both}, {"case": {"name": "second"}, "ours": ours}])
    header, first, first_reference, second = lines.splitlines()
    assert header.split() == list(harness.report.HEADER)
    assert first.split() == "first ours 2 ms 1 ms 9 ms 1.25 s 300 MB".split()
    assert first_reference.split() == "reference 1500 ms 1000 ms 2000 ms 1.25 s 300 MB 750.00 1e-07".split()
    assert second.split()[0] == "second"


@pytest.mark.parametrize("reference", [[], ["--reference", sys.executable]])
def test_command_line_prints_a_table_and_writes_json(harness, tiny_library, monkeypatch, tmp_path, capsys, reference):
    start = harness.run.start_worker
    monkeypatch.setattr(
        harness.run, "start_worker", lambda python, library_root: start(python, library_root=tiny_library)
    )
    cases = [harness.cases.Case(name, "stax.ScaledDot(2.0)", (4, 3), None, "float32", "nngp") for name in ("a", "b")]
    monkeypatch.setattr(harness.run, "CASES", cases)

    report = tmp_path / "report.json"
    harness.run.main([*reference, "--case", "b", "--repetitions", "1", "--json", str(report)])
    (result,) = json.loads(report.read_text())["results"]
    assert result["case"]["name"] == "b"
    assert ("ratio" in result) == bool(reference)
    printed = capsys.readouterr().out
    assert ("timing this library only" in printed) == (not reference)
    assert harness.report.table([result]) in printed


def test_command_line_lists_the_cases(harness):
    arguments = [sys.executable, BENCHMARKS / "run.py", "--list"]
    listed = subprocess.run(arguments, check=True, capture_output=True, text=True).stdout
    names = [line.partition(":")[0] for line in listed.splitlines()]
    assert names == [case.name for case in harness.cases.CASES]
    assert len(set(names)) == len(names)


@pytest.fixture
def compared(monkeypatch):
    """The script that compares estimators, as its command line sees it."""
    pytest.importorskip("mlxtend")
    monkeypatch.syspath_prepend(BENCHMARKS)
    with unittest.mock.patch.dict(sys.modules):
        sys.modules.pop("estimators", None)
        yield importlib.import_module("estimators")


def test_ranks_of_estimators(compared):
    errors = np.array([[0.3, 0.1, 0.2], [0.5, 0.5, 0.1], [1.0, 1.0, 1.0]])
    assert compared.ranks(errors).tolist() == [[3, 1, 2], [2.5, 2.5, 1], [2, 2, 2]]


def test_splits_of_estimators(compared):
    data = compared.Data(np.arange(1000.0)[:, None], np.arange(1000) % 2, True)
    train, test = compared.split(data, 0)
    assert len(train.x) == 300 and len(test.x) == 100 and not set(train.x[:, 0]) & set(test.x[:, 0])
    assert train.y.mean() == test.y.mean() == 0.5 and np.array_equal(train.y, train.x[:, 0] % 2)
    assert np.array_equal(compared.split(data, 0)[0].x, train.x)


def test_table_of_estimators(compared, monkeypatch, capsys):
    """A line is predicted by a line, and not by its mean."""
    x = np.linspace(-1, 1, 40)[:, None]
    monkeypatch.setattr(compared, "DATA", {"line": lambda: compared.Data(x, 3 * x[:, 0], False)})
    models = {"mean": dummy.DummyRegressor(), "line": linear_model.LinearRegression()}
    monkeypatch.setattr(compared, "models", lambda are_classes: models)
    monkeypatch.setattr(sys, "argv", ["estimators.py"])
    compared.main()
    _, title, _, *lines = capsys.readouterr().out.splitlines()
    assert title == "regression, 1 data sets"
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert rows[0] == ["data", "mean", "line"]
    assert rows[2][0] == "line" and float(rows[2][1]) > 0.8 and rows[2][2] == "0.000"
    assert ["**mean rank**", "**2.00**", "**1.00**"] in rows


def test_all_methods_are_estimators(compared):
    assert [*compared.models(True)] == [*compared.models(False)]
    x = np.random.RandomState(0).normal(size=(40, 2))
    train = compared.Data(x, x[:, 0], False)
    error, seconds = compared.error_of(compared.ScaledSVR(), train, train)
    shifted = compared.Data(x, 1e3 + 1e2 * x[:, 0], False)
    assert compared.error_of(compared.ScaledSVR(), shifted, shifted)[0] == pytest.approx(error, rel=1e-3)
    assert error < 0.5 and seconds >= 0
