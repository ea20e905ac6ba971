"""Models of TensorFlow as functions of JAX arrays, and kernels of these as functions of tensors."""

from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from neural_tangents._core.types import Axes, PyTree
from neural_tangents.empirical import NtkImplementation, empirical_ntk_fn


class _Packages(NamedTuple):
    """What is imported when it is first needed."""

    tf: ModuleType
    tf2jax: ModuleType
    jax2tf: ModuleType

    @classmethod
    def of(cls) -> "_Packages":
        try:
            import tensorflow
            import tf2jax
            from jax.experimental import jax2tf
        except ImportError as error:
            raise ImportError(
                "`neural_tangents.experimental` needs the packages tensorflow and tf2jax. Install them: "
                "pip install 'neural-tangents-jax[tensorflow]'."
            ) from error
        return cls(tensorflow, tf2jax, jax2tf)


def get_apply_fn_and_params(f: Any) -> tuple[Callable[..., PyTree], dict[str, jax.Array]]:
    """Makes a TensorFlow model with variables a function of JAX arrays.

    The function can be compiled, differentiated and vectorised, and given to `neural_tangents.linearize` and to all
    functions for kernels of finite networks.

    Args:
      f: a Keras model that knows the shape of its inputs (`f.input_shape`), or a `tf.Module` that can be called and has
        an attribute `input_shape`, whose entries are None where any size will do. Keras models are called with
        `training=False`.

    Returns:
      `(apply_fn, params)`: `apply_fn(params, x)` is the model, for any sizes of batches, and `params` its trainable
      variables by name, as they are now. Other variables, such as averages over batches, are constants of `apply_fn`.

    Raises:
      ImportError: TensorFlow or tf2jax is not installed.
      NotImplementedError: `f` is something else, cannot be called or has no `input_shape`.

    Example:
      >>> import tensorflow as tf
      >>> import neural_tangents as nt
      >>> model = tf.keras.Sequential([tf.keras.Input((3,)), tf.keras.layers.Dense(2)])
      >>> apply_fn, params = nt.experimental.get_apply_fn_and_params(model)
      >>> sorted((name.split("/")[-1], p.shape) for name, p in params.items())
      [('bias', (2,)), ('kernel', (3, 2))]
      >>> ntk_fn = nt.empirical_ntk_fn(apply_fn, vmap_axes=0)
    """
    packages = _Packages.of()
    call, signature = _call_and_signature(packages.tf, f)
    traced = packages.tf.function(call, input_signature=[signature], autograph=False)
    converted, variables = packages.tf2jax.convert(traced, signature)
    params = {name: jnp.asarray(value) for name, value in variables.items() if value.trainable}
    constants = {name: jnp.asarray(value) for name, value in variables.items() if not value.trainable}

    def apply_fn(params: dict[str, Any], x: PyTree) -> PyTree:
        outputs, _ = converted({**constants, **params}, x)
        return outputs

    return apply_fn, params


