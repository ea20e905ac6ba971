"""What a store remembers of the call that it was made for: by this it refuses to be continued with another one."""

import dataclasses
import hashlib
import inspect
import os
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from neural_tangents._core.tiling.call_form import BlockKey, CallForm, SameEps, SameInputs, Slot
from neural_tangents._core.tiling.grid import Blocks, Grid
from neural_tangents._core.tiling.tile_results import Result
from neural_tangents.batching._store.target import is_folder, opened

# The arrangement of a store. Another one gets another number.
_FORMAT = 1
_ATTRIBUTE = "neural_tangents"
_PLACEHOLDERS = (Slot, BlockKey, SameEps, SameInputs)


@dataclasses.dataclass(frozen=True)
class StorePlan:
    """The call that a store is made for, without arrays.

    Attributes:
      inputs: numbers of inputs of both batches.
      tile: rows and columns of a tile.
      symmetric: whether tiles below the diagonal are mirror images of those above it.
      results: the type of each result, by name.
      constants: arguments that are no arrays, by place.
      digest: SHA-256 of all arrays among the arguments.
      library: the version of the library that made the store.
    """

    inputs: tuple[int, int]
    tile: tuple[int, int]
    symmetric: bool
    results: dict[str, str]
    constants: dict[str, str]
    digest: str
    library: str

    @classmethod
    def of(cls, form: CallForm, grid: Grid, results: dict[str, Result], library: str) -> "StorePlan":
        """The plan for a call."""
        types = {name: np.dtype(result.dtype).name for name, result in results.items()}
        constants, digest = _constants(_by_name(form)), digest_of(form.arrays)
        return cls((form.n1, form.n2), grid.sizes, grid.symmetric, types, constants, digest, library)

    @classmethod
    def read(cls, group: Any, label: str) -> "StorePlan | None":
        """The plan in a group of zarr; None if there is none.

        Raises:
          ValueError: a later version of the library wrote it.
        """
        kept = group.attrs.asdict().get(_ATTRIBUTE)
        if kept is None:
            return None
        kept = dict(kept)
        if kept.pop("format") != _FORMAT:
            raise ValueError(
                f"Expected {label} to be a store of kernels of format {_FORMAT}, got one that neural_tangents "
                f"{kept['library']} has made. Use that version."
            )
        return cls(**{**kept, "inputs": tuple(kept["inputs"]), "tile": tuple(kept["tile"])})

    def write(self, group: Any) -> None:
        """Writes the plan to a group of zarr."""
        group.update_attributes({_ATTRIBUTE: {"format": _FORMAT, **dataclasses.asdict(self)}})

    @property
    def grid(self) -> Grid:
        """The tiles."""
        rows, columns = (Blocks.at_most(n, size) for n, size in zip(self.inputs, self.tile, strict=True))
        return Grid(rows, columns, self.symmetric)

    def check_equal(self, there: "StorePlan", label: str) -> None:
        """Raises `ValueError` if a plan that was found in a store is not this one: it says what differs."""
        what = {
            "inputs": "numbers of inputs",
            "tile": "rows and columns of a tile, which follow from `batch_size`,",
            "results": "names and types of results",
            "constants": "arguments that are no arrays",
            "digest": "values of inputs, or of other arrays among the arguments (SHA-256),",
        }
        values = {name: (getattr(there, name), getattr(self, name)) for name in what}
        different = [f"{what[name]} are {a} in the store, but {b} here" for name, (a, b) in values.items() if a != b]
        if different:
            raise ValueError(
                f"Expected {label} to be new, or made by the same call, but it was made by another one: "
                f"{'; '.join(different)}. Use another target, or the arguments that it was made with."
            )


