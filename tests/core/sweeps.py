"""Cases of tests that sweep over many: some of them quickly, all of them in `pytest -m slow`."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def mostly_slow(cases: Iterable[Any], quick: Collection[Any]) -> list[Any]:
    """All `cases`, of which those that are not `quick` are marked as slow."""
    cases = list(cases)
    assert set(quick) <= set(cases), set(quick) - set(cases)
    return [case if case in quick else pytest.param(case, marks=pytest.mark.slow) for case in cases]
