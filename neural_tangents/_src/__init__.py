"""Names by which programs import parts of the archived library that were private there, under the paths they had.

Most are public names of this library: new programs import these, from `neural_tangents`, `neural_tangents.stax` and
`neural_tangents.predict`. A few helpers, which users' own layers call, exist only here. It is not imported with the
library.
"""

from typing import TYPE_CHECKING

from neural_tangents._src import batching, empirical, monte_carlo, predict, stax, utils

if not TYPE_CHECKING:
    from neural_tangents._src.unknown_names import of_src as __getattr__  # noqa: F401

__all__ = ["batching", "empirical", "monte_carlo", "predict", "stax", "utils"]
