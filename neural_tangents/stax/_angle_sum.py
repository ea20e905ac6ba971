"""Kernels of whole networks as sums in the angle between inputs: their cost does not grow with depth.

Where a network of vectors is homogeneous, made of half-lines without biases, or where all inputs have one length, its
kernels are functions of the angle `theta` between two inputs, but for the product of their lengths:

    K(x, y) = r1 r2 F(theta),    F(theta) = sum_j c_j T_j(1 - 2 theta / pi),

with Chebyshev polynomials `T_j`. The layers themselves, evaluated at `n` angles, give the first `n` coefficients. If
the last of them are no more than rounding errors, the sum is as exact as the layers are; else these are evaluated one
after the other, as they are for derivatives.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from neural_tangents._core import mesh_axes
from neural_tangents._core.chebyshev import chebyshev_coefficients, chebyshev_nodes, chebyshev_sum
from neural_tangents._core.compiled import is_out_of_memory
from neural_tangents._core.concrete import is_concrete
from neural_tangents._core.cosine_distance import CosineDistance
from neural_tangents._core.kernel import Kernel
from neural_tangents._core.numerics import length
from neural_tangents._core.programs import Programs
from neural_tangents.stax._blocks import in_sequence
from neural_tangents.stax._inputs import InputBatches, with_covariances
from neural_tangents.stax._nonlinearities.arc_cosine import arc_cosine
from neural_tangents.stax._pair_blocks import are_vectors, depend_on_equality, in_blocks, with_size
from neural_tangents.stax._spec import HalfLines, LayerSpec, Step, WindowMean, arguments_of, sequence, with_numbers
from neural_tangents.stax._streaming.explain import observed

# Programs by the forms of layers, as those of `_compiled_runs.py`.
_SHARED = Programs(most=64)
# From so many pairs of inputs and layers on, a sum takes at most half as long. It adds half a second to compilation.
_MANY_PAIRS, _MANY_LAYERS = 2**20, 40
# How many terms there are, by the size of a number: enough for some forty layers of ReLU, whose pole next to the angles
# is near `-3 pi / depth`.
_TERMS = {4: 32, 8: 64}
# So many of the last coefficients, in units of the largest one and of the unit of rounding, must be as small as this.
_LAST, _ROUNDING = 4, 8


def kernel_of_network(spec: LayerSpec, kernels: Any, kwargs: Mapping[str, Any], variances: bool) -> Any:
    """The kernels after a whole network, `spec.kernel(kernels, **kwargs)`, by a sum in the angle where it is shorter.

    Unlike those between layers, they may lack cosine distances, and variances where these are not asked for.
    """
    by_layers = functools.partial(spec.kernel, kernels, *([variances] if spec.layers else []), **kwargs)
    if not _are_many(kernels) or any(value is not None for name, value in kwargs.items() if name != "memory_budget"):
        return by_layers()
    steps = sequence(spec.name, [spec])
    scales = all(map(_is_homogeneous, steps))
    if not _act_on_pairs(steps) or not (scales or _have_one_length(kernels)):
        return by_layers()
    key = scales, tuple(step.spec.identity for step in steps)
    program = _SHARED.kept(key, lambda: jax.jit(functools.partial(_of_inputs, steps, scales)))
    reason = "they are functions of the angle between inputs: a sum over Chebyshev polynomials, if it converges"
    with observed(steps, None, reason, 0, kernels, {}):
        try:
            return program(arguments_of(steps), kernels)
        except Exception as error:
            if is_out_of_memory(error):  # layer by layer, more would be needed
                raise
            return by_layers()  # raises the error of a layer again; others do not take traced numbers


def _is_homogeneous(step: Step) -> bool:
    """Whether outputs of scaled inputs are scaled outputs."""
    formula = step.spec.formula
    return isinstance(formula, HalfLines) or (isinstance(formula, WindowMean) and formula.b_std is None)


def _are_many(k: Any) -> bool:
    """Whether these are many pairs of vectors."""
    return (
        are_vectors(k)
        and k.shape1[k.batch_axis] * k.shape2[k.batch_axis] >= _MANY_PAIRS
        and not mesh_axes.inside_shard_map()
    )


def _act_on_pairs(steps: Sequence[Step]) -> bool:
    """Whether these are many layers, each of which acts on the kernel of each pair alone."""
    return (
        len(steps) >= _MANY_LAYERS
        and all(step.spec.form is not None and step.spec.positions == "each" for step in steps)
        and not depend_on_equality(steps)
    )


def _have_one_length(k: InputBatches) -> bool:
    """Whether all inputs are known, and have the same length up to rounding."""
    if not is_concrete(k):
        return False
    squares = [np.sum(np.asarray(x) ** 2, axis=-1) for x in (k.inputs1, k.inputs2) if x is not None]
    least, most = min(map(np.min, squares)), max(map(np.max, squares))
    return bool(most - least <= 4 * np.finfo(most.dtype).eps * most)


def _of_inputs(steps: Sequence[Step], scales: bool, numbers: Any, batches: InputBatches) -> Kernel:
    """The kernel of inputs after layers with some numbers."""

    def by_layers(numbers: Any, batches: InputBatches) -> Kernel:
        def layers(part: InputBatches, numbers: Any) -> Kernel:
            return in_sequence(with_numbers(steps, numbers), part, {}).replace(distance=None)

        return in_blocks(layers, batches, numbers)

    @jax.custom_jvp
    def kernel(numbers: Any, batches: InputBatches) -> Kernel:
        at_angles = in_sequence(with_numbers(steps, numbers), _at_angles(batches, scales), {})
        network = _Network.of(at_angles, scales)

        def by_sum(batches: InputBatches) -> Kernel:
            return in_blocks(lambda part, network: network.kernel(with_covariances(part)), batches, network)

        return mesh_axes.cond(network.is_exact, by_sum, functools.partial(by_layers, numbers), batches)

    # The derivatives of the sum are those in the angle, and not those in both lengths.
    kernel.defjvp(lambda primals, tangents: jax.jvp(by_layers, primals, tangents))
    return kernel(numbers, batches)


def _at_angles(batches: InputBatches, scales: bool) -> Kernel:
    """The kernel of one input and of others at some angles to it, all of variance 1, or of that of given inputs."""
    first = batches.inputs1[:1]
    one = with_covariances(dataclasses.replace(batches, inputs1=first, inputs2=first))
    q = jnp.ones_like(one.cov1) if scales else one.cov1
    theta = math.pi / 2 * (1 - chebyshev_nodes(_TERMS[q.dtype.itemsize]))
    distance = 2 * np.sin(np.minimum(theta, math.pi - theta) / 2)[None] ** 2
    return one.replace(
        nngp=q[None] * jnp.asarray(np.cos(theta)[None], q.dtype),
        cov1=q,
        cov2=jnp.broadcast_to(q, theta.shape),
        x1_is_x2=jnp.zeros((), bool),
        shape1=with_size(one.shape1, one.batch_axis, 1),
        shape2=with_size(one.shape2, one.batch_axis, len(theta)),
        distance=None if one.distance is None else CosineDistance(jnp.asarray(distance, q.dtype), acute=False),
    )


class _Network(NamedTuple):
    """A network as a function of an angle.

    Attributes:
      at_angles: its kernel at the angles of `_at_angles`.
      nngp: coefficients of the NNGP.
      ntk: those of the NTK, if there is one.
      scales: whether kernels are multiplied by both lengths, in units of that of the inputs of `at_angles`.
    """

    at_angles: Kernel
    nngp: Array
    ntk: Array | None
    scales: bool

    @classmethod
    def of(cls, at_angles: Kernel, scales: bool) -> "_Network":
        """The network whose kernel at the angles is known."""
        ntk = None if at_angles.ntk is None else chebyshev_coefficients(at_angles.ntk[0])
        return cls(at_angles, chebyshev_coefficients(at_angles.nngp[0]), ntk, scales)

    @property
    def is_exact(self) -> Array:
        """Whether the coefficients that were left out are no more than rounding errors."""

        def exact(c: Array) -> Array:
            return jnp.max(jnp.abs(c[-_LAST:])) <= _ROUNDING * jnp.finfo(c.dtype).eps * jnp.max(jnp.abs(c))

        return exact(self.nngp) if self.ntk is None else exact(self.nngp) & exact(self.ntk)

    def kernel(self, k: Kernel) -> Kernel:
        """The kernel after the network, of that of its inputs."""
        q1, q2 = k.variances
        r1, r2 = k.layout.spread(length(q1), length(q2))
        y = 2 / math.pi * arc_cosine(k.nngp, r1, r2, k.distance).j0 - 1
        scale = r1 * r2 if self.scales else jnp.ones_like(r1)
        own = self.at_angles.cov1[0]
        return self.at_angles.replace(
            nngp=scale * chebyshev_sum(self.nngp, y),
            ntk=None if self.ntk is None else scale * chebyshev_sum(self.ntk, y),
            cov1=own * (q1 if self.scales else jnp.ones_like(q1)),
            cov2=None if k.cov2 is None else own * (q2 if self.scales else jnp.ones_like(q2)),
            x1_is_x2=k.x1_is_x2,
            shape1=with_size(self.at_angles.shape1, k.batch_axis, k.shape1[k.batch_axis]),
            shape2=with_size(self.at_angles.shape2, k.batch_axis, k.shape2[k.batch_axis]),
        )
