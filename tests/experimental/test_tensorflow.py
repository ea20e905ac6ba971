"""The NTK of TensorFlow models is that of their Jacobians by `tf.GradientTape`.

TensorFlow has an environment of its own, which `.ci/tensorflow` makes: there, these tests must not be skipped.
"""

import doctest
import importlib.util
import os
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import neural_tangents as nt
from neural_tangents import experimental

HAS_TENSORFLOW = importlib.util.find_spec("tensorflow") is not None and importlib.util.find_spec("tf2jax") is not None
needs_tensorflow = pytest.mark.skipif(not HAS_TENSORFLOW, reason="TensorFlow is not installed; run .ci/tensorflow")

if HAS_TENSORFLOW:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    layers = tf.keras.layers

RNG = np.random.RandomState(0)


@pytest.fixture(autouse=True)
def as_users_do():
    """TensorFlow models promote ranks, as NumPy does."""
    with jax.numpy_rank_promotion("allow"):
        yield


def randomised(model):
    """Gives all variables random values, as biases and averages over batches start at constants."""
    for variable in model.variables:
        variable.assign(RNG.uniform(0.5, 1.5, variable.shape).astype(np.float32))
    return model


def mlp():
    return tf.keras.Sequential([tf.keras.Input((3,)), layers.Dense(5, "tanh"), layers.Dropout(0.5), layers.Dense(2)])


def cnn():
    """With variables that are not trained."""
    return tf.keras.Sequential(
        [
            tf.keras.Input((6, 5, 2)),
            *(layers.Conv2D(3, 3, padding="same"), layers.BatchNormalization(), layers.ReLU(), layers.MaxPooling2D()),
            *(layers.Conv2D(2, 2), layers.LayerNormalization(), layers.GlobalAveragePooling2D(), layers.Dense(2)),
        ]
    )


def module():
    class Model(tf.Module):
        input_shape = (None, 3)

        def __init__(self):
            super().__init__()
            self.w, self.b = tf.Variable(tf.ones((3, 2))), tf.Variable(tf.ones(2))
            self.constant = tf.Variable(tf.ones(2), trainable=False)

        def __call__(self, x):
            return self.constant * tf.sin(x @ self.w + self.b)

    return Model()


def jacobian(outputs_of, variables, x):
    """`(N, O, parameters)`."""
    with tf.GradientTape() as tape:
        outputs = outputs_of(tf.constant(x))
    parts = tape.jacobian(outputs, variables)
    return np.concatenate([np.reshape(part, (*outputs.shape, -1)) for part in parts], -1)


def ntk(j1, j2):
    return np.einsum("nip,mjp->nmij", j1, j2)


@needs_tensorflow
@pytest.mark.parametrize("make", [mlp, cnn, module])
@pytest.mark.parametrize("vmap_axes", [0, None])
def test_ntk_is_that_of_gradient_tape(make, vmap_axes):
    model = randomised(make())
    x1, x2 = (RNG.normal(size=(n, *model.input_shape[1:])).astype(np.float32) for n in (3, 2))
    j1, j2 = (jacobian(model, model.trainable_variables, x) for x in (x1, x2))
    apply_fn, params = experimental.get_apply_fn_and_params(model)
    assert sum(p.size for p in params.values()) == j1.shape[-1]
    np.testing.assert_allclose(apply_fn(params, x1), model(x1), rtol=1e-4, atol=1e-5)

    options = dict(trace_axes=(), vmap_axes=vmap_axes)
    of_arrays = jax.jit(nt.empirical_ntk_fn(apply_fn, **options))
    of_tensors = experimental.empirical_ntk_fn_tf(model, **options)
    for ntk_fn in (of_arrays, of_tensors):
        for second, j in ((x2, j2), (None, j1)):
            truth = ntk(j1, j)
            np.testing.assert_allclose(ntk_fn(x1, second, params), truth, rtol=1e-3, atol=1e-4 * np.max(truth))
    assert isinstance(of_tensors(tf.constant(x1), tf.constant(x2), params), tf.Tensor)


@needs_tensorflow
@pytest.mark.parametrize("implementation", list(nt.NtkImplementation))
def test_axes_and_implementations(implementation):
    model = randomised(mlp())
    x = RNG.normal(size=(3, 3)).astype(np.float32)
    j = jacobian(model, model.trainable_variables, x)
    _, params = nt.experimental.get_apply_fn_and_params(model)
    ntk_fn = nt.experimental.empirical_ntk_fn_tf(model, vmap_axes=0, implementation=implementation)
    np.testing.assert_allclose(ntk_fn(x, None, params), np.einsum("nip,mip->nm", j, j) / 2, rtol=1e-4)
    diagonal_fn = nt.experimental.empirical_ntk_fn_tf(model, (-1,), (0,), implementation=int(implementation))
    np.testing.assert_allclose(diagonal_fn(x, None, params), np.einsum("nip,nip->n", j, j) / 2, rtol=1e-4)


