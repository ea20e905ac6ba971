"""The kernel of one tile as a compiled function of arrays, for one or for several devices."""

import functools
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from neural_tangents._core.concrete import is_concrete
from neural_tangents._core.kernel import Kernel
from neural_tangents._core.mesh_axes import cond
from neural_tangents._core.programs import Programs
from neural_tangents._core.tiling.call_form import (
    COLUMNS,
    ROWS,
    BlockKey,
    CallForm,
    SameEps,
    SameInputs,
    Slot,
    is_array,
)
from neural_tangents._core.tiling.grid import Grid
from neural_tangents._core.tiling.tile_results import (
    MORE_COLUMNS,
    MORE_ROWS,
    NotInTiles,
    Result,
    ResultTree,
    read_results,
)
from neural_tangents._core.types import PyTree

_PLACEHOLDERS = (Slot, BlockKey, SameEps, SameInputs)


class TileFunction:
    """The kernel of one tile, for batches of certain shapes and types; compiled once.

    Attributes:
      grid: the tiles of the whole kernel.
      cuts: for each array among the arguments, how it is cut.
      results: what is known of each array that the kernel function returns.
      may_be_asymmetric: whether nothing but results can tell that kernels of one batch are symmetric.
    """

    def __init__(self, form: CallForm, grid: Grid) -> None:
        self._kernel_fn, self._arguments = form.kernel_fn, form.arguments
        self.cuts, self._traits = tuple(form.cuts), form.traits
        self.may_be_asymmetric = form.traits.output_pairs is None
        self._compiled = jax.jit(self._flat)
        self._side_by_side = Programs()
        self._traced: ResultTree | None = None
        self._alone: Any = None
        if form.traits.mixes_inputs:
            raise NotInTiles(
                "Expected a network that treats inputs independently of each other, but one of its layers mixes the "
                "inputs of a batch (`LayerNorm` or `DotGeneral` along the batch axis, or `Index` of some inputs), so "
                "that blocks of inputs have other kernels than the batch. Call `kernel_fn` of the whole batch."
            )

        rows, columns = grid.sizes
        self._blocks = _blocks(form, rows, columns)
        try:
            tile = self._shapes(self._blocks)
        except Exception as error:
            error.add_note(
                f"In a tile of {rows} x {columns} of {form.n1} x {form.n2} inputs, cut along their first axis."
            )
            raise
        of_tile = self._traced
        assert of_tile is not None
        try:
            more = self._shapes(_blocks(form, rows + MORE_ROWS, columns + MORE_COLUMNS))
        except Exception as error:
            raise NotInTiles(
                f"Expected a kernel function of any two batches, but it fails for {rows + MORE_ROWS} and "
                f"{columns + MORE_COLUMNS} inputs: {error} Tiles cannot be joined if the batch axis of outputs is in "
                "`diagonal_axes` or `trace_axes`, or if `vmap_axes` is not the first axis."
            ) from error
        larger = dict(zip(self._traced.of_arrays(self._traced.paths), more, strict=True))
        results = read_results(of_tile, tile, larger, grid, self._traits.has_single_batches)
        # Where there are kernels only, whole batches have the tree of a tile. Else, `x2=None` may make a difference.
        is_plain = all(of_tile.is_array) and not any(of_tile.in_kernel) and all(r.is_matrix for r in results)
        self._whole: ResultTree = of_tile if is_plain or form.original is None else WholeFunction(form).tree
        needed = set(self._whole.of_arrays(self._whole.paths))
        self._kept: list[bool] = [result.path in needed for result in results]
        self.results: list[Result] = [result for result in results if result.path in needed]
        if form.alone is not None and self._differs_alone(form.alone):
            self._alone = form.alone[0], of_tile.of_arrays(of_tile.paths), tile
            self._compiled = jax.jit(self._flat)  # what was traced so far is another program
        symmetric = grid.symmetric and all(r.mirror is not None for r in self.results if r.is_matrix)
        self.grid: Grid = Grid(grid.rows, grid.columns, symmetric)

    def __call__(self, arrays: Sequence[Any], same: Any) -> list[jax.Array]:
        """The arrays of one tile, from blocks of arrays and from arrays that all tiles share."""
        return self._select(self._compiled(list(arrays), same))

    def memory(self) -> int:
        """Bytes that the program of one tile takes: its temporaries, arguments and results."""
        stats = self._compiled.lower(self._blocks, jax.ShapeDtypeStruct((), bool)).compile().memory_analysis()
        if stats is None:
            raise RuntimeError(
                "The backend does not tell the memory that programs take. Pass a number as `batch_size`."
            )
        return int(stats.temp_size_in_bytes + stats.argument_size_in_bytes + stats.output_size_in_bytes)

    def on_devices(self, devices: Sequence[Any]) -> Callable[..., list[jax.Array]]:
        """The same function of blocks for each device, stacked along a new first axis."""

        def side_by_side() -> Callable[..., list[Any]]:
            # One leaf for each argument: with trees of arrays, some releases of jax map the wrong ones.
            axes = (*(None if cut.is_whole else 0 for cut in self.cuts), 0)
            return jax.pmap(lambda *leaves: self._flat(list(leaves[:-1]), leaves[-1]), in_axes=axes, devices=devices)

        step = self._side_by_side.kept(tuple(devices), side_by_side)
        mesh = Mesh(np.array(devices), ("tile",))
        shared, spread = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((), ("tile",)))

        def call(arrays: Sequence[Any], same: Any) -> list[jax.Array]:
            # Arrays that a user has put on some device would not be moved by `pmap`.
            placed = [
                jax.device_put(array, shared if cut.is_whole else spread)
                if isinstance(array, jax.Array) and is_concrete(array)
                else array
                for array, cut in zip(arrays, self.cuts, strict=True)
            ]
            return self._select(step(*placed, same))

        return call

    def traced(self, arrays: Sequence[Any], same: Any) -> list[jax.Array]:
        """The same function, not compiled by itself."""
        return self._select(self._flat(list(arrays), same))

    def mixes_batches(self, k: int) -> bool:
        """Whether result `k`, which has an axis of one batch only, may depend on the other: seen without its values."""
        other = [bool(cut.columns if self.results[k].cut.rows else cut.rows) for cut in self.cuts]
        axes = [0 if there else None for there in other]
        several = [
            jax.ShapeDtypeStruct((2, *block.shape), block.dtype) if there else block
            for block, there in zip(self._blocks, other, strict=True)
        ]
        # A function that is mapped over the other batch may leave a result unmapped only if it does not depend on it.
        mapped = jax.vmap(lambda arrays, same: self.traced(arrays, same)[k], in_axes=(axes, None), out_axes=None)
        try:
            jax.eval_shape(mapped, several, jax.ShapeDtypeStruct((), bool))
        except ValueError:
            return True
        return False

    def joined(self, arrays: Sequence[Any]) -> PyTree:
        """The results for whole batches, from their arrays."""
        return self._whole.restored(dict(zip((r.path for r in self.results), arrays, strict=True)))

    def _select(self, leaves: Sequence[Any]) -> list[Any]:
        return [leaf for leaf, kept in zip(leaves, self._kept, strict=True) if kept]

    def _shapes(self, blocks: list[jax.ShapeDtypeStruct]) -> list[jax.ShapeDtypeStruct]:
        return jax.eval_shape(self._compiled, blocks, jax.ShapeDtypeStruct((), bool))

    def _flat(self, arrays: list[Any], same: Any) -> list[Any]:
        if self._alone is None:
            return self._evaluated(self._arguments, arrays, same)
        arguments, paths, expected = self._alone

        def alone() -> list[Any]:
            args, kwargs = _filled(arguments, arrays, self.cuts, same)
            leaves = dict(jax.tree_util.tree_flatten_with_path(self._kernel_fn(*args, **kwargs))[0])
            # What a result has for two batches only, such as variances of the second one, is not asked for.
            return [
                jnp.asarray(leaves.get(path, jnp.zeros(x.shape)), x.dtype)
                for path, x in zip(paths, expected, strict=True)
            ]

        return cond(same, alone, lambda: self._evaluated(self._arguments, arrays, same))

    def _evaluated(self, arguments: Any, arrays: list[Any], same: Any) -> list[Any]:
        args, kwargs = _filled(arguments, arrays, self.cuts, same)
        results = self._kernel_fn(*args, **kwargs)
        pairs = self._traits.output_pairs
        self._traced, found = ResultTree.of(results, pairs and functools.partial(pairs, results, args, kwargs))
        return found

    def _differs_alone(self, alone: tuple[Any, Any]) -> bool:
        """Whether the kernel function treats `x2=None` differently from `x1` itself, such as by adding noise."""

        def program(arguments: Any) -> str:
            traced = jax.make_jaxpr(functools.partial(self._evaluated, arguments))
            text = str(traced(self._blocks, jax.ShapeDtypeStruct((), bool)))
            return re.sub(r"0x[0-9a-f]+", "", text)  # addresses of functions

        try:
            return program(alone[0]) != program(alone[1])
        except Exception:  # it cannot be called like this
            return False


