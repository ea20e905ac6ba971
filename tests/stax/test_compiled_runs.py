"""Programs for networks of images, and of many inputs: shared by all networks of one form, outside of `jit` too."""

import jax
import numpy as np
import pytest

from neural_tangents import stax
from neural_tangents.stax import _compiled_runs
from neural_tangents.stax._streaming import runs

X = np.random.RandomState(0).normal(size=(3, 6, 6, 2)).astype(np.float32)


@pytest.fixture
def traced(monkeypatch):
    """How often layers are traced, or evaluated without being compiled."""
    calls = []

    def watched(fn):
        def call(*args):
            calls.append(fn.__name__)
            return fn(*args)

        return call

    for name in ("in_sequence", "streamed"):
        monkeypatch.setattr(_compiled_runs, name, watched(getattr(_compiled_runs, name)))
    return calls


def network(W_std, b_std=0.1, pool=stax.GlobalAvgPool, act=stax.Relu):
    conv = stax.Conv(1, (3, 3), padding="SAME", W_std=W_std, b_std=b_std)
    return stax.serial(conv, act(), conv, pool())


@pytest.mark.parametrize("entries", [0, 2**30], ids=["slab by slab", "at once"])
@pytest.mark.parametrize("pool", [stax.GlobalAvgPool, stax.Flatten])
def test_a_network_of_the_same_form_is_not_compiled_again(entries, pool, traced, monkeypatch):
    monkeypatch.setattr(runs, "_MANY_ENTRIES", entries)
    network(1.5, pool=pool)[2](X, None, "ntk")
    assert traced == ["streamed" if entries == 0 else "in_sequence"]
    for W_std, b_std in ((0.5, 0.1), (2, 1), (1.3, 0.0)):
        got = network(W_std, b_std, pool)[2](X, None, "ntk")
        assert len(traced) == 1
        with monkeypatch.context() as patch:
            patch.setattr(_compiled_runs, "_compiled", lambda *args: args[2](*args[3:6]))
            want = network(W_std, b_std, pool)[2](X, None, "ntk")
        np.testing.assert_allclose(got, want, rtol=1e-5)
        del traced[1:]
    network(1.5, pool=pool, act=stax.Erf)[2](X, None, "ntk")
    network(1.5, None, pool)[2](X, None, "ntk")
    network(1.5, pool=pool)[2](X[:2], None, "ntk")
    assert len(traced) >= 3, "other layers, no bias, another shape"


@pytest.mark.parametrize("act", [stax.Relu, stax.Erf, stax.Tanh])
def test_many_vectors(act, traced, monkeypatch):
    """Not only images: one program for networks that differ in their numbers; few pairs are not worth compiling."""
    x1, x2 = X.reshape(12, -1)[:, :9], X.reshape(6, -1)[:, 9:18]

    def kernel(W_std, b_std, x2=None):
        layers = [stax.Dense(1, W_std, b_std), act()]
        return stax.serial(*layers * 3, stax.Dense(1))[2](x1, x2, ("nngp", "ntk"))

    for second in (x2, None):
        want = kernel(1.5, 0.1, second)
        assert traced == ["in_sequence"]
        with monkeypatch.context() as patch:
            patch.setattr(_compiled_runs, "_MANY", 72)
            kernel(0.5, 0.2, second)
            del traced[:]
            got = kernel(1.5, 0.1, second)
            assert traced == []
        for a, b in zip(got, want, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5)


@pytest.mark.parametrize("error", [RuntimeError("some fault"), jax.errors.JaxRuntimeError("INTERNAL: some fault")])
def test_a_failure_of_blocks_is_a_warning(error, monkeypatch):
    def fails(*args, **kwargs):
        raise error

    kernel_fn = stax.serial(*[stax.Dense(1), stax.Relu()] * 3, stax.Dense(1))[2]
    x = np.eye(12, dtype=np.float32)
    want = kernel_fn(x, None, "ntk")
    monkeypatch.setattr(_compiled_runs, "_MANY", 1)
    monkeypatch.setattr(_compiled_runs, "_SHARED", type(_compiled_runs._SHARED)())
    monkeypatch.setattr(_compiled_runs, "in_blocks", fails)
    with pytest.warns(UserWarning, match="pairs of inputs at a time.*evaluated at once. The error was: .*fault"):
        np.testing.assert_allclose(kernel_fn(x, None, "ntk"), want, rtol=1e-5)


def test_too_little_memory_is_an_error(monkeypatch):
    def fails(*args, **kwargs):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes.")

    monkeypatch.setattr(_compiled_runs, "streamed", fails)
    monkeypatch.setattr(_compiled_runs, "_SHARED", type(_compiled_runs._SHARED)())
    with pytest.raises(jax.errors.JaxRuntimeError, match="RESOURCE_EXHAUSTED"):
        network(1.5)[2](X, None, "ntk", memory_budget=10**4)


def test_programs_are_dropped_when_there_are_many(monkeypatch):
    monkeypatch.setattr(_compiled_runs, "_SHARED", type(_compiled_runs._SHARED)(most=2))
    for size in (1, 2, 3, 4):
        conv = stax.Conv(1, (size, size), padding="SAME")
        stax.serial(conv, stax.Relu(), conv)[2](X, None, "nngp")
    assert len(_compiled_runs._SHARED._made) == 2


def test_an_error_has_the_text_of_the_network_that_was_called():
    def net(W_std):
        return stax.serial(stax.Conv(1, (3, 3), W_std=W_std), stax.Relu(), stax.Conv(1, (3, 3), W_std=W_std))

    net(1.5)[2](X, None, "nngp")
    with pytest.raises(ValueError, match="does not fit") as error:
        net(1.75)[2](X[:, :4, :4], None, "nngp")
    assert "W_std=1.75" in "".join(error.value.__notes__)


@pytest.mark.slow
def test_users_layers_may_depend_on_what_changes():
    """They are no data, so that their networks are evaluated anew each time."""
    state = {"c": 1.0}

    @stax.layer
    def Scale():
        return lambda rng, shape: (shape, ()), lambda params, x: state["c"] * x, lambda k: k * state["c"]

    conv = stax.Conv(1, (3, 3), padding="SAME")
    kernel_fn = stax.serial(conv, stax.Relu(), Scale(), conv, stax.GlobalAvgPool())[2]
    before = kernel_fn(X, None, "nngp")
    state["c"] = 3.0
    np.testing.assert_allclose(kernel_fn(X, None, "nngp"), 9 * before, rtol=1e-5)


def test_concrete_keyword_arguments_are_not_compiled_in(traced):
    """Patterns may be checked entry by entry, and are data of a call."""
    x = np.random.RandomState(1).normal(size=(2, 4, 3)).astype(np.float32)
    kernel_fn = stax.serial(stax.Dense(1), stax.Aggregate(1, 0, 2), stax.Relu(), stax.Dense(1))[2]
    one, two = (np.random.RandomState(n).uniform(size=(2, 4, 4)).astype(np.float32) for n in (2, 3))
    results = [kernel_fn(x, None, "nngp", pattern=(p, p)) for p in (one, two)]
    assert not np.allclose(*results)
    jitted = jax.jit(lambda p: kernel_fn(x, None, "nngp", pattern=(p, p)))
    for p, result in zip((one, two), results, strict=True):
        np.testing.assert_allclose(jitted(p), result, rtol=1e-5)