@needs_tensorflow
def test_functions_of_parameters_and_inputs():
    spec = {"w": tf.TensorSpec((3, 4)), "v": tf.TensorSpec((4, 2))}

    @tf.function(input_signature=(spec, tf.TensorSpec((None, 3))))
    def f(params, x):
        return tf.tanh(x @ params["w"]) @ params["v"]

    params = {name: tf.constant(RNG.normal(size=s.shape).astype(np.float32)) for name, s in spec.items()}
    x1, x2 = (RNG.normal(size=(n, 3)).astype(np.float32) for n in (3, 2))
    variables = {name: tf.Variable(value) for name, value in params.items()}
    j1, j2 = (jacobian(lambda x: f(variables, x), list(variables.values()), x) for x in (x1, x2))
    ntk_fn = experimental.empirical_ntk_fn_tf(f, trace_axes=())
    np.testing.assert_allclose(ntk_fn(x1, x2, params), ntk(j1, j2), rtol=1e-4, atol=1e-5)


@needs_tensorflow
@pytest.mark.parametrize("structure", [list, dict])
def test_several_inputs_and_outputs(structure):
    a, b = tf.keras.Input((3,), name="a"), tf.keras.Input((2,), name="b")
    hidden = layers.Concatenate()([layers.Dense(4, "tanh")(a), b])
    inputs = [a, b] if structure is list else {"a": a, "b": b}
    model = randomised(tf.keras.Model(inputs, [layers.Dense(2)(hidden), layers.Dense(1)(hidden)]))
    x = [RNG.normal(size=(3, n)).astype(np.float32) for n in (3, 2)]
    x = x if structure is list else dict(zip("ab", x, strict=True))
    apply_fn, params = experimental.get_apply_fn_and_params(model)
    kernels = nt.empirical_ntk_fn(apply_fn, trace_axes=())(x, None, params)
    for i, kernel in enumerate(kernels):
        with tf.GradientTape() as tape:
            outputs = model(x)[i]
        parts = tape.jacobian(outputs, model.trainable_variables)
        j = np.concatenate([np.reshape(part, (*outputs.shape, -1)) for part in parts if part is not None], -1)
        np.testing.assert_allclose(kernel, ntk(j, j), rtol=1e-4, atol=1e-5)


@needs_tensorflow
def test_integer_inputs_and_everything_else_that_takes_functions():
    """Words as numbers; the linearization is exact in the last layer."""
    model = randomised(
        tf.keras.Sequential(
            [tf.keras.Input((4,), dtype="int32"), layers.Embedding(5, 3), layers.Flatten(), layers.Dense(2)]
        )
    )
    apply_fn, params = experimental.get_apply_fn_and_params(model)
    x = np.array([[0, 1, 2, 3], [4, 4, 0, 1]], np.int32)
    np.testing.assert_allclose(apply_fn(params, x), model(x), rtol=1e-5)
    moved = {name: p + (p.shape == (12, 2)) for name, p in params.items()}
    found = nt.linearize(apply_fn, params)(moved, x)
    np.testing.assert_allclose(found, apply_fn(moved, x), rtol=1e-5)


@needs_tensorflow
@pytest.mark.parametrize("name", experimental.__all__)
def test_examples(name):
    (example,) = doctest.DocTestFinder(recurse=False).find(getattr(experimental, name), name)
    assert doctest.DocTestRunner().run(example).failed == 0 and example.examples


@needs_tensorflow
def test_unknown_models_are_errors():
    class NoShape(tf.Module):
        def __call__(self, x):
            return x

    class NoCall(tf.Module):
        input_shape = (None, 3)

    for model in (NoShape(), NoCall(), tf.keras.Sequential([layers.Dense(2)])):
        with pytest.raises(NotImplementedError, match="can be called and knows its `input_shape`"):
            experimental.get_apply_fn_and_params(model)
    with pytest.raises(NotImplementedError, match="got function"):
        experimental.empirical_ntk_fn_tf(lambda x: x)
    with pytest.raises(NotImplementedError, match="`input_signature` of two entries"):
        experimental.empirical_ntk_fn_tf(tf.function(lambda params, x: x))
    with pytest.raises(KeyError, match="implementation"):
        experimental.empirical_ntk_fn_tf(mlp(), implementation=9)


@pytest.mark.parametrize("package", ["tensorflow", "tf2jax"])
@pytest.mark.parametrize("name", experimental.__all__)
def test_error_without_tensorflow_says_what_to_install(package, name, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        ImportError, match=r"tensorflow and tf2jax\. .* pip install 'neural-tangents-jax\[tensorflow\]'"
    ):
        getattr(nt.experimental, name)(lambda params, x: jnp.sin(x))
