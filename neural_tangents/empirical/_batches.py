"""The two batches of a kernel: which inputs, keyword arguments and random keys belong to which."""

import dataclasses
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from neural_tangents._core.concrete import is_concrete
from neural_tangents._core.mesh_axes import inside_shard_map, varying_like
from neural_tangents._core.tiling.call_form import filled_second
from neural_tangents._core.types import Axes, PyTree
from neural_tangents.empirical._checks import ORDER, check_differentiable, check_parameters, noted
from neural_tangents.empirical._output_axes import OutputAxes
from neural_tangents.empirical._sample_check import check_each_alone
from neural_tangents.empirical._samples import Samples, VMapAxes, samples


def same_inputs(x1: PyTree, x2: PyTree) -> bool | jax.Array:
    """Whether two trees of inputs are equal."""
    leaves1, leaves2 = jax.tree.leaves(x1), jax.tree.leaves(x2)
    if len(leaves1) != len(leaves2) or any(jnp.shape(a) != jnp.shape(b) for a, b in zip(leaves1, leaves2, strict=True)):
        return False
    if all(a is b for a, b in zip(leaves1, leaves2, strict=True)):
        return True
    return jnp.all(jnp.stack([jnp.all(jnp.equal(a, b)) for a, b in zip(leaves1, leaves2, strict=True)]))


def split_arguments(
    x1: PyTree, x2: PyTree, keywords: Mapping[str, Any]
) -> tuple[PyTree, dict[str, Any], dict[str, Any], bool]:
    """The second batch, the keyword arguments for each batch, and whether the second batch equals the first in all."""
    with noted(lambda: ORDER):
        x2, one_batch = filled_second(x1, x2)
    first, second = split_keywords(keywords, x1, x2, one_batch)
    return x2, first, second, one_batch and all(first[name] is second[name] for name in first)


