"""Networks made of layers."""

from typing import TYPE_CHECKING

from neural_tangents._src.stax.requirements import _get_input_req_attr
from neural_tangents.stax import parallel, repeat, serial

if not TYPE_CHECKING:
    from neural_tangents._src.unknown_names import of_combinators as __getattr__  # noqa: F401

__all__ = ["_get_input_req_attr", "parallel", "repeat", "serial"]
