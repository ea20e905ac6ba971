"""The arguments of a call of a kernel function: which arrays are cut into blocks, along which axes, and what is not."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding

from neural_tangents._core.concrete import is_concrete
from neural_tangents._core.kernel import Kernel
from neural_tangents._core.tiling.traits import KernelTraits, bound_arguments, traits_of
from neural_tangents._core.types import PyTree

_FIRST_NAMES = ("x1", "x1_or_kernel")


@dataclasses.dataclass(frozen=True)
class Cut:
    """Along which axes of an array the inputs of each batch lie; along none, if all tiles share the array.

    Attributes:
      rows: axes of the first batch.
      columns: axes of the second batch.
    """

    rows: tuple[int, ...] = ()
    columns: tuple[int, ...] = ()

    @property
    def is_whole(self) -> bool:
        return not self.rows and not self.columns

    def resized(self, shape: Sequence[int], n1: int, n2: int) -> tuple[int, ...]:
        """The shape of the array for batches of `n1` and `n2` inputs."""
        new = {**dict.fromkeys(self.rows, n1), **dict.fromkeys(self.columns, n2)}
        return tuple(new.get(axis, size) for axis, size in enumerate(shape))

    def taken(self, array: Any, rows: Any, columns: Any) -> Any:
        """The array for some inputs, by their numbers."""
        for axes, numbers in ((self.rows, rows), (self.columns, columns)):
            for axis in axes:
                array = array.take(numbers, axis=axis)
        return array


WHOLE, ROWS, COLUMNS = Cut(), Cut(rows=(0,)), Cut(columns=(0,))


@dataclasses.dataclass(frozen=True)
class Slot:
    """Stands for an array in a tree of arguments: the number of the array."""

    number: int


@dataclasses.dataclass(frozen=True)
class BlockKey:
    """Stands for a random key that each block of the first or second batch has of its own, made from one `key`."""

    key: Slot
    of_rows: bool


@dataclasses.dataclass(frozen=True)
class SameEps:
    """Stands for the keyword `eps`: infinite if both blocks of a tile are the same inputs, otherwise zero."""


@dataclasses.dataclass(frozen=True)
class SameInputs:
    """Stands for `x1_is_x2` of a kernel: whether both blocks of a tile are the same inputs, if the `batches` are."""

    batches: Any


@dataclasses.dataclass
class CallForm:
    """A call `kernel_fn(*args, **kwargs)` with its arrays taken out.

    Attributes:
      kernel_fn: the function, without arguments that `functools.partial` fixes.
      arguments: `(args, kwargs)`, with a `Slot` in place of each array. Both batches are there, and `x2` is filled in.
      original: `(args, kwargs)` as they were passed; None if their arrays are not in memory.
      arrays: the arrays.
      cuts: for each array, how it is cut.
      n1: number of inputs of the first batch.
      n2: number of inputs of the second batch.
      symmetric: whether `x2`, and its part of each pair of keyword arguments, is known to equal that of `x1`.
      same: whether both batches are the same inputs, a boolean or a boolean array.
      alone: for `x2=None`, `arguments` with None for `x2`, and with `x1` in its place; None if it makes no difference.
    """

    kernel_fn: Any
    traits: KernelTraits
    original: tuple[tuple[Any, ...], dict[str, Any]] | None
    arguments: tuple[tuple[Any, ...], dict[str, Any]]
    arrays: list[Any]
    cuts: list[Cut]
    n1: int
    n2: int
    symmetric: bool
    same: Any
    alone: tuple[Any, Any] | None = None

    def key(self) -> Any:
        """Equal for calls that one program serves: all but the values of arrays."""
        leaves, structure = jax.tree.flatten((self.arguments, self.original))
        shapes = tuple((jnp.shape(array), array.dtype) for array in self.arrays)
        constants = tuple(() if is_array(leaf) else constant_key(leaf) for leaf in leaves)
        return structure, constants, tuple(self.cuts), shapes, self.symmetric, jnp.zeros(()).dtype


def constant_key(value: Any) -> Any:
    """A key that is equal for equal constants of one type; an object that cannot be hashed equals itself only."""
    try:
        hash(value)
    except TypeError:
        return id(value)
    return type(value), "nan" if value != value else value


def read_call(kernel_fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> CallForm:
    """Finds both batches, and what is cut like them, among the arguments of a call.

    Raises:
      TypeError: there is no first batch, or a batch is not made of arrays.
      ValueError: arrays of a batch differ in length, or `x1` and `x2` do not match.
    """
    kernel_fn, fixed, keywords = bound_arguments(kernel_fn)
    return _Reader(kernel_fn, fixed + args, {**keywords, **kwargs}, len(fixed)).form()


class _Reader:
    """Collects the arrays of a call."""

    def __init__(self, kernel_fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any], first: int) -> None:
        self.kernel_fn, self.args, self.kwargs, self.first = kernel_fn, args, kwargs, first
        self.traits = traits_of(kernel_fn)
        self.arrays: list[Any] = []
        self.cuts: list[Cut] = []

    def form(self) -> CallForm:
        at1, at2, x1, x2 = self._batches()
        given2 = x2 is not None
        holds_kernels = any(map(_is_kernel, jax.tree.leaves(x1, is_leaf=_is_kernel)))
        if holds_kernels:
            n1, n2, one_batch, same = self._kernel_sizes(x1, x2)
            new = {at1: self._kernels(x1), at2: None}
        else:
            self._check_leading_axis()
            x2, one_batch = filled_second(x1, x2)
            n1, n2 = (batch_length(x) for x in (x1, x2))
            one_batch = one_batch or _equal(x1, x2)
            is_asked = self.traits.takes_eps or self.traits.keys_of_batches
            same = one_batch or (is_asked and self._same(x1, x2))
            new = {at1: self._batch(x1, ROWS), at2: self._batch(x2, COLUMNS)}
        symmetric = one_batch
        for name, value in self.kwargs.items():
            if name == "rng" and self.traits.keys_of_batches and value is not None:
                new[name] = self._keys(value, same)
            elif name not in (at1, at2):
                pair = self._pair(name, value, n1, n2)
                new[name] = self._whole(value) if pair is None else pair
                symmetric &= pair is None or _equal(*value)
        if self.traits.takes_eps and not holds_kernels:
            new["eps"] = SameEps()
        arguments = [new[i] if i in new else self._whole(arg) for i, arg in enumerate(self.args)]
        if isinstance(at2, int) and at2 == len(arguments) and at2 in new:
            arguments.append(new[at2])
        keywords = {name: value for name, value in new.items() if isinstance(name, str)}

        def with_second(value: Any) -> Any:
            replaced = [value if i == at2 else argument for i, argument in enumerate(arguments)]
            return tuple(replaced), {**keywords, **({at2: value} if isinstance(at2, str) else {})}

        is_own = self.traits.output_pairs is None and not given2 and not holds_kernels
        return CallForm(
            self.kernel_fn,
            self.traits,
            (self.args, self.kwargs),
            (tuple(arguments), keywords),
            self.arrays,
            self.cuts,
            n1,
            n2,
            symmetric,
            same,
            (with_second(None), with_second(new[at1])) if is_own else None,
        )

    def _batches(self) -> tuple[Any, Any, PyTree, PyTree]:
        """Where both batches are among the arguments, and the batches."""
        names = [name for name in _FIRST_NAMES if name in self.kwargs]
        if len(self.args) > self.first:
            at1: Any = self.first
            x1 = self.args[at1]
        elif names:
            at1 = names[0]
            x1 = self.kwargs[at1]
        else:
            raise TypeError("Expected a first batch of inputs, `kernel_fn(x1, x2, ...)`, got no positional argument.")
        if "x2" in self.kwargs or isinstance(at1, str):
            return at1, "x2", x1, self.kwargs.get("x2")
        at2 = self.first + 1
        return at1, at2, x1, self.args[at2] if len(self.args) > at2 else None

    def _add(self, array: Any, cut: Cut) -> Slot:
        self.arrays.append(_plain(array))
        self.cuts.append(cut)
        return Slot(len(self.arrays) - 1)

    def _batch(self, x: PyTree, cut: Cut) -> PyTree:
        return jax.tree.map(lambda leaf: self._add(leaf, cut), x)

    def _whole(self, value: Any) -> Any:
        return jax.tree.map(lambda leaf: self._add(leaf, WHOLE) if is_array(leaf) else leaf, value)

    def _pair(self, name: str, value: Any, n1: int, n2: int) -> Any:
        """A pair of trees of arrays, one cut like each batch; None if a keyword argument is no such pair."""
        if name == "params" or type(value) is not tuple or len(value) != 2:
            return None
        lengths = [{np.shape(leaf)[:1] for leaf in jax.tree.leaves(part)} for part in value]
        if not any(lengths) or not lengths[0] <= {(n1,)} or not lengths[1] <= {(n2,)}:
            return None
        return self._batch(value[0], ROWS), self._batch(value[1], COLUMNS)

    def _keys(self, rng: Any, same: Any) -> Any:
        """Random keys: a pair, of which each batch has one."""
        is_pair = isinstance(rng, tuple) and len(rng) == 2
        key1, key2 = rng if is_pair else (rng, rng)
        if is_array(key1) and is_concrete(same) and bool(same):
            key2 = key1  # equal inputs have equal keys
        if not (is_array(key1) and is_array(key2)):
            return self._whole(rng)
        return BlockKey(self._add(key1, WHOLE), True), BlockKey(self._add(key2, WHOLE), False)

    def _same(self, x1: PyTree, x2: PyTree) -> Any:
        """Whether two batches have equal inputs, as kernel functions of infinite networks find it."""
        pairs = list(zip(jax.tree.leaves(x1), jax.tree.leaves(x2), strict=True))
        if any(jnp.shape(a) != jnp.shape(b) for a, b in pairs):
            return False
        eps = self.kwargs.get("eps")
        if eps is None:
            eps = 1e-4 if jax.default_backend() == "tpu" else 1e-12
        xp = np if all(isinstance(leaf, np.ndarray) for pair in pairs for leaf in pair) else jnp
        found: Any = True
        for a, b in pairs:
            a, b = (xp.asarray(leaf, _compared_type(leaf.dtype)) for leaf in (a, b))
            if jnp.issubdtype(a.dtype, np.inexact):
                close = (xp.abs(a - b) < eps) | (xp.isnan(a) & xp.isnan(b))
            else:
                close = a == b
            found = found & xp.all(close)
        return found

    def _check_leading_axis(self) -> None:
        stated = getattr(self.kernel_fn, "input_req", {})
        axis = self.kwargs.get("batch_axis", stated.get("batch_axis", 0))
        if axis != 0:
            raise ValueError(
                f"Expected inputs with their batch axis first, got `batch_axis={axis}`. Move it to the front, by "
                "`jnp.moveaxis`, and make the network with `batch_axis=0`."
            )

    def _kernel_sizes(self, x1: PyTree, x2: PyTree) -> tuple[int, int, bool, Any]:
        if any(x is not None for x in jax.tree.leaves(x2, is_leaf=lambda x: x is None)):
            raise ValueError("`x2` must be None if the first argument is a `Kernel`, which holds both batches already.")
        kernels = jax.tree.leaves(x1, is_leaf=_is_kernel)
        sizes = {k.nngp.shape[:2] for k in kernels if _is_kernel(k)}
        if len(sizes) != 1 or not all(map(_is_kernel, kernels)):
            raise ValueError(f"Expected inputs to be kernels of the same batches, got sizes {sorted(sizes)}.")
        ((n1, n2),) = sizes
        return n1, n2, all(k.one_batch for k in kernels), True

    def _kernels(self, x1: PyTree) -> PyTree:
        """Kernels with each of their arrays cut; those of one batch hold the variances of its other name, too."""

        def cut(k: Kernel) -> Kernel:
            own = (0,) if k.diagonal_batch else (0, 1)
            both = Cut(rows=(0,), columns=(1,))

            def mask(mask: Any, rows: bool) -> Any:
                if mask is None:
                    return None
                axes = () if mask.shape[k.batch_axis] == 1 else (k.batch_axis % mask.ndim,)
                return self._add(mask, Cut(rows=axes) if rows else Cut(columns=axes))

            return k.replace(
                nngp=self._add(k.nngp, both),
                ntk=None if k.ntk is None else self._add(k.ntk, both if jnp.ndim(k.ntk) else WHOLE),
                cov1=self._add(k.cov1, Cut(rows=own)),
                cov2=self._add(k.cov1 if k.cov2 is None else k.cov2, Cut(columns=own)),
                x1_is_x2=SameInputs(self._whole(k.x1_is_x2)),
                mask1=mask(k.mask1, True),
                mask2=mask(k.mask2, False),
            )

        return jax.tree.map(cut, x1, is_leaf=_is_kernel)


def filled_second(x1: PyTree, x2: PyTree) -> tuple[PyTree, bool]:
    """The second batch, with arrays of `x1` in place of None, and whether all of them are those of `x1`.

    Raises:
      TypeError: a batch is a string, as happens if `get` is passed in place of `x2`.
      ValueError: the trees do not match.
    """
    for name, x in (("x1", x1), ("x2", x2)):
        if isinstance(x, str):
            raise TypeError(f"Expected {name} to be an array or a tree of arrays, got {x!r}. `get` comes after x2.")
    if x2 is None or x2 is x1:
        return x1, True

    structure: Any = jax.tree.structure(x1)  # jax's annotation allows no comparison
    try:
        filled = jax.tree.map(lambda b, a: a if b is None else b, x2, x1, is_leaf=lambda b: b is None)
    except ValueError:
        filled = None
    if structure != jax.tree.structure(filled):
        raise ValueError(
            f"Expected x1 and x2 to be trees of arrays of the same structure, got {structure} and "
            f"{jax.tree.structure(x2)}. Pass None for x2, or for some of its arrays, to use those of x1."
        )
    return filled, not jax.tree.leaves(x2)


def batch_length(x: PyTree) -> int:
    """The number of inputs of a batch: the size of the first axis of its arrays.

    Raises:
      TypeError: a leaf is not an array of numbers.
      ValueError: arrays have different sizes or no axes, or there are none.
    """
    wrong = [type(leaf).__name__ for leaf in jax.tree.leaves(x) if not is_array(leaf)]
    if wrong:
        raise TypeError(f"Expected inputs to be arrays or trees of arrays, got {wrong[0]}. Convert with `jnp.asarray`.")
    unknown = [leaf.dtype for leaf in jax.tree.leaves(x) if isinstance(leaf, np.ndarray) and leaf.dtype.kind in "OSUMm"]
    if unknown:
        raise TypeError(f"Expected inputs to be arrays of numbers, got {unknown[0]}. Convert with `x.astype(float)`.")
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(x)]
    if not shapes or not all(shapes) or len({shape[0] for shape in shapes}) > 1:
        raise ValueError(
            "Expected inputs to be arrays of equal size along their first axis, got "
            f"{f'arrays of shapes {shapes}' if shapes else 'no arrays'}."
        )
    return shapes[0][0]


def is_array(leaf: Any) -> bool:
    """Whether a leaf of a tree of arguments is an array; plain numbers are constants."""
    return isinstance(leaf, jax.Array | np.ndarray)


def _plain(array: Any) -> Any:
    """An array that can be indexed: not a matrix of NumPy, nor spread over a mesh with axes of type Explicit."""
    if isinstance(array, np.matrix):
        return np.asarray(array)
    if isinstance(array, jax.Array) and is_concrete(array) and isinstance(array.sharding, NamedSharding):
        mesh = array.sharding.mesh
        if isinstance(mesh, Mesh) and AxisType.Explicit in mesh.axis_types:
            return jax.device_put(array, NamedSharding(Mesh(mesh.devices, mesh.axis_names), array.sharding.spec))
    return array


def _compared_type(dtype: Any) -> Any:
    """The type in which kernel functions of infinite networks, which take real numbers, compare inputs."""
    is_real = jnp.issubdtype(dtype, np.number) and not jnp.issubdtype(dtype, np.complexfloating)
    return jax.dtypes.canonicalize_dtype(np.float64 if is_real else dtype)


def _is_kernel(x: Any) -> bool:
    return isinstance(x, Kernel)


def _equal(a: PyTree, b: PyTree) -> bool:
    """Whether two trees of arrays are the same objects, or known to be equal."""
    structures: list[Any] = [jax.tree.structure(tree) for tree in (a, b)]
    pairs = list(zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=False))
    if structures[0] != structures[1] or any((x.shape, x.dtype) != (y.shape, y.dtype) for x, y in pairs):
        return False
    return all(x is y or (is_concrete((x, y)) and bool((x == y).all())) for x, y in pairs)
