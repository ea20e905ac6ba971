"""Where a store is, and the few things that are asked of zarr: groups, arrays, and which chunks there are."""

import contextlib
import errno
import importlib
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

_OLDEST_ZARR = (3, 1, 3)  # the first to write a chunk in one step: to a temporary file, which is then renamed


def import_zarr() -> Any:
    """The package zarr.

    Raises:
      ImportError: it is missing or too old.
    """
    zarr = import_extra("zarr", "a store")
    numbers = [part for part in zarr.__version__.split(".")[:3] if part.isdecimal()]
    if tuple(map(int, numbers)) < _OLDEST_ZARR:
        raise ImportError(
            f"Expected zarr {'.'.join(map(str, _OLDEST_ZARR))} or later, got {zarr.__version__}, whose tiles may be "
            "torn if a process is killed. Install a later one: pip install 'neural-tangents-jax[store]'."
        )
    return zarr


def import_extra(name: str, purpose: str) -> Any:
    """A package that only stores need.

    Raises:
      ImportError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"The package {name} is needed for {purpose}. Install it: pip install 'neural-tangents-jax[store]'."
        ) from error


def checked_target(target: Any) -> Any:
    """A target as it may be sent to other processes: an absolute path, a URL, or a store of zarr.

    Raises:
      TypeError: it is something else.
    """
    if isinstance(target, os.PathLike):
        target = os.fspath(target)
    if isinstance(target, str):
        target = target.removeprefix("file://")
        return target if "://" in target else os.path.abspath(os.path.expanduser(target))
    if isinstance(target, import_zarr().abc.store.Store):
        return target
    raise TypeError(
        f"Expected the target of a store to be a path, a URL or a store object of zarr, got {type(target).__name__}."
    )


def is_folder(target: Any) -> bool:
    """Whether a target is a local path."""
    return isinstance(target, str) and "://" not in target


def opened(target: Any, create: bool = False) -> Any:
    """The group of zarr at a target.

    Raises:
      FileNotFoundError: there is none.
    """
    # Without this, file systems remember which files there are, and do not see what other processes write.
    remembers = isinstance(target, str) and not is_folder(target) and not target.startswith("memory:")
    options = {"use_listings_cache": False} if remembers else None
    zarr = import_zarr()
    if create and not getattr(target, "read_only", False):
        with contextlib.suppress(zarr.errors.ContainsGroupError):  # another process has just made it
            return zarr.open_group(target, mode="a", storage_options=options)
    return zarr.open_group(target, mode="r" if getattr(target, "read_only", False) else "r+", storage_options=options)


def new_array(
    group: Any, name: str, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: Any, **attributes: Any
) -> Any:
    """An array in a group; if it is there, that one.

    Raises:
      ValueError: there is one of this name, but of another shape, chunks or type.
      OSError: it cannot be written.
    """
    zarr = import_zarr()
    dtype, plain = np.dtype(dtype), plain_dtype(dtype)
    if group.store.read_only:
        raise OSError(
            errno.EROFS, f"The store {group.store} is open for reading only: '{name}' cannot be created there."
        )
    try:
        return zarr.create_array(
            group.store,
            name=f"{group.path}/{name}".lstrip("/"),
            shape=shape,
            chunks=tuple(max(1, size) for size in chunks),
            dtype=plain,
            fill_value=np.nan if plain.kind in "fc" else plain.type(0),
            filters=None,
            compressors=[zarr.codecs.Crc32cCodec()],  # no compression, but a checksum of each chunk
            attributes={"dtype": dtype.name, **attributes},
            config={"write_empty_chunks": True},
        )
    except zarr.errors.ContainsArrayError:
        array = old_array(group, name)
    found = array.shape, array.chunks, array.attrs["dtype"]
    if found != (shape, chunks, dtype.name):
        raise ValueError(
            f"Expected '{name}' in {group.store} to have shape {shape}, tiles {chunks} and type {dtype.name}, got "
            f"{', '.join(map(str, found))}. It was made for something else: use another name, or another store."
        )
    return array


def old_array(group: Any, name: str) -> Any:
    """An array in a group, opened so that chunks of nothing but zeros, or of nothing but NaN, are written too."""
    with import_zarr().config.set({"array.write_empty_chunks": True}):
        return group[name]


def plain_dtype(dtype: Any) -> np.dtype[Any]:
    """The type as which entries are stored: types that are not NumPy's own, such as bfloat16, as integers."""
    dtype = np.dtype(dtype)
    return dtype if dtype.isbuiltin == 1 else np.dtype(f"u{dtype.itemsize}")


def has_chunk(array: Any, *numbers: int) -> bool:
    """Whether a chunk has been written. There is only one along axes that are not numbered."""
    return bool(_wait_for(array.store.exists(_chunk_key(array, numbers))))


def delete_chunk(array: Any, *numbers: int) -> None:
    """Removes a chunk, if it is there."""
    _wait_for(array.store.delete(_chunk_key(array, numbers)))


def written_chunks(array: Any) -> set[tuple[int, int]]:
    """The first two numbers of all chunks that have been written, from one listing."""
    prefix = f"{array.path}/c/"

    async def keys() -> list[str]:
        return [key async for key in array.store.list_prefix(prefix)]

    numbers = (key.removeprefix(prefix).split("/") for key in _wait_for(keys()))
    return {(int(i), int(j)) for i, j, *rest in numbers if all(map(str.isdecimal, (i, j, *rest)))}


def _chunk_key(array: Any, numbers: tuple[int, ...]) -> str:
    padded = (*numbers, *[0] * (len(array.shape) - len(numbers)))
    return "/".join([array.path, "c", *map(str, padded)])


def _wait_for(coroutine: Any) -> Any:
    return importlib.import_module("zarr.core.sync").sync(coroutine)


@contextlib.contextmanager
def explained_write(what: str, advice: str) -> Iterator[None]:
    """Says in errors of the operating system what could not be written, and what to do."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(error.errno or errno.EIO, f"{reason}: {what} cannot be written. {advice}") from error
