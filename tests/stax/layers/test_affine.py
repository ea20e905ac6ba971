"""Scales of random weights and biases, and the equations of their kernels, in numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neural_tangents._core.kernel import Kernel
from neural_tangents.stax._layers.affine import Affine, affine_covariance

RANDOM = np.random.RandomState(3)
NNGP, NTK, COV1, COV2 = (RANDOM.normal(size=shape).astype(np.float32) for shape in ((2, 3), (2, 3), (2,), (3,)))


def kernel(ntk=NTK, cov2=COV2):
    return Kernel(
        nngp=jnp.asarray(NNGP),
        ntk=ntk,
        cov1=jnp.asarray(COV1),
        cov2=cov2,
        x1_is_x2=False,
        is_gaussian=False,
        is_reversed=False,
        is_input=True,
        diagonal_batch=True,
        diagonal_spatial=False,
        shape1=(2, 6),
        shape2=(3, 6),
        batch_axis=0,
        channel_axis=1,
    )


def halved(cov, n_batch_axes):
    """Stands for the mean over inputs with the same weights."""
    assert cov.ndim == n_batch_axes
    return cov / 2


@pytest.mark.parametrize("b_std", [None, 0.0, 0.5])
def test_ntk_parameterization(b_std):
    k = Affine.of(1.5, b_std, "NTK", (1, 1)).kernel(kernel(), halved, fan_in=6)
    bias = 0 if b_std is None else b_std**2
    np.testing.assert_allclose(k.nngp, 1.5**2 * NNGP / 2 + bias, rtol=1e-5)
    np.testing.assert_allclose(k.ntk, 1.5**2 * (NNGP + NTK) / 2 + bias, rtol=1e-5)
    np.testing.assert_allclose(k.cov1, 1.5**2 * COV1 / 2 + bias, rtol=1e-5)
    np.testing.assert_allclose(k.cov2, 1.5**2 * COV2 / 2 + bias, rtol=1e-5)
    assert k.is_gaussian


@pytest.mark.parametrize("b_std", [None, 0.0, 0.5])
def test_standard_parameterization(b_std):
    k = Affine.of(1.5, b_std, "standard", (3, 2)).kernel(kernel(), halved, fan_in=6)
    np.testing.assert_allclose(k.nngp, 1.5**2 * NNGP / 2 + (b_std or 0) ** 2, rtol=1e-5)
    # A derivative by each of 6 / 3 weights, and by the bias even if it is always zero.
    direct = 2 * NNGP / 2 + (b_std is not None)
    np.testing.assert_allclose(k.ntk, direct + 1.5**2 * NTK / 2, rtol=1e-5)


@pytest.mark.parametrize("form", ["ntk", "standard"])
def test_what_is_absent_stays_absent(form):
    affine = Affine.of(1.5, 0.5, form, (1, 1))
    k = affine.kernel(kernel(ntk=None, cov2=None), halved, fan_in=6)
    assert k.ntk is None and k.cov2 is None
    first, later = (affine.kernel(kernel(ntk=jnp.asarray(ntk)), halved, 6).ntk for ntk in (np.float32(0), 0 * NTK))
    np.testing.assert_allclose(first, later, rtol=1e-6)


@pytest.mark.parametrize(("form", "s"), [("ntk", (2, 3)), ("standard", (1, 1)), ("standard", (2, 3))])
def test_outputs_have_the_covariance(form, s):
    """The variance of outputs over draws, with `fan_in` inputs that are all 1; only 'standard' has widths to scale."""
    affine = Affine.of(1.5, 0.5, form, s)
    assert (affine.s_in, affine.s_out) == (s if form == "standard" else (1, 1))

    def outputs(key):
        w, b = affine.draw(key, (20, 50), (1, 50), 20)
        return affine.outputs(jnp.ones((1, 20)) @ w, b, 20)

    y = jax.jit(jax.vmap(outputs))(jax.random.split(jax.random.key(0), 100))
    assert y.shape == (100, 1, 50)
    assert abs(y.var() / affine_covariance(1.0, 1.5, 0.5) - 1) < 5 * (2 / y.size) ** 0.5


def test_parameters():
    w, b = Affine.of(1.5, 0.5, "ntk", (1, 1)).draw(jax.random.key(1), (100, 90), (1, 900), 100)
    assert w.shape == (100, 90) and b.shape == (1, 900)
    assert abs(w.std() - 1) < 0.03 and abs(b.std() - 1) < 0.1
    w, b = Affine.of(1.5, 0.5, "standard", (2, 1)).draw(jax.random.key(1), (100, 90), (1, 900), 100)
    assert abs(w.std() / (1.5 / 50**0.5) - 1) < 0.03 and abs(b.std() / 0.5 - 1) < 0.1
    assert Affine.of(1.5, None, "standard", (2, 1)).draw(jax.random.key(1), (3, 2), (1, 2), 3)[1] is None


def test_unknown_parameterization():
    with pytest.raises(ValueError, match="must be 'ntk' or 'standard', got 'mup'"):
        Affine.of(1.0, None, "mup", (1, 1))
