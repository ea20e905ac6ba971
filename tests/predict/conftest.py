"""Lets the tests of this folder share `linear_models`."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
