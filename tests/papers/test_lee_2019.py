"""Ensembles of trained networks: Lee et al., "Wide Neural Networks of Any Depth Evolve as Linear Models Under Gradient
Descent", 2019.

Reproduced: Figure 2, mean and standard deviation of the outputs of an ensemble of networks, throughout training by
gradient descent on the squared loss, on inputs of the training set and on a line through it, with weights of variance
1.5 and no biases. Here two hundred networks of two hidden layers of erf are trained.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from neural_tangents import predict, stax

WIDTH, MEMBERS, TIMES = 96, 200, (0, 10, 50, 160)
DENSE = {"W_std": 1.5**0.5, "b_std": None}
INIT_FN, APPLY_FN, KERNEL_FN = stax.serial(
    stax.Dense(WIDTH, **DENSE), stax.Erf(), stax.Dense(WIDTH, **DENSE), stax.Erf(), stax.Dense(1, **DENSE)
)
# Inputs `alpha x1 + (1 - alpha) x2`, as in the figure, of which three are for training.
ENDS = jnp.asarray([[1.2, -0.4, 0.3, 0.9], [-0.5, 1.1, 1.0, 0.2]])
LINE = jnp.stack([alpha * ENDS[0] + (1 - alpha) * ENDS[1] for alpha in (0.0, 0.25, 0.5, 0.75, 1.0, 1.5)])
TRAIN, TEST = LINE[:5:2], jnp.concatenate([LINE[1:5:2], LINE[5:]])
LABELS = jnp.asarray([[1.0], [-0.5], [0.8]])


def train_ensemble(rate, options):
    """Outputs on the training and test set, `(members, times, 6)`."""

    def loss(params):
        return jnp.mean((APPLY_FN(params, TRAIN) - LABELS) ** 2) / 2

    def member(key):
        def step(_, params):
            return jax.tree.map(lambda p, g: p - rate * g, params, jax.grad(loss)(params))

        def interval(params, steps):
            params = lax.fori_loop(0, steps, step, params)
            return params, APPLY_FN(params, jnp.concatenate([TRAIN, TEST]))[:, 0]

        _, outputs = lax.scan(interval, INIT_FN(key, TRAIN.shape)[1], jnp.diff(jnp.asarray(TIMES), prepend=0))
        return outputs

    train = jax.jit(lambda keys: lax.map(member, keys, batch_size=10), compiler_options=options)
    return np.asarray(train(jax.random.split(jax.random.key(0), MEMBERS)), "float64")


@pytest.mark.slow
def test_mean_and_standard_deviation_throughout_training(optimised):
    ntk = KERNEL_FN(TRAIN, None, "ntk")
    rate = 0.02 * float(predict.max_learning_rate(ntk, LABELS.size))
    outputs = train_ensemble(rate, optimised)
    mean, variance = outputs.mean(0), outputs.var(0, ddof=1)

    predict_fn = predict.gradient_descent_mse_ensemble(KERNEL_FN, TRAIN, LABELS, learning_rate=rate)
    predicted = [predict_fn(jnp.asarray(TIMES, "float32"), x, "ntk", compute_cov=True) for x in (None, TEST)]
    want_mean = np.concatenate([p.mean[..., 0] for p in predicted], 1)
    want_variance = np.concatenate([np.diagonal(p.covariance, axis1=1, axis2=2) for p in predicted], 1)

    # One step of gradient descent shrinks a mode by `1 - z` in place of `exp(-z)`, where `z <= 0.04`. In all, this
    # is a difference of at most `z max_x x exp(-x) / 2 = z / (2 e)` of the way to the labels, which is about 1.
    # The NTK of a finite network has a relative variance of about `2 / WIDTH`, so its modes shrink by other factors
    # `exp(-x)`, of a variance of at most `2 / WIDTH max_x (x exp(-x))^2`. The shift of their mean is smaller still.
    discrete, finite = 0.04 / (2 * np.e), 2 / WIDTH * np.exp(-2)
    mean_error, variance_error = np.sqrt(want_variance / MEMBERS), want_variance * np.sqrt(2 / MEMBERS)
    np.testing.assert_array_less(np.abs(mean - want_mean), 4 * mean_error + discrete + finite)
    np.testing.assert_array_less(
        np.abs(variance - want_variance), 4 * variance_error + 2 * discrete * want_variance + 2 * finite
    )

    # The ensemble starts as the prior, of mean 0, and agrees on the labels at the end, less so away from them.
    assert np.all(np.diff(variance[:, :3], axis=0) < 0)
    assert np.all(variance[-1, :3] < 0.05 * variance[0, :3])
    assert np.all(variance[-1, 3:5] < 0.1 * variance[0, 3:5])
    assert variance[-1, 5] > 4 * np.max(variance[-1, :5])
    np.testing.assert_allclose(
        want_variance[0], np.diag(KERNEL_FN(jnp.concatenate([TRAIN, TEST]), None, "nngp")), rtol=1e-4
    )
    # The agreement at the end is one of means that have changed by far more.
    assert np.max(np.abs(mean[-1] - mean[0])) > 10 * np.max(np.abs(mean[-1] - want_mean[-1]))
