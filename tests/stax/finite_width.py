"""Kernels of networks: compiled, and estimated from finite networks by Monte Carlo."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from neural_tangents._core.axes import unzip_axes
from neural_tangents.stax import unmask_fn


class Estimate(NamedTuple):
    """A mean over draws, and its standard error."""

    mean: np.ndarray
    error: np.ndarray


def compiled(net: Any, x1: Any, x2: Any = None, get: Any = None, **options: Any) -> Any:
    """The kernel of a network in one compilation, which takes a fraction of the time of its single operations."""
    return jax.jit(lambda x1, x2: net[2](x1, x2, get, **options))(x1, x2)


def _rows(y: Any) -> Any:
    """Activations `(batch, *spatial, channels)` as `(batch * spatial, channels)`."""
    return y.reshape((-1, y.shape[-1]))


def as_matrix(covariance: Any) -> np.ndarray:
    """A covariance with all pairs of positions as a matrix, of inputs and positions by inputs and positions."""
    apart = np.asarray(unzip_axes(covariance))
    size = int(np.prod(apart.shape[: apart.ndim // 2]))
    return apart.reshape(size, -1)


def _shapes(x: Any) -> Any:
    return type(x)(map(_shapes, x)) if type(x) in (list, tuple) else x.shape


def estimate(net: Any, x1: Any, x2: Any = None, *, seed: int, draws: int, ntk: bool = True, **kwargs: Any) -> list:
    """NNGP and NTK of a finite network, as matrices, from its outputs and Jacobians in many draws.

    Both are averaged over the channels of the output. Random keys go to the network too, the same for `x1` and `x2`.
    """
    init_fn, apply_fn, _ = net

    def draw(key: Any) -> Any:
        key_params, key_apply = jax.random.split(key)
        _, params = init_fn(key_params, _shapes(x1))

        def outputs(params: Any, x: Any) -> Any:
            return _rows(unmask_fn(apply_fn)(params, x, rng=key_apply, **kwargs))

        def jacobian(x: Any) -> Any:
            leaves = jax.tree.leaves(jax.jacobian(outputs)(params, x))
            return jnp.concatenate([leaf.reshape((*leaf.shape[:2], -1)) for leaf in leaves], -1)

        first, second = x1, x1 if x2 is None else x2
        y1, y2 = outputs(params, first), outputs(params, second)
        kernels = [y1 @ y2.T / y1.shape[-1]]
        if ntk:
            kernels.append(jnp.einsum("acp,bcp->ab", jacobian(first), jacobian(second)) / y1.shape[-1])
        return kernels

    samples = jax.jit(jax.vmap(draw))(
        jax.random.split(jax.random.key(seed, impl="unsafe_rbg"), draws)
    )  # compiles fastest
    return [Estimate(*map(np.asarray, (s.mean(0), s.std(0) / draws**0.5))) for s in samples]


def assert_compatible(estimated: Estimate, exact: Any, bias: float = 0.0, n_errors: float = 5.0) -> None:
    """Checks an exact covariance against an estimate: within standard errors, and a bias relative to its size."""
    exact = as_matrix(exact)
    size = np.abs(exact).max()
    assert estimated.error.max() < 0.2 * size, "The estimate is too noisy to test anything."
    excess = np.abs(exact - estimated.mean) - n_errors * estimated.error
    assert excess.max() <= bias * size + 1e-5 * size, f"{exact}\nis not\n{estimated.mean} +-\n{estimated.error}"