class WholeFunction:
    """The kernel function of whole batches, compiled for arrays of certain shapes and types.

    Attributes:
      tree: what it returns, without the arrays.
    """

    def __init__(self, form: CallForm) -> None:
        self._kernel_fn = form.kernel_fn
        leaves, self._structure = jax.tree.flatten(form.original)
        self._constants = [None if is_array(leaf) else leaf for leaf in leaves]
        self._compiled = jax.jit(self._flat)
        self.tree: ResultTree
        jax.eval_shape(self._compiled, self.arrays(form))

    def arrays(self, form: CallForm) -> list[Any]:
        """The arrays among the arguments of a call, each of them once."""
        return [leaf for leaf in jax.tree.leaves(form.original) if is_array(leaf)]

    def __call__(self, form: CallForm) -> PyTree:
        found = self._compiled(self.arrays(form))
        return self.tree.restored(dict(zip(self.tree.of_arrays(self.tree.paths), found, strict=True)))

    def _flat(self, arrays: list[Any]) -> list[Any]:
        given = iter(arrays)
        leaves = [next(given) if constant is None else constant for constant in self._constants]
        args, kwargs = jax.tree.unflatten(self._structure, leaves)
        self.tree, found = ResultTree.of(self._kernel_fn(*args, **kwargs))
        return found