def found_store(target: Any) -> tuple[StorePlan, Any] | None:
    """The plan and the group of zarr of a store; None if there is none yet.

    Raises:
      ValueError: there is something else.
    """
    other = ValueError(f"Expected {target} to be new, or a store of kernels, but it holds other data. Use another.")
    # Looked at first: meanwhile, another process may put a store there.
    is_taken = is_folder(target) and os.path.exists(target) and (os.path.isfile(target) or os.listdir(target))
    try:
        group = opened(target)
    except (FileNotFoundError, FileExistsError):
        if is_taken:
            raise other from None
        return None
    plan = StorePlan.read(group, str(target))
    if plan is not None:
        return plan, group
    if is_folder(target) or group.attrs.asdict():
        raise other
    return None  # another process is making it, or was ended while it did


def digest_of(arrays: Sequence[Any]) -> str:
    """SHA-256 of arrays: of their values, shapes and types."""

    def digest(array: Any) -> bytes:
        values = np.ascontiguousarray(as_data(array)).reshape(-1).view(np.uint8)
        return hashlib.sha256(f"{array.dtype} {array.shape} ".encode() + hashlib.sha256(values.data).digest()).digest()

    digests = {
        number: digest(array) for number, array in {id(array): array for array in arrays}.items()
    }  # x2 may be x1
    return hashlib.sha256(b"".join(digests[id(array)] for array in arrays)).hexdigest()


def as_data(array: Any) -> np.ndarray[Any, Any]:
    """An array in the memory of the host; of random keys, their data."""
    return np.asarray(jax.random.key_data(array) if is_key(array) else array)


def is_key(array: Any) -> bool:
    """Whether an array is made of typed random keys."""
    return jnp.issubdtype(array.dtype, jax.dtypes.prng_key)


def result_names(form: CallForm, results: Sequence[Result]) -> dict[str, Result]:
    """The kernels among the results by name: their place in the tree, or what was asked for by `get`, or 'kernel'.

    Raises:
      ValueError: a result is not a kernel of both batches, and is not part of a `Kernel`; or there are none.
    """
    named = {}
    for result in results:
        name = jax.tree_util.keystr(result.path, simple=True, separator=".") or _name_of_single(form)
        if (result.cut.rows, result.cut.columns) == ((0,), (1,)):
            named[name] = result
        elif not result.in_kernel:
            raise ValueError(
                "Expected kernels with the inputs of x1 along their first axis and those of x2 along their second, got "
                f"'{name}' of shape {result.shape}. Ask for kernels by `get`, such as 'nngp' or ('nngp', 'ntk')."
            )
    if not named:
        raise ValueError("Expected at least one kernel of both batches. Ask for one by `get`, such as 'nngp' or 'ntk'.")
    return named


def _name_of_single(form: CallForm) -> str:
    """What a result that is a single array is called."""
    get = _by_name(form).get("get")
    return get.lower() if isinstance(get, str) else form.traits.name or "kernel"


def _by_name(form: CallForm) -> dict[str, Any]:
    """The arguments by name, however they were passed; those that have no name are numbered."""
    args, kwargs = form.arguments
    try:
        parameters = dict(inspect.signature(form.kernel_fn).parameters)
    except (TypeError, ValueError):  # there is no signature to be read
        parameters = {}
    names = [*parameters, *map(str, range(len(parameters), len(args)))]
    passed = {**dict(zip(names, args, strict=False)), **kwargs}
    return {name: x for name, x in passed.items() if name not in parameters or x is not parameters[name].default}


def _constants(arguments: Any) -> dict[str, str]:
    """Arguments that are no arrays as text; of objects only their types, since they may print differently each time."""

    def text(leaf: Any) -> str:
        leaf = leaf.item() if isinstance(leaf, np.generic) else leaf
        plain = leaf is None or isinstance(leaf, str | bool | int | float | complex)
        return repr(leaf) if plain else type(leaf).__qualname__

    leaves, _ = jax.tree_util.tree_flatten_with_path(
        arguments, is_leaf=lambda leaf: leaf is None or isinstance(leaf, _PLACEHOLDERS)
    )
    return {jax.tree_util.keystr(path): text(leaf) for path, leaf in leaves if not isinstance(leaf, _PLACEHOLDERS)}
