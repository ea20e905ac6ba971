"""What can go wrong with stores: damage, full disks, folders of others, other calls, missing packages."""

import contextlib
import errno
import os
import pathlib
import sys
import tempfile

import jax
import numpy as np
import pytest
import zarr
from store_cases import inputs, kernel_pair, make

from neural_tangents import stax
from neural_tangents.batching import fill_tile, open_store

X1, X2 = inputs(11), inputs(7, seed=1)


@pytest.fixture
def target(tmp_path):
    return tmp_path / "kernels"


@pytest.fixture
def filled(target):
    store = make(target, X1)
    store.fill()
    return store


def truncated(data: bytes) -> bytes:
    return data[:-5]


def flipped(data: bytes) -> bytes:
    return data[:7] + bytes([data[7] ^ 16]) + data[8:]


@pytest.mark.parametrize("damage", [truncated, flipped, lambda data: b""])
@pytest.mark.parametrize("tile", ["0/1", "2/2"])
def test_damaged_tiles(filled, target, damage, tile):
    expected = np.asarray(filled.ntk)
    chunk = target / "ntk" / "c" / tile
    chunk.write_bytes(damage(chunk.read_bytes()))
    i, j = map(int, tile.split("/"))
    for read in (np.asarray, lambda ntk: ntk[4 * i, 4 * j]):
        with pytest.raises(ValueError, match=rf"Tiles \({i}, {j}\) of .*kernels/ntk are damaged.*remove_damaged"):
            read(filled.ntk)
    np.testing.assert_array_equal(filled.ntk[4:8, :4], expected[4:8, :4])  # others are read as before
    assert open_store(target).remove_damaged() == [(i, j)]
    with pytest.raises(ValueError, match=r"1 of 9 tiles are missing in .*kernels/ntk"):
        np.asarray(filled.ntk)
    filled.fill()
    np.testing.assert_array_equal(np.asarray(filled.ntk), expected)


def test_damaged_inputs(target):
    store = make(target, X1)
    (chunk,) = target.glob("inputs-*/0/c/1/0")
    chunk.write_bytes(flipped(chunk.read_bytes()))
    with pytest.raises(ValueError, match="The inputs in .* are damaged"):
        store.fill()


def test_missing_tiles(target):
    store = make(target, X1)
    store.fill(share=(0, 3))
    assert store.missing() == [(0, 1), (0, 2), (1, 2), (2, 2)]
    with pytest.raises(ValueError, match=r"7 of 9 tiles are missing in .*/ntk\. Compute them by `fill"):
        np.asarray(store.ntk)
    with pytest.raises(ValueError, match=r"1 of 2 tiles that are to be read are missing in .*, among them \(0, 1\)"):
        store.ntk[:4, 1:6]
    assert store.ntk[:4, :4].shape == (4, 4)


def test_full_disk(target, monkeypatch):
    store = make(target, X1)
    with monkeypatch.context() as patch:
        written, put = [], zarr.storage._local._put

        def put_until_full(path, value, *args, **kwargs):
            if len(written) == 7:
                raise OSError(errno.ENOSPC, "No space left on device")
            written.append(path)
            return put(path, value, *args, **kwargs)

        patch.setattr("zarr.storage._local._put", put_until_full)
        with pytest.raises(
            OSError, match="No space left on device.*tile .* cannot be written. Tiles .* are kept"
        ) as error:
            store.fill()
        assert error.value.errno == errno.ENOSPC
        with pytest.raises(OSError, match="the store .* cannot be written. Make room"):
            make(target.parent / "new", X1)
    assert os.listdir(target.parent) == ["kernels"]  # nothing is left of what could not be made
    done = 6 - len(store.missing())
    assert 0 < done < 6
    store.fill()
    np.testing.assert_allclose(np.asarray(store.nngp), X1 @ X1.T, rtol=1e-5)


@contextlib.contextmanager
def read_only(folder):
    """Nothing in a folder can be written, not even by root, who is another user meanwhile."""
    folders = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    for path in folders:
        path.chmod(0o555)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)
        for path in folders:
            path.chmod(0o755)


def test_read_only_folder():
    with tempfile.TemporaryDirectory() as parent:  # unlike `tmp_path`, no folder above it is closed to other users
        target = pathlib.Path(parent, "kernels")
        store = make(target, X1)
        store.fill()
        with read_only(target.parent):
            np.testing.assert_allclose(np.asarray(make(target, X1).nngp), X1 @ X1.T, rtol=1e-5)
            with pytest.raises(PermissionError, match=r"'ntk.factor' cannot be written"):
                store.ntk.beside("factor", (11, 11), (4, 4), np.float32)
            with pytest.raises(PermissionError, match="the store .* cannot be written"):
                make(target.parent / "new", X1)
            with pytest.raises(PermissionError, match=r"tile \(0, 0\) of .*/ntk cannot be written"):
                store.ntk.write(slice(0, 4), slice(0, 4), np.zeros((4, 4)))


def test_a_store_object_that_is_read_only(filled, target):
    store = open_store(zarr.storage.LocalStore(target, read_only=True))
    np.testing.assert_array_equal(np.asarray(store.ntk), np.asarray(filled.ntk))
    with pytest.raises(OSError, match="for reading only"):
        store.ntk.beside("factor", (11, 11), (4, 4), np.float32)
    with pytest.raises(OSError, match="cannot be written"):
        make(zarr.storage.LocalStore(target.parent / "new", read_only=True), X1)