def _filled(arguments: Any, arrays: Sequence[Any], cuts: Sequence[Any], same: Any) -> Any:
    """Arguments with arrays, and what depends on the tile, in the places kept for them."""

    @functools.cache
    def number_of(rows: bool) -> Any:
        wanted = ROWS if rows else COLUMNS
        return _fingerprint([a for a, cut in zip(arrays, cuts, strict=True) if cut == wanted])

    def fill(leaf: Any) -> Any:
        if isinstance(leaf, Slot):
            return arrays[leaf.number]
        if isinstance(leaf, BlockKey):
            return jax.random.fold_in(arrays[leaf.key.number], number_of(leaf.of_rows))
        if isinstance(leaf, SameEps):
            return jnp.where(same, jnp.inf, 0.0)
        if isinstance(leaf, SameInputs):
            known = fill(leaf.batches)
            return same if known is True else jnp.logical_and(known, same)
        return leaf

    def refit(node: Any) -> Any:
        """A kernel with the shapes of its blocks."""
        if not isinstance(node, Kernel):
            return fill(node)
        k = jax.tree.map(fill, node, is_leaf=lambda leaf: isinstance(leaf, _PLACEHOLDERS))
        n1, n2 = k.nngp.shape[:2]

        def resized(shape: Any, n: int) -> Any:
            axis = k.batch_axis % len(shape)
            return (*shape[:axis], n, *shape[axis + 1 :])

        return k.replace(shape1=resized(k.shape1, n1), shape2=resized(k.shape2, n2))

    return jax.tree.map(refit, arguments, is_leaf=lambda leaf: isinstance(leaf, (Kernel, *_PLACEHOLDERS)))


def _fingerprint(block: Sequence[Any]) -> jax.Array:
    """A number made of the values of a block: equal blocks have equal numbers, and different ones almost never."""
    total = jnp.zeros((), jnp.uint32)
    for leaf in block:
        values = lax.stop_gradient(jnp.asarray(leaf))
        if jnp.issubdtype(values.dtype, jnp.complexfloating):
            values = jnp.stack([values.real, values.imag])
        if jnp.issubdtype(values.dtype, jnp.floating):
            narrow = values.dtype.itemsize < 4
            values = lax.bitcast_convert_type(values + 0.0, jnp.uint16 if narrow else jnp.uint32)  # -0.0 is 0.0
        bits = values.astype(jnp.uint32).reshape(-1)
        order = jnp.arange(1, bits.size + 1, dtype=jnp.uint32)
        mixed = (bits ^ (bits >> 15)) * jnp.uint32(0x9E3779B1) + order * jnp.uint32(0x85EBCA6B)
        mixed = (mixed ^ (mixed >> 13)) * jnp.uint32(0xC2B2AE35)
        total = total * jnp.uint32(31) + jnp.sum(mixed ^ (mixed >> 16), dtype=jnp.uint32)
    return total


def _blocks(form: CallForm, rows: int, columns: int) -> list[jax.ShapeDtypeStruct]:
    """Shapes of the arrays of a tile, with the types that jax gives to NumPy's."""

    def block(array: Any, cut: Any) -> jax.ShapeDtypeStruct:
        is_key = jnp.issubdtype(array.dtype, jax.dtypes.prng_key)
        dtype = array.dtype if is_key else jax.dtypes.canonicalize_dtype(array.dtype)
        return jax.ShapeDtypeStruct(cut.resized(jnp.shape(array), rows, columns), dtype)

    return [block(array, cut) for array, cut in zip(form.arrays, form.cuts, strict=True)]