def split_keywords(
    keywords: Mapping[str, Any], x1: PyTree, x2: PyTree, one_batch: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Keyword arguments for the first and for the second batch.

    A tuple of length 2 has one value for each batch; anything else goes to both. Random keys in `rng` differ if and
    only if the inputs do: see `_split_rng`.
    """
    first, second = {}, {}
    for name, value in keywords.items():
        if name == "rng":
            first[name], second[name] = _split_rng(value, x1, x2, one_batch)
        elif isinstance(value, tuple) and len(value) == 2:
            first[name], second[name] = value
        else:
            first[name] = second[name] = value
    return first, second


def _split_rng(rng: Any, x1: PyTree, x2: PyTree, one_batch: bool) -> tuple[Any, Any]:
    """The random keys of both batches; they are equal if and only if the batches are.

    Raises:
      TypeError: `rng` is neither None, nor a key, nor a pair of keys.
    """
    is_pair = isinstance(rng, tuple) and len(rng) == 2
    key1, key2 = rng if is_pair else (rng, rng)
    key2 = key1 if key2 is None and one_batch else key2
    if key1 is None and key2 is None:
        return None, None
    if not all(isinstance(key, jax.Array | np.ndarray) for key in (key1, key2)):
        raise TypeError(
            f"Expected `rng` to be None, a random key, or a pair of keys for x1 and x2, got {type(rng).__name__}. Make "
            "a key with `jax.random.key(0)`."
        )
    same_x = True if one_batch else same_inputs(x1, x2)
    same_key = _same_keys(key1, key2)
    replaced = jnp.logical_xor(same_x, same_key)
    if is_pair and is_concrete(replaced) and replaced:
        warnings.warn(
            f"x1 and x2 are {'' if same_x else 'not '}equal, but their random keys are{'' if same_key else ' not'}. "
            "The second key was replaced.",
            UserWarning,
            stacklevel=2,
        )
    if same_x is True:
        return key1, key1
    return key1, jnp.where(same_x, key1, jnp.where(same_key, jax.random.fold_in(key1, 1), key2))


def _same_keys(key1: Any, key2: Any) -> Any:
    data = [jax.random.key_data(k) if jnp.issubdtype(k.dtype, jax.dtypes.prng_key) else k for k in (key1, key2)]
    return jnp.all(jnp.equal(*data))


def two_batches(
    f: Callable[..., PyTree],
    x1: PyTree,
    x2: PyTree,
    params: PyTree,
    kwargs: Any,
    vmap_axes: VMapAxes,
    checked: set[Any],
) -> tuple[Samples, Samples, PyTree]:
    """Both batches of inputs as samples, the same object if all of the second is that of the first; and parameters.

    `checked` has the shapes of calls for which `vmap_axes` was found to be right, so that each is looked at once.
    """
    check_parameters(params)
    x2, kwargs1, kwargs2, same = split_arguments(x1, x2, kwargs)
    first = samples(f, params, x1, kwargs1, vmap_axes)
    second = first if same else samples(f, params, x2, kwargs2, vmap_axes)
    if first.structure != second.structure:
        raise ValueError(
            f"Expected the network to return trees of the same structure for x1 and x2, got {first.structure} and "
            f"{second.structure}."
        )
    if vmap_axes is not None and is_concrete((first.data, first.shared, params)):
        key = shapes_of((x1, params, kwargs))
        if key not in checked:
            check_each_alone(first, params, vmap_axes, kwargs1.get("rng"))
            checked.add(key)
    return _on_mesh(first, second, params)


def check_samples(
    f: Callable[..., PyTree],
    x: PyTree,
    params: PyTree,
    kwargs: Mapping[str, Any],
    vmap_axes: VMapAxes,
    checked: set[Any],
) -> None:
    """Checks that `vmap_axes` fits a network, once for each shape, where kernels are compiled and so cannot do it."""
    if vmap_axes is None or not is_concrete((x, params, kwargs)) or (key := shapes_of((x, params, kwargs))) in checked:
        return
    keywords, _ = split_keywords(kwargs, x, x, True)
    check_each_alone(samples(f, params, x, keywords, vmap_axes), params, vmap_axes, keywords.get("rng"))
    checked.add(key)


def shapes_of(tree: PyTree) -> Any:
    """The structure of a tree, and the shapes and types of its arrays."""
    leaves, structure = jax.tree.flatten(tree)
    return structure, tuple((jnp.shape(leaf), leaf.dtype) if hasattr(leaf, "dtype") else type(leaf) for leaf in leaves)


def _on_mesh(first: Samples, second: Samples, params: PyTree) -> tuple[Samples, Samples, PyTree]:
    """Both batches and the parameters, varying along the same axes of a mesh.

    The derivative with respect to a parameter that devices share is a sum over devices. That of the outputs of one
    device alone is the derivative with respect to a parameter that varies as they do.
    """
    if not inside_shard_map():
        return first, second, params
    data1, data2 = (varying_like(batch.data, first.data, second.data) for batch in (first, second))
    one = second is first
    first = dataclasses.replace(first, data=data1)
    second = first if one else dataclasses.replace(second, data=data2)
    outputs = [jax.eval_shape(batch.apply, params, batch.one) for batch in (first, second)]
    return first, second, varying_like(params, outputs)


def output_axes(
    first: Samples,
    second: Samples,
    params: PyTree,
    trace_axes: Axes,
    diagonal_axes: Axes,
    hermitian: bool = False,
) -> list[OutputAxes]:
    """For each output, the axes of its kernel.

    Raises:
      TypeError: an output is not of real or complex type.
    """
    kinds = [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in zip(first.shapes, first.dtypes, strict=True)]
    check_differentiable(jax.tree.unflatten(first.structure, kinds))
    found = []
    for shape1, shape2, output_dtype in zip(first.shapes, second.shapes, first.dtypes, strict=True):
        dtype = jnp.result_type(output_dtype, *(jnp.result_type(leaf) for leaf in jax.tree.leaves(params)))
        found.append(OutputAxes.create(shape1, shape2, trace_axes, diagonal_axes, dtype, hermitian))
    return found
