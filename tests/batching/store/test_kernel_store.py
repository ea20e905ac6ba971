"""Stores: what is in them, how they are read, and that they are continued by the same call only."""

import functools
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zarr
from store_cases import inputs, kernel_pair, make, run

import neural_tangents as nt
from neural_tangents import stax
from neural_tangents._core.stored import StoredMatrix
from neural_tangents.batching import KernelStore, fill_tile, open_store

X1, X2 = inputs(11), inputs(7, seed=1)


@pytest.fixture
def target(tmp_path):
    return tmp_path / "kernels"


def check(store: KernelStore, **expected):
    """All kernels are there, and those that are expected."""
    assert store.missing() == [] and set(store.names) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(np.asarray(store[name]), values, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("x2", [None, X2])
def test_both_kernels_are_stored_tile_by_tile(target, x2):
    store = make(target, X1, x2)
    other = X1 if x2 is None else x2
    assert store.missing() == [(i, j) for i in range(3) for j in range(0 if x2 is not None else i, -(-len(other) // 4))]
    store.fill()
    check(store, nngp=X1 @ other.T, ntk=np.tanh(X1 @ other.T))
    assert store.ntk.tile_shape == (4, 4) and store.ntk.ndim == 2
    check(open_store(target), nngp=X1 @ other.T, ntk=np.tanh(X1 @ other.T))
    # Any other tool reads it too, without this library.
    np.testing.assert_array_equal(zarr.open_group(str(target), mode="r")["ntk"][:], np.asarray(store.ntk))


@pytest.mark.parametrize(("get", "name"), [("ntk", "ntk"), ("nngp", "nngp")])
def test_one_kernel_has_the_name_it_was_asked_by(target, get, name):
    store = make(target, X1, X2, get)
    store.fill()
    check(store, **{name: np.asarray(kernel_pair()(X1, X2, get))})
    assert set(make(target.parent / "other", X1, kernel_fn=lambda a, b: a @ b.T).names) == {"kernel"}


def test_parts_are_read_as_of_an_array(target):
    store = make(target, X1, X2, get="ntk")
    store.fill()
    whole = np.asarray(store.ntk)
    keys = [
        3,
        -1,
        ...,
        np.s_[2:9],
        np.s_[2:9, 1],
        np.s_[2, 3],
        np.s_[::3, ::-2],
        np.s_[5:5],
        np.s_[-3:, :2],
        np.s_[:, 6],
    ]
    for key in keys:
        np.testing.assert_array_equal(store.ntk[key], whole[key])
    np.testing.assert_array_equal(store.ntk.read(slice(3, 9), slice(0, 5)), whole[3:9, :5])
    assert jnp.asarray(store.ntk).shape == (11, 7) and np.asarray(store.ntk, np.float64).dtype == np.float64
    with pytest.raises(TypeError, match="integers or slices"):
        store.ntk[[1, 2]]
    with pytest.raises(ValueError, match="without a copy"):
        np.asarray(store.ntk, copy=False)


def test_axes_of_outputs_are_mirrored_too(target):
    def apply_fn(params, x):
        return jnp.tanh(x @ params)

    params = jnp.asarray(inputs(3, 2))
    kernel_fn = nt.empirical_ntk_fn(apply_fn, trace_axes=(), vmap_axes=0)
    expected = np.asarray(kernel_fn(X1, None, params))
    for name, kwargs in {"whole": {}, "partial": {"params": params}}.items():
        fn = functools.partial(kernel_fn, **kwargs)
        store = make(target / name, X1, None, *([] if kwargs else [params]), kernel_fn=fn)
        assert len(store.missing()) == 6
        store.fill()
        assert store.ntk.shape == (11, 11, 2, 2)
        np.testing.assert_allclose(np.asarray(store.ntk), expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(store.ntk[2:5, 9, 1], expected[2:5, 9, 1], rtol=1e-4, atol=1e-5)


def test_whole_kernels_of_infinite_networks(target):
    """Without `get`, the kernels of both batches are kept; how arguments are passed makes no other call."""
    _, _, kernel_fn = stax.serial(stax.Dense(8), stax.Relu(), stax.Dense(1))
    store = make(target / "all", X1, kernel_fn=kernel_fn)
    assert store.names == ("nngp", "ntk")
    store.fill(share=(0, 2))
    store = make(target / "all", X1, None, None, diagonal_batch=None, kernel_fn=kernel_fn)
    store.fill()
    expected = kernel_fn(X1, None)
    check(store, nngp=expected.nngp, ntk=expected.ntk)
    make(target / "one", X1, None, "ntk", kernel_fn=kernel_fn).fill()
    assert not make(target / "one", x2=None, x1_or_kernel=X1, get="ntk", kernel_fn=kernel_fn).missing()
    assert pickle.loads(pickle.dumps(store)).missing() == []


def test_matrices_are_not_loaded_without_a_word(target):
    store = make(target, X1)
    store.fill()
    for wrong in (lambda: store.ntk @ np.ones(11), lambda: np.ones(11) @ store.ntk, lambda: store.ntk + 1):
        with pytest.raises(TypeError):
            wrong()
    assert np.asarray(store.ntk).shape == (11, 11)


@pytest.mark.slow
def test_infinite_networks_and_kernels_of_them(target):
    _, _, kernel_fn = stax.serial(stax.Dense(8), stax.Relu(), stax.Dense(1))
    store = make(target / "inputs", X1, None, ("nngp", "ntk"), kernel_fn=kernel_fn)
    store.fill()
    expected = kernel_fn(X1, None, ("nngp", "ntk"))
    check(store, nngp=expected.nngp, ntk=expected.ntk)
    k = stax.Dense(4)[2](X1)
    store = make(target / "kernels", k, get="ntk", kernel_fn=kernel_fn)
    store.fill()
    check(store, ntk=kernel_fn(k, get="ntk"))


@pytest.mark.slow
def test_averages_over_networks(target):
    init_fn, apply_fn, _ = stax.serial(stax.Dense(8), stax.Relu(), stax.Dense(1))
    kernel_fn = nt.monte_carlo_kernel_fn(init_fn, apply_fn, jax.random.key(1), n_samples=2)
    store = make(target, X1, None, ("nngp", "ntk"), kernel_fn=kernel_fn)
    store.fill()
    expected = kernel_fn(X1, None, ("nngp", "ntk"))
    check(store, nngp=expected.nngp, ntk=expected.ntk)


def test_pairs_of_keywords_and_random_keys(target):
    def kernel_fn(x1, x2, weights, key):
        noise = jax.random.normal(key, (3, 3))
        return (weights[0][:, None] * x1) @ noise @ (weights[1][:, None] * (x1 if x2 is None else x2)).T

    weights, key = (X1[:, 0], X2[:, 1]), jax.random.key(1)
    store = make(target, X1, X2, weights=weights, key=key, kernel_fn=kernel_fn)
    store.fill()
    check(store, kernel=kernel_fn(X1, X2, weights, key))
    assert make(target, X1, X2, weights=weights, key=key, kernel_fn=kernel_fn).missing() == []
    with pytest.raises(ValueError, match="values of inputs, or of other arrays"):
        make(target, X1, X2, weights=weights, key=jax.random.key(2), kernel_fn=kernel_fn)


def test_kernels_that_are_not_symmetric_are_stored_whole(target):
    matrix = inputs(3, seed=2)

    def kernel_fn(x1, x2=None):
        return x1 @ matrix @ (x1 if x2 is None else x2).T

    store = make(target, X1, kernel_fn=kernel_fn)
    assert len(store.missing()) == 9
    store.fill()
    check(make(target, X1, kernel_fn=kernel_fn), kernel=X1 @ matrix @ X1.T)


@pytest.mark.parametrize("dtype", ["bfloat16", "float64", "complex64"])
def test_types(target, dtype):
    with jax.enable_x64(dtype == "float64"):
        store = make(target, X1.astype(jnp.dtype(dtype)), kernel_fn=lambda a, b: a @ b.T)
        store.fill()
        assert store.kernel.dtype == jnp.dtype(dtype) and np.asarray(open_store(target).kernel).dtype == jnp.dtype(
            dtype
        )
        np.testing.assert_allclose(np.asarray(store.kernel, complex), X1 @ X1.T, rtol=0.05, atol=0.05)


def test_tiles_of_zeros_or_nan_are_done_too(target):
    def kernel_fn(x1, x2):
        return jnp.stack([jnp.zeros((len(x1), len(x2))), jnp.full((len(x1), len(x2)), jnp.nan)], -1)

    store = make(target, X1, X2, kernel_fn=kernel_fn)
    store.fill()
    assert store.missing() == [] and make(target, X1, X2, kernel_fn=kernel_fn).missing() == []
    assert np.all(np.asarray(store.kernel)[..., 0] == 0) and np.all(np.isnan(np.asarray(store.kernel)[..., 1]))


def test_it_is_continued(target):
    make(target, X1).fill(share=(0, 2))
    store = make(target, X1)
    assert len(store.missing()) == 3 and "3 of 6 tiles of 4 x 4" in repr(store)
    store.fill(progress=False)
    check(store, nngp=X1 @ X1.T, ntk=np.tanh(X1 @ X1.T))


def test_tiles_whose_size_the_machine_chooses_are_kept(target):
    assert make(target / "new", X1, batch_size="auto").ntk.tile_shape == (11, 11)
    make(target / "old", X1, X2).fill(share=(0, 2))
    store = make(target / "old", X1, X2, batch_size="auto")
    store.fill()
    check(store, nngp=X1 @ X2.T, ntk=np.tanh(X1 @ X2.T))


def test_matrices_satisfy_the_protocol_and_have_others_beside(target):
    store = make(target, X1)
    assert isinstance(store.ntk, StoredMatrix)
    beside = store.ntk.beside("factor", (11, 11), (4, 4), np.float32)
    assert isinstance(beside, StoredMatrix) and not beside.has_tile(2, 2)
    beside.write(slice(8, 11), slice(8, 11), np.eye(3))
    again = open_store(target).ntk.beside("factor", (11, 11), (4, 4), np.float32)
    assert again.has_tile(2, 2) and not again.has_tile(0, 0) and store.names == ("nngp", "ntk")
    np.testing.assert_array_equal(again[8:, 8:], np.eye(3))
    with pytest.raises(ValueError, match="Expected 'ntk.factor' .* to have shape"):
        store.ntk.beside("factor", (11, 11), (4, 4), np.float64)
    for rows, shape in [(slice(8, 10), (2, 3)), (slice(7, 11), (4, 3)), (slice(8, 11), (3, 2))]:
        with pytest.raises(ValueError, match="Expected one whole tile"):
            beside.write(rows, slice(8, 11), np.zeros(shape))


@pytest.mark.parametrize("kind", ["fsspec", "obstore", "memory", "file"])
def test_remote_stores(tmp_path, kind):
    if kind == "obstore":
        obstore = pytest.importorskip("obstore")
        target = zarr.storage.ObjectStore(obstore.store.LocalStore(tmp_path / "s", mkdir=True))
    elif kind == "memory":
        target = zarr.storage.MemoryStore()
    else:
        target = f"memory://{tmp_path}/s" if kind == "fsspec" else f"file://{tmp_path}/s"
    make(target, X1).fill(share=(1, 2))
    store = make(target, X1)
    assert len(store.missing()) == 3
    store.fill()
    check(open_store(target), nngp=X1 @ X1.T, ntk=np.tanh(X1 @ X1.T))
    with pytest.raises(ValueError, match="values of inputs"):
        make(target, X1 + 1)


def test_a_remote_store_that_was_half_made_is_made(monkeypatch):
    """Its plan is written last, so that whoever finds it finds a whole store."""
    target = zarr.storage.MemoryStore()
    with monkeypatch.context() as patch:
        patch.setattr("neural_tangents.batching._store.store_plan.StorePlan.write", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            make(target, X1)
    with pytest.raises(FileNotFoundError, match="found none"):
        open_store(target)
    store = make(target, X1)
    store.fill()
    check(store, nngp=X1 @ X1.T, ntk=np.tanh(X1 @ X1.T))


def test_a_store_is_pickled_without_inputs(target):
    store = make(target, inputs(5000, 100), batch_size=1000)
    sent = pickle.dumps(store)
    assert len(sent) < 20_000
    received = pickle.loads(sent)
    assert received is pickle.loads(sent)  # so that a worker compiles once
    fill_tile(received, 1, 0)
    assert (0, 1) not in store.missing() and len(store.missing()) == 14
    with pytest.raises(TypeError, match="in the memory of this process"):
        pickle.dumps(make(zarr.storage.MemoryStore(), X1))


@pytest.mark.slow
def test_devices_side_by_side(target, four_devices):
    script = """
import sys; import numpy as np; from store_cases import inputs, make
store = make(sys.argv[1], inputs(11), devices=-1)
store.fill()
assert store.missing() == [] and np.allclose(store.nngp, inputs(11) @ inputs(11).T, atol=1e-5)
"""
    run(script, target, env=four_devices)


def noisy_function(noise):
    """A kernel function that adds noise to the kernel of a batch with itself."""

    def kernel_fn(x1, x2=None):
        return x1 @ x1.T + noise * jnp.eye(len(x1)) if x2 is None else x1 @ x2.T

    return kernel_fn


def test_functions_that_treat_one_batch_differently(target):
    kernel_fn = noisy_function(0.5)
    store = make(target / "here", X1, kernel_fn=kernel_fn)
    store.fill()
    expected = X1 @ X1.T + 0.5 * np.eye(11)
    np.testing.assert_allclose(np.asarray(store.kernel), expected, rtol=1e-4, atol=1e-5)
    sent = pickle.loads(pickle.dumps(make(target / "there", X1, None, kernel_fn=kernel_fn)))
    for i, j in sent.missing():
        fill_tile(sent, i, j)
    np.testing.assert_allclose(np.asarray(sent.kernel), expected, rtol=1e-4, atol=1e-5)
    cross = make(target / "cross", X1, X2, kernel_fn=kernel_fn)
    cross.fill()
    np.testing.assert_allclose(np.asarray(cross.kernel), X1 @ X2.T, rtol=1e-4, atol=1e-5)