def empirical_ntk_fn_tf(
    f: Any,
    trace_axes: Axes = (-1,),
    diagonal_axes: Axes = (),
    vmap_axes: Any = None,
    implementation: NtkImplementation | int = NtkImplementation.AUTO,
    _j_rules: bool = True,
    _s_rules: bool = True,
    _fwd: bool | None = None,
) -> Callable[..., Any]:
    """Makes the function that computes the NTK of a TensorFlow model, of tensors and compiled.

    `Θ(x1, x2) = J(x1) J(x2)ᵀ`, with `J(x)` the Jacobian of the outputs with respect to all trainable variables.

    Args:
      f: a Keras model or a `tf.Module`, see `get_apply_fn_and_params`; or a `tf.function` of parameters and inputs with
        an `input_signature`.
      trace_axes: axes of the outputs that the kernel is averaged over.
      diagonal_axes: axes of the outputs along which only equal entries are paired.
      vmap_axes: axes along which the model acts on each sample alone, such as 0 for the batch; see
        `neural_tangents.empirical_ntk_fn`.
      implementation: the algorithm, a `NtkImplementation` or its number.
      _j_rules: has no effect; accepted for programs written for the archived library.
      _s_rules: has no effect, like `_j_rules`.
      _fwd: has no effect, like `_j_rules`.

    Returns:
      A `tf.function` of `(x1, x2, params)`, compiled by XLA; `x2` may be None. For models, `params` are those of
      `get_apply_fn_and_params`.

    Raises:
      ImportError: TensorFlow or tf2jax is not installed.
      KeyError: there is no such implementation.
      NotImplementedError: `f` is something else, has no `input_shape`, or no `input_signature`.

    Example:
      >>> import tensorflow as tf
      >>> import neural_tangents as nt
      >>> model = tf.keras.Sequential([tf.keras.Input((3,)), tf.keras.layers.Dense(2)])
      >>> ntk_fn = nt.experimental.empirical_ntk_fn_tf(model, vmap_axes=0)
      >>> _, params = nt.experimental.get_apply_fn_and_params(model)
      >>> ntk_fn(tf.ones((5, 3)), None, params).shape
      TensorShape([5, 5])

    Source: Novak et al., "Fast Finite Width Neural Tangent Kernel", 2022, https://arxiv.org/abs/2206.08720.
    """
    del _j_rules, _s_rules, _fwd
    packages = _Packages.of()
    apply_fn = _functional(packages, f) if _is_function(packages.tf, f) else get_apply_fn_and_params(f)[0]
    ntk_fn = empirical_ntk_fn(apply_fn, trace_axes, diagonal_axes, vmap_axes, implementation)

    def of_arrays(x1: PyTree, x2: PyTree, params: PyTree) -> PyTree:
        return ntk_fn(x1, x2, params)

    return packages.tf.function(packages.jax2tf.convert(of_arrays), jit_compile=True, autograph=False)


def _is_function(tf: ModuleType, f: Any) -> bool:
    return isinstance(f, tf.types.experimental.PolymorphicFunction)


def _functional(packages: _Packages, f: Any) -> Callable[..., PyTree]:
    """A `tf.function` of parameters and inputs as a function of JAX arrays."""
    if f.input_signature is None or len(f.input_signature) != 2:
        raise NotImplementedError(
            "Expected a `tf.function` with an `input_signature` of two entries, for parameters and inputs, got "
            f"{f.input_signature}. Say `@tf.function(input_signature=(params_spec, x_spec))`, with a `tf.TensorSpec` "
            "for each array."
        )
    return packages.tf2jax.convert_functional(f, *f.input_signature)


def _call_and_signature(tf: ModuleType, f: Any) -> tuple[Callable[..., Any], Any]:
    """A model as a function of its inputs, and their shapes and types."""
    is_keras = isinstance(f, tf.keras.Model)
    if not is_keras and not isinstance(f, tf.Module):
        raise NotImplementedError(
            f"Expected a Keras model or a `tf.Module`, got {type(f).__name__}. `empirical_ntk_fn_tf` also takes a "
            "`tf.function` of parameters and inputs. Functions of JAX arrays are for `neural_tangents.empirical_ntk_fn`"
            "."
        )
    shape = getattr(f, "input_shape", None)
    if shape is None or not callable(f):
        raise NotImplementedError(
            f"Expected a model that can be called and knows its `input_shape`; {type(f).__name__} does not. Start a "
            "`Sequential` with `tf.keras.Input(shape)`, build a functional model, or set `f.input_shape`, with None "
            "for the size of the batch."
        )
    if not is_keras:
        types = {variable.dtype for variable in f.trainable_variables if variable.dtype.is_floating}
        return f, tf.TensorSpec(shape, types.pop() if len(types) == 1 else tf.float32)
    inputs = getattr(f, "input", None)  # in the structure of the call; a `Sequential` has one, and may not tell it so
    inputs = f.inputs[0] if inputs is None else inputs
    specs = tf.nest.map_structure(lambda tensor: tf.TensorSpec(tensor.shape, tensor.dtype), inputs)
    return lambda x: f(x, training=False), specs
