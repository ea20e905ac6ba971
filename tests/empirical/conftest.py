"""What tests of finite networks need of the release of jax."""

import jax
import pytest


@pytest.fixture(autouse=True)
def one_precision():
    """NumPy's arrays as they are, of float64, in all tests that do not say otherwise.

    jax 0.10 remembers a NumPy array that was a constant in the precision that was set then, for as long as any program
    with it exists, and so under another setting too. Tests share the arrays of `finite_networks.py`.
    """
    with jax.enable_x64(True):
        yield
