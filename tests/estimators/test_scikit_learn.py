"""Scikit-learn is imported when estimators are, and an error says how to install it."""

import subprocess
import sys

import pytest

PROGRAM = """
import sys
import neural_tangents as nt
assert not any(name.split(".")[0] == "sklearn" for name in sys.modules), "imported with the library"
assert nt.estimators.NTKRegressor and "sklearn" in sys.modules
"""

WITHOUT = """
import sys
sys.modules["sklearn"] = None  # as if it were not installed
import neural_tangents as nt
try:
    nt.estimators
except ImportError as error:
    assert "pip install 'neural-tangents-jax[sklearn]'" in str(error)
else:
    raise AssertionError("no error")
"""


def run(program):
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.slow
def test_it_is_imported_when_it_is_needed():
    run(PROGRAM)


def test_error_without_it():
    run(WITHOUT)