def other_call(target, **changes):
    return make(target, *changes.pop("args", (X1,)), **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"args": (X1 + 1,)}, "values of inputs, or of other arrays"),
        ({"args": (X1, X2)}, r"numbers of inputs are \(11, 11\) in the store, but \(11, 7\) here"),
        ({"batch_size": 3}, r"rows and columns of a tile, .*, are \(4, 4\) in the store, but \(3, 3\) here"),
        (
            {"get": "ntk"},
            "names and types of results are .*'nngp': 'float32'.* in the store, but {'ntk': 'float32'} here",
        ),
        ({"factor": 2.0}, r"arguments that are no arrays are {} in the store, but .*'factor'.*: '2.0'"),
        (
            {"kernel_fn": kernel_pair(1.01)},
            r"Expected the kernel function with which .* tile \(0, 0\) of 'nngp' differs",
        ),
    ],
)
def test_another_call(filled, target, changes, message):
    with pytest.raises(ValueError, match=message):
        other_call(target, **changes)
    np.testing.assert_allclose(np.asarray(filled.nngp), X1 @ X1.T, rtol=1e-5)


def test_another_precision(target):
    x = X1.astype(np.float64)
    make(target, x)
    with jax.enable_x64(True), pytest.raises(ValueError, match="float32.* in the store, but .*float64"):
        make(target, x)


def test_another_kernel_function_up_to_rounding(filled, target):
    make(target, X1, kernel_fn=kernel_pair(1 + 1e-6))


def test_a_worker_with_another_precision(target):
    store = make(target, X1.astype(np.float64))
    with jax.enable_x64(True), pytest.raises(ValueError, match="the same settings of jax"):
        fill_tile(store.__reduce__()[0](*store.__reduce__()[1]), 0, 0)


def test_folders_that_hold_something_else(tmp_path):
    (tmp_path / "file").write_text("text")
    zarr.create_group(str(tmp_path / "zarr"), attributes={"made by": "others"})
    memory = zarr.storage.MemoryStore()
    zarr.create_group(memory, attributes={"made by": "others"})
    for target in (tmp_path, tmp_path / "file", tmp_path / "zarr", memory):
        with pytest.raises(ValueError, match="Expected .* to be new, or a store of kernels, but it holds other data"):
            make(target, X1)
    with pytest.raises(FileNotFoundError, match="Expected a store of kernels at .*; found none"):
        open_store(tmp_path / "nothing")
    with pytest.raises(TypeError, match="to be a path, a URL or a store object of zarr, got int"):
        open_store(3)


def test_a_later_format(filled, target):
    group = zarr.open_group(str(target), mode="r+")
    group.update_attributes({"neural_tangents": {**group.attrs["neural_tangents"], "format": 99}})
    with pytest.raises(ValueError, match="of format 1, got one that neural_tangents .* has made"):
        open_store(target)


def test_results_that_are_no_kernels(target):
    _, _, kernel_fn = stax.serial(stax.Dense(1), stax.Relu())
    with pytest.raises(ValueError, match="Ask for kernels by `get`"):
        make(target, X1, None, ("ntk", "cov1"), kernel_fn=kernel_fn)
    with pytest.raises(ValueError, match="`batch_size` for a store"):
        make(target, X1, batch_size=0)
    with pytest.raises(ValueError, match="Ask for kernels by `get`"):
        make(target, X1, kernel_fn=lambda a, b: b @ a.T)
    with pytest.raises(ValueError, match="at least one input"):
        make(target, X1[:0])
    with pytest.raises(ValueError, match="values of inputs that are known"):
        jax.jit(lambda x: make(target, x).names)(X1)
    assert not target.exists()


def test_arguments_of_fill(filled):
    for share in [(3, 3), (-1, 3), (0, 0), 3, (0.5, 2), (1, 2, 3)]:
        with pytest.raises(ValueError, match="Expected `share` to be a pair"):
            filled.fill(share=share)
    with pytest.raises(TypeError, match="Expected `executor` to have a method `submit`"):
        filled.fill(executor=3)
    for tile in [(3, 0), (0, -1)]:
        with pytest.raises(ValueError, match="Expected a tile of the 3 x 3 tiles"):
            fill_tile(filled, *tile)


def test_stores_opened_for_reading_compute_nothing(filled, target):
    for call in (lambda store: store.fill(), lambda store: fill_tile(store, 0, 0)):
        (target / "ntk" / "c" / "0" / "0").unlink(missing_ok=True)
        with pytest.raises(ValueError, match="was opened without a kernel function"):
            call(open_store(target))


def test_names_that_are_not_there(filled):
    with pytest.raises(AttributeError, match="A store of nngp, ntk has no attribute 'cov1'"):
        filled.cov1  # noqa: B018
    with pytest.raises(KeyError, match="has kernels nngp, ntk, but no 'cov1'"):
        filled["cov1"]
    assert "ntk" in dir(filled)


def test_missing_packages(filled, target, monkeypatch):
    def without(name):
        monkeypatch.setitem(sys.modules, name, None)
        return pytest.raises(ImportError, match=rf"{name} is needed .* pip install 'neural-tangents-jax\[store\]'")

    with without("tqdm"):
        filled.fill(progress=True)
    filled.fill()
    with without("cloudpickle"):
        filled.__reduce__()
    with without("zarr"):
        open_store(target)
    monkeypatch.undo()
    monkeypatch.setattr(zarr, "__version__", "3.1.2")
    with pytest.raises(ImportError, match="Expected zarr 3.1.3 or later, got 3.1.2"):
        open_store(target)
