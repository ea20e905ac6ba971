"""A zoo of networks of all frameworks: each has the kernel that it should have, or says why it has none."""

import pathlib
import re

import flax.linen
import flax.nnx
import jax
import numpy as np
import pytest
from sweeps import mostly_slow
from zoo import (
    equinox_networks,
    haiku_networks,
    hostile_networks,
    linen_networks,
    nnx_networks,
    plain_networks,
    supported_networks,
)
from zoo import surprising_networks as surprising
from zoo.entry import WIDTH

from neural_tangents.tracing import LiftError, lift

FRAMEWORKS = {
    "linen": linen_networks,
    "nnx": nnx_networks,
    "equinox": equinox_networks,
    "haiku": haiku_networks,
    "plain": plain_networks,
}
ZOO = {f"{f}: {name}": entry for f, module in FRAMEWORKS.items() for name, entry in module.NETWORKS.items()}
ZOO |= supported_networks.NETWORKS
HOSTILE = {**hostile_networks.NETWORKS, **surprising.NETWORKS}
BOTH = "nngp", "ntk"
EXACT = ["linen: relu", "linen: he", "linen: cnn", "linen: resnet", "linen: gated", "nnx: mlp", "haiku: mlp"]


def with_truth(entries):
    return [
        pytest.param(entry, p, id=f"{name}, {p}", marks=() if name in EXACT else pytest.mark.slow)
        for name, entry in entries.items()
        if not isinstance(entry.truth, str)
        for p in entry.parameterizations
    ]


def refused(entries):
    """Of those without a kernel every third quickly."""
    names = [name for name, entry in entries.items() if isinstance(entry.truth, str)]
    return [
        pytest.param(entries[name], id=name, marks=pytest.mark.slow if i % 3 else ()) for i, name in enumerate(names)
    ]


def kernels(truth, x1, x2):
    """Both kernels, by a network of `stax` or in closed form for all inputs at once."""
    if isinstance(truth, tuple):
        return truth[2](x1, x2, BOTH)
    both = truth(np.concatenate([x1, x1 if x2 is None else x2]))
    return [np.asarray(kernel)[: len(x1), len(x1) :] for kernel in both]


def check(entry, parameterization):
    x1, x2 = entry.x[:3], entry.x[3:4] if parameterization == "ntk" else None
    _, _, kernel_fn = lift(entry.apply, entry.init, x1, parameterization=parameterization, **entry.options)
    for got, expected in zip(kernel_fn(x1, x2, BOTH), kernels(entry.truth(parameterization), x1, x2), strict=True):
        expected = np.asarray(expected)
        assert got.shape == expected.shape
        np.testing.assert_allclose(got, expected, rtol=0, atol=entry.rtol * np.max(np.abs(expected)))


@pytest.mark.parametrize("entry, parameterization", with_truth(ZOO))
def test_agrees(entry, parameterization):
    check(entry, parameterization)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, entry in HOSTILE.items() if not isinstance(entry.truth, str)])
def test_agrees_or_is_refused(name):
    try:
        check(HOSTILE[name], "ntk")
    except LiftError as error:
        assert len(str(error)) > 40


@pytest.mark.parametrize("entry", refused({**ZOO, **HOSTILE}))
def test_is_refused(entry):
    with pytest.raises(LiftError, match=entry.truth):
        lift(entry.apply, entry.init, entry.x[:3], **entry.options)


@pytest.mark.slow
@pytest.mark.parametrize("name", mostly_slow(EXACT, ["linen: resnet", "haiku: mlp"]))
def test_double_precision_with_variances_given(name):
    """With what initialisers mean, to all digits: fan-in, over all axes but the last."""
    entry = ZOO[name]
    variance = {"linen: he": {5: 2 / 5, WIDTH: 2.25 / WIDTH}, "haiku: mlp": haiku_networks.STD**2}.get(name, 1.0)

    def distribution(path, shape):
        if len(shape) == 1:
            return 0.09 if name == "linen: he" else 0.0
        return variance[shape[0]] if isinstance(variance, dict) else variance / np.prod(shape[:-1])

    with jax.enable_x64(True):
        x1, x2 = np.float64(entry.x[:3]), np.float64(entry.x[3:4])
        _, _, kernel_fn = lift(entry.apply, entry.init, x1, parameterization="ntk", distribution=distribution)
        for got, expected in zip(kernel_fn(x1, x2, BOTH), entry.truth("ntk")[2](x1, x2, BOTH), strict=True):
            assert got.dtype == np.float64
            np.testing.assert_allclose(got, expected, rtol=0, atol=1e-10 * np.max(np.abs(expected)))


@pytest.mark.parametrize("entry", [ZOO["plain: two layers"], ZOO["linen: cnn"]])
def test_networks_run(entry):
    """So that what is lifted is a network: all others are made in the same ways."""
    assert np.isfinite(entry.apply(entry.init(jax.random.key(0)), entry.x[:2])).all()


def supported():
    """The layers that the documentation says are supported, as they are written, by framework."""
    page = (pathlib.Path(__file__).parents[2] / "docs/howto/lifting.md").read_text()
    rows = page.split("## What is supported")[1].split("Kernels of networks")[0].splitlines()
    for row in rows:
        for names, prefixes in zip(row.split("|")[2:], (("nn", "nnx"), ("eqx", "lax"), ("hk",)), strict=False):
            for name in re.findall("`(.*?)`", names):
                for prefix in prefixes:
                    yield prefix, name.removeprefix("lax.")


def test_every_layer_of_the_documentation_has_a_network():
    code = "".join(path.read_text() for path in (pathlib.Path(__file__).parent / "zoo").glob("*.py"))
    exists = {
        "nn": lambda name: hasattr(flax.linen, name),
        "nnx": lambda name: hasattr(flax.nnx, name),
        "lax": lambda name: name == "scan",
        "eqx": lambda name: name != "scan",
    }
    wanted = [(prefix, name) for prefix, name in supported() if exists.get(prefix, bool)(name)]
    lacking = [
        f"{prefix}.{name}" for prefix, name in wanted if not re.search(rf"\b{prefix}\.(nn\.)?{re.escape(name)}\b", code)
    ]
    assert len(wanted) > 40 and not lacking


def test_the_zoo_is_large():
    assert len(ZOO) >= 100 and len(HOSTILE) >= 70
