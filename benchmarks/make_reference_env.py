"""Makes the environment of the reference library: `python3.11 benchmarks/make_reference_env.py FOLDER`."""

import argparse
import pathlib
import subprocess
import sys

PACKAGES = ("jax==0.4.25", "jaxlib==0.4.25", "numpy==1.26.4", "scipy==1.12.0", "frozendict==2.5.1")
FLAX_NEEDS = ("msgpack==1.1.2", "rich==14.2.0", "pyyaml==6.0.3", "typing_extensions")
LIBRARIES = ("neural-tangents==0.6.5", "flax==0.8.2")


def make_environment(folder: pathlib.Path) -> pathlib.Path:
    """Makes a virtual environment with the running Python and returns its interpreter.

    The library and Flax, in which one of the networks is written, are installed without their dependencies, of which
    TensorFlow and others are not needed here: the benchmarks stub TensorFlow when they import the library.
    """
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    install = [python, "-m", "pip", "install"]
    subprocess.run([*install, *PACKAGES, *FLAX_NEEDS], check=True)
    subprocess.run([*install, "--no-deps", *LIBRARIES], check=True)
    return python


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Makes the environment of the reference library.")
    parser.add_argument("folder", type=pathlib.Path, help="where to make it; must not exist")
    folder = parser.parse_args().folder
    if not (3, 10) <= sys.version_info[:2] <= (3, 12):
        parser.error(f"Expected Python 3.10 to 3.12 (jaxlib 0.4.25), got {sys.version.split()[0]}. Use python3.11.")
    if folder.exists():
        parser.error(f"{folder} exists already: remove it or name another folder")
    print(f"Made. Now: python benchmarks/run.py --reference {make_environment(folder)}")
