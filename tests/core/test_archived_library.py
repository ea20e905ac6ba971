"""The warning that the archived library is installed too."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def import_beside(folder, version=None):
    """What an import prints as warnings where a distribution `neural-tangents` is installed."""
    if version is not None:
        metadata = folder / f"neural_tangents-{version}.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: neural-tangents\nVersion: {version}\n")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}
    command = [sys.executable, "-c", "import neural_tangents"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("version", ["0.6.5", "0.6.6", "0.6.dev1"])
def test_it_warns_of_the_archived_library(version, tmp_path):
    warning = import_beside(tmp_path, version)
    assert f"UserWarning: The archived library neural-tangents {version} is installed beside this one" in warning
    assert "pip uninstall neural-tangents neural-tangents-jax" in warning


@pytest.mark.parametrize("version", [None, "0.7.0", "1.0"])
def test_it_is_silent_otherwise(version, tmp_path):
    assert "archived" not in import_beside(tmp_path, version)


def test_it_takes_little_time():
    from neural_tangents._core.archived_library import warn_of_archived_library

    def seconds():
        start = time.process_time()
        warn_of_archived_library()
        return time.process_time() - start

    assert min(seconds() for _ in range(20)) < 2e-3
