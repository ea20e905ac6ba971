"""Kernels of linear layers without parameters: those of their outputs, as explicit features, for explicit inputs."""

import contextlib
import itertools
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from neural_tangents.stax import Identity, unmask_fn

# `diagonal_batch`, `diagonal_spatial`.
LAYOUTS = list(itertools.product([False, True], repeat=2))


def covariance(x1: Any, x2: Any, axes: Any, *, own: bool = False, spatial: bool = False) -> np.ndarray:
    """`mean_c x1[n1, ..., c] x2[n2, ..., c]`; equal inputs only where `own`, equal positions only where `spatial`."""
    x1, x2 = (np.moveaxis(np.asarray(x), axes, (0, -1)) for x in (x1, x2))
    last = x1.ndim - 1
    first = list(range(last))
    second = [axis if (own if axis == 0 else spatial) else axis + last + 1 for axis in first]
    out = [label for pair in zip(first, second, strict=True) for label in dict.fromkeys(pair)]
    return np.einsum(x1, [*first, last], x2, [*second, last], out) / x1.shape[-1]


def assert_exact(
    layer: Any,
    xs: Any,
    ys: Any,
    *,
    axes: Any = (0, -1),
    axes_out: Any = None,
    layouts: Any = LAYOUTS,
    mask_constant: Any = None,
    masks: Any = (None, None),
    patterns: Any = None,
) -> None:
    """Checks in float64 that a layer makes outputs `ys` of inputs `xs`, and the kernels that belong to them.

    Args:
      layer: the layer.
      xs: inputs of two batches; the second may be None.
      ys: what the outputs should be, with zeros where they are masked.
      axes: batch and channel axis of the inputs.
      axes_out: the same of the outputs; None if they are those of the inputs.
      layouts: layouts to try.
      mask_constant: masks inputs.
      masks: masks of the outputs, or None.
      patterns: graphs of the two batches.
    """
    axes_out = axes if axes_out is None else axes_out
    per_call = {} if patterns is None else {"pattern": patterns}
    names = {"batch_axis": axes[0], "channel_axis": axes[1], "mask_constant": mask_constant}

    def everything(x1: Any, x2: Any, patterns: Any) -> Any:
        per_call = {} if patterns is None else {"pattern": patterns}
        kernels = []
        for batch, spatial in layouts:
            k = Identity()[2](x1, x2, diagonal_batch=batch, diagonal_spatial=spatial, **names)
            if mask_constant is not None:  # Masks of inputs may differ between channels, those of other kernels do not.
                k = k.replace(
                    **{name: jnp.all(getattr(k, name), axes[1], keepdims=True) for name in ("mask1", "mask2")}
                )
            kernels.append(layer[2](k.replace(ntk=-2 * k.nngp), **per_call))
        outputs = []
        for i, x in enumerate((x1, x2)):
            own = {} if patterns is None else {"pattern": patterns[i]}
            outputs.append(None if x is None else layer[1]((), x, mask_constant=mask_constant, **own))
        return kernels, outputs

    with jax.enable_x64(True), warnings.catch_warnings() if axes[0] else contextlib.nullcontext():
        if axes[0]:
            warnings.filterwarnings("ignore", "The batch axis", UserWarning)
        kernels, outputs = jax.jit(everything)(*xs, patterns)
        shape = layer[0](jax.random.PRNGKey(0), xs[0].shape)
        assert shape == (ys[0].shape, ())
        for output, y, mask in zip(outputs, ys, masks, strict=True):
            if y is not None and output is not None:
                plain = unmask_fn(lambda *_, y=output: y)()
                assert plain.shape == y.shape
                np.testing.assert_allclose(plain, y, rtol=1e-12, atol=1e-12)
                assert (mask is None) == isinstance(output, jax.Array)
                if mask is not None:
                    np.testing.assert_array_equal(np.broadcast_to(output.mask, y.shape), np.broadcast_to(mask, y.shape))
        for kernel, layout in zip(kernels, layouts, strict=True):
            _assert_kernel(kernel, ys, axes_out, layout, masks)
        if mask_constant is not None:
            return
        # And so from the inputs at once, in the layout that the layer asks for.
        nngp, ntk = layer[2](*xs, ("nngp", "ntk"), **per_call)
        assert ntk.shape == ()
        spatial = nngp.ndim != kernels[0].nngp.ndim
        expected = covariance(ys[0], ys[0] if ys[1] is None else ys[1], axes_out, spatial=spatial)
        np.testing.assert_allclose(nngp, expected, rtol=1e-12, atol=1e-12)


def _assert_kernel(kernel: Any, ys: Any, axes: Any, layout: Any, masks: Any) -> None:
    batch, spatial = layout
    y1, y2 = ys[0], ys[0] if ys[1] is None else ys[1]
    nngp = covariance(y1, y2, axes, spatial=spatial)
    expected = {
        "nngp": nngp,
        "ntk": -2 * nngp,
        "cov1": covariance(y1, y1, axes, own=batch, spatial=spatial),
        "cov2": None if ys[1] is None else covariance(y2, y2, axes, own=batch, spatial=spatial),
    }
    for name, value in expected.items():
        actual = getattr(kernel, name)
        if value is None:
            assert actual is None
        else:
            assert actual.shape == value.shape, (name, layout)
            np.testing.assert_allclose(actual, value, rtol=1e-12, atol=1e-12, err_msg=f"{name} {layout}")
    ndim = y1.ndim
    assert (kernel.shape1, kernel.shape2) == (y1.shape, y2.shape)
    assert (kernel.diagonal_batch, kernel.diagonal_spatial) == layout
    assert (kernel.batch_axis % ndim, kernel.channel_axis % ndim) == tuple(axis % ndim for axis in axes)
    for actual, mask, y in zip((kernel.mask1, kernel.mask2), masks, (y1, y2), strict=True):
        assert (actual is None) == (mask is None)
        if mask is not None:
            np.testing.assert_array_equal(np.broadcast_to(actual, y.shape), np.broadcast_to(mask, y.shape))


def assert_smooth(net: Any, x: Any, **kwargs: Any) -> None:
    """Checks derivatives of the NTK in `x1`: the first against differences, both finite, at `x2` and at zero too."""
    x2 = np.random.RandomState(98).normal(size=x.shape)
    with jax.enable_x64(True):

        def ntk(x1: Any) -> Any:
            return net[2](x1, x2, "ntk", **kwargs).sum()

        direction = np.random.RandomState(99).normal(size=x.shape)
        derivatives = jax.jit(lambda x1: (ntk(x1), *jax.jvp(jax.grad(ntk), (x1,), (direction,))))
        value, first, second = derivatives(x)
        h = 1e-6
        ahead, behind = (derivatives(x + sign * h * direction)[0] for sign in (1, -1))
        slope = (ahead - behind) / (2 * h)
        np.testing.assert_allclose(np.sum(np.asarray(first) * direction), slope, rtol=1e-4, atol=1e-6 * abs(value))
        for derivative in (first, second, *derivatives(x2), *derivatives(jnp.zeros_like(x))):
            assert np.isfinite(derivative).all()
        assert np.any(second)
