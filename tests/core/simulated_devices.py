"""Scripts in processes whose CPU stands for several devices."""

import os
import subprocess
import sys


def environment(n_devices: int) -> dict[str, str]:
    """Variables of such a process, which compiles fast and can import what this one can."""
    return {
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        **os.environ,
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={n_devices}",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }


def run(script: str, n_devices: int, *args: object) -> str:
    """Runs a script, and returns what it prints."""
    command = [sys.executable, "-c", script, *map(str, args)]
    done = subprocess.run(command, env=environment(n_devices), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-5000:]
    return done.stdout
