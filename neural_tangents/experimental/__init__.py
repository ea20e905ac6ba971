"""Kernels of TensorFlow models. It needs the extra `tensorflow`, and is imported when it is first used.

`empirical_ntk_fn_tf`      the NTK of a Keras model, a `tf.Module` or a `tf.function`, as a function of tensors
`get_apply_fn_and_params`  such a model as a function of JAX arrays, for everything else that takes one
"""

from neural_tangents.experimental._tensorflow import empirical_ntk_fn_tf, get_apply_fn_and_params

__all__ = ["empirical_ntk_fn_tf", "get_apply_fn_and_params"]
