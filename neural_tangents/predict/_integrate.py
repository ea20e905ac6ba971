"""Integration of gradient flows, and derivatives of the result. Nothing else in the library touches an ODE solver.

The steps are those of `jax.experimental.ode`: the method of Dormand and Prince, its error estimate and its choice of
the step size. The loop over steps is our own, as that of `odeint` does not suit gradient flows:

* Its reverse mode finds earlier states by integrating back in time. A gradient flow contracts, so this blows up: for
  the squared loss and a rate `λ`, gradients are wrong by 0.3% at `λt = 26`, by `10^5` at 53 and by `10^45` at 131,
  with nothing to show for it. Here the steps that were taken are differentiated (backpropagation through them), which
  is as stable as they are. States are computed anew from one in about `√n` of `n` steps, at the cost of two more
  passes.
* It does not tell when it gives up, and returns an extrapolation.
* It cannot stop where nothing changes any more.

`diffrax` could do all of this, but it is one more dependency, and its present releases do not support every release of
jax that this library supports.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp
from jax.experimental import ode
from jax.flatten_util import ravel_pytree

Constants = Sequence[jax.Array]

# A square number. Steps are stable up to about 3.3 / λ_max, and a fifth are rejected: this many reach λ_max t = 7e5.
MAX_STEPS = 2**18
# Where integration to infinity ends if outputs still change, however slowly. Steps grow with time, so it is not far.
LONGEST = 1e15

_FIRST_STEP = 1e-3  # tried first; later ones are up to 10 times longer or 5 times shorter than the one before
_GROWING = 5.0  # while steps grow tenfold, time is less than 5 of them
_STATIONARY = 1e3  # in units of the tolerance; oscillations at the limit of stability do not die out below 100


def tolerance(dtype: Any) -> float:
    """The error allowed in one step, in units of the largest entry so far: 1e-10 in float64, 5e-7 in float32."""
    return max(1e-10, 4 * float(jnp.finfo(dtype).eps))


def integrate(velocity: Callable[[Any], Any], start: Any, spans: jax.Array) -> tuple[Any, jax.Array]:
    """Integrates `du/dt = velocity(u)` over some spans of time, one after another.

    A step is accepted if the largest error in each array of `u` is below `tolerance` times the largest entry that this
    array has had. The infinite span ends when

    * the largest change of any array during the second half of the time so far is below 1,000 times the tolerance,
      while steps do not grow any more, that is, are limited by stability and not by accuracy; or
    * the time exceeds `LONGEST`; or
    * `MAX_STEPS` steps were tried.

    Args:
      velocity: from a pytree of arrays, all of one floating type, to one of the same structure.
      start: `u` at time 0.
      spans: `[K]` of this type, each >= 0, of which the last may be infinite.

    Returns:
      The states at the ends of the spans, with a leading axis of length `K`, and which of them were reached, `[K]`.
      A span is not reached, nor are those after it, if `MAX_STEPS` steps were tried, velocities are not finite, or the
      span is negative or NaN; its state is then NaN. An infinite span is reached if `u` became stationary; if not, its
      state is still the last one, unless velocities are not finite.

      Differentiable in reverse mode, once, with respect to `start`, `spans` and all that `velocity` closes over.
    """
    flat, unravel = ravel_pytree(start)
    if not spans.size:
        return jax.vmap(unravel)(jnp.zeros((0, flat.size), flat.dtype)), jnp.zeros(0, bool)
    # As data, so that whatever is closed over becomes an argument, of which a derivative can be taken.
    program = jax.make_jaxpr(lambda u: ravel_pytree(velocity(unravel(u)))[0])(flat)
    flow = _Flow(program.jaxpr, tuple(leaf.size for leaf in jax.tree.leaves(start)))

    @jax.custom_vjp
    def solve(start: jax.Array, spans: jax.Array, constants: Constants) -> tuple[jax.Array, jax.Array]:
        walk = _walk(flow, start, spans, constants, record=False)
        return walk.states, walk.reached

    def forward(start: jax.Array, spans: jax.Array, constants: Constants) -> Any:
        walk = _walk(flow, start, spans, constants, record=True)
        return (walk.states, walk.reached), (start, spans, constants, walk)

    def backward(residuals: Any, cotangents: Any) -> Any:
        return _backpropagate(flow, cotangents[0], *residuals)

    solve.defvjp(forward, backward)
    states, reached = solve(flat, spans, tuple(program.consts))
    return jax.vmap(unravel)(states), reached


@dataclasses.dataclass(frozen=True)
class _Flow:
    """`du/dt = program(constants, u)` for a flat `u`, which is made of arrays of some `sizes`."""

    program: Any
    sizes: tuple[int, ...]

    def velocity(self, u: jax.Array, constants: Constants) -> jax.Array:
        return jax.core.eval_jaxpr(self.program, constants, u)[0]

    def step(self, u: jax.Array, du: jax.Array, length: jax.Array, constants: Constants) -> tuple[jax.Array, ...]:
        """The state after a step, its velocity, and the error of the step."""
        with jax.default_matmul_precision("highest"):  # of sums over stages; the program has its own
            return ode.runge_kutta_step(
                lambda u, _: self.velocity(u, constants), u, du, jnp.zeros_like(length), length
            )[:3]

    def advance(self, u: jax.Array, length: jax.Array, constants: Constants) -> jax.Array:
        """The state after a step."""
        return self.step(u, self.velocity(u, constants), length, constants)[0]

    def largest(self, u: jax.Array) -> jax.Array:
        """The largest absolute value in each array."""
        stops = np.cumsum(self.sizes)
        parts = [u[stop - size : stop] for size, stop in zip(self.sizes, stops, strict=True)]
        return jnp.stack([jnp.max(jnp.abs(part), initial=0) for part in parts])


class _Walk(NamedTuple):
    """How far an integration has got."""

    tried: jax.Array  # number of steps, accepted or not
    stuck: jax.Array  # whether no step is possible
    span: jax.Array  # number of the present one
    left: jax.Array  # of it
    time: jax.Array  # since the start of the first one
    step: jax.Array  # length of the next step
    u: jax.Array
    du: jax.Array
    scale: jax.Array  # largest absolute values so far
    half_time: jax.Array  # time and state at about half the time
    half_u: jax.Array
    states: jax.Array  # results, and whether they were reached
    reached: jax.Array
    number: jax.Array  # of accepted steps
    ends: jax.Array  # the same at the end of each span
    taken: jax.Array | None  # lengths of accepted steps


def _begin(flow: _Flow, start: jax.Array, spans: jax.Array, constants: Constants, record: bool) -> _Walk:
    """Before the first step, with all results NaN."""
    no_time, none = jnp.zeros((), spans.dtype), jnp.zeros((), int)
    return _Walk(
        tried=none,
        stuck=jnp.zeros((), bool),
        span=none,
        left=spans[0],
        time=no_time,
        step=jnp.full_like(no_time, _FIRST_STEP),
        u=start,
        du=flow.velocity(start, constants),
        scale=flow.largest(start),
        half_time=no_time,
        half_u=start,
        states=jnp.full((len(spans), start.size), jnp.nan, start.dtype),
        reached=jnp.zeros(len(spans), bool),
        number=none,
        ends=jnp.zeros(len(spans), int),
        taken=jnp.zeros(MAX_STEPS, spans.dtype) if record else None,
    )


def _walk(flow: _Flow, start: jax.Array, spans: jax.Array, constants: Constants, record: bool) -> _Walk:
    """Integrates to the end of all spans, or as far as possible; `record` keeps the lengths of steps.

    One loop goes through all spans. So it is compiled once, whatever their number, and a span begins with the length of
    step that the one before has found. Only lengths of steps are recorded: states would take memory for each step.
    """
    allowed = tolerance(start.dtype)

    def going(w: _Walk) -> jax.Array:
        return (w.span < len(spans)) & ~w.stuck & (w.tried < MAX_STEPS)

    def attempt(w: _Walk) -> _Walk:
        # A step is cut before it is taken, so that a span ends in a state of the solver and nothing is interpolated.
        valid = w.left >= 0
        last = w.step >= w.left
        rest = jnp.where(last, 0, w.left - w.step)
        # Exactly what is subtracted, so that rounding of time does not add up; but not less than nothing.
        length = jnp.where(jnp.isinf(w.left) | (rest == w.left), w.step, w.left - rest)
        length = jnp.where(last, w.left, length)
        u, du, error = flow.step(w.u, w.du, length, constants)
        # The scale comes before the error is judged: from a start at 0, there is none but that of the new state.
        scale = jnp.maximum(w.scale, flow.largest(u))
        ratio = _largest_ratio(flow.largest(error), allowed * scale)
        accepted = valid & (ratio <= 1)
        proposed = ode.optimal_step_size(length, ratio)
        # After a step that was cut, `proposed` may be short for no reason but the cut: the next span starts with more.
        proposed = jnp.where(accepted & last, jnp.maximum(w.step, proposed), proposed)

        # What has changed since half the time is compared before the state at half the time is replaced, below.
        time = w.time + length
        doubled = time >= 2 * w.half_time
        constant = doubled & (_largest_ratio(flow.largest(u - w.half_u), _STATIONARY * allowed * scale) <= 1)
        settled = (constant & (time >= _GROWING * length)) | (time >= LONGEST)
        ends = jnp.where(jnp.isinf(w.left), settled, last)

        # Both outcomes are made, and one is selected: under `vmap` a branch would be evaluated for all in any case.
        rejected = w._replace(tried=w.tried + 1, stuck=~valid | ((length == 0) & ~last), step=proposed)
        span, number = w.span + ends, w.number + 1
        further = rejected._replace(
            span=span,
            left=jnp.where(ends, spans[jnp.minimum(span, len(spans) - 1)], rest),
            time=time,
            u=u,
            du=du,
            scale=scale,
            half_time=jnp.where(doubled, time, w.half_time),
            half_u=jnp.where(doubled, u, w.half_u),
            states=w.states.at[w.span].set(jnp.where(ends, u, w.states[w.span])),
            reached=w.reached.at[w.span].set(ends & (constant | ~jnp.isinf(w.left))),
            number=number,
            ends=w.ends.at[w.span].set(number),
            taken=None if w.taken is None else w.taken.at[w.number].set(length),
        )
        return jax.tree.map(lambda new, old: jnp.where(accepted, new, old), further, rejected)

    w = lax.while_loop(going, attempt, _begin(flow, start, spans, constants, record))
    # Steps ran out on the way to infinity: return what there is.
    last = jnp.minimum(w.span, len(spans) - 1)
    on_the_way = (w.span < len(spans)) & ~w.stuck & jnp.isinf(w.left)
    return w._replace(states=w.states.at[last].set(jnp.where(on_the_way, w.u, w.states[last])))


def _backpropagate(
    flow: _Flow, states_bar: jax.Array, start: jax.Array, spans: jax.Array, constants: Constants, walk: _Walk
) -> tuple[jax.Array, jax.Array, tuple[jax.Array | None, ...]]:
    """Pulls cotangents of `walk.states` back to the start, the spans and the constants.

    Pulling back a step needs the state before it. Steps are pulled back from the last to the first, but states can only
    be computed from the first to the last. So the `n` steps are first taken again, and one state in about `√n` is kept
    as a mark. Then, block by block from the end, the states of a block are computed from its mark, and its steps are
    pulled back.
    """
    assert walk.taken is not None
    taken, number = walk.taken, walk.number
    moving = [i for i, c in enumerate(constants) if jnp.issubdtype(c.dtype, jnp.inexact)]

    def advance(u: jax.Array, length: jax.Array, values: list[jax.Array]) -> jax.Array:
        moved = dict(zip(moving, values, strict=True))
        return flow.advance(u, length, [moved.get(i, c) for i, c in enumerate(constants)])

    def states_before(u: jax.Array, first: jax.Array, count: jax.Array, every: jax.Array) -> jax.Array:
        """The states before the steps `first + every · (0, ..., count - 1)`, of which the first is `u`."""

        def fill(i: jax.Array, carry: Any) -> Any:
            u, states = carry
            begin = first + i * every
            end = jnp.minimum(begin + every, number)
            after = lax.fori_loop(begin, end, lambda k, u: flow.advance(u, taken[k], constants), u)
            return after, states.at[i].set(u)

        return lax.fori_loop(0, count, fill, (u, jnp.zeros((math.isqrt(MAX_STEPS), u.size), u.dtype)))[1]

    def pull(k: jax.Array, u: jax.Array, carry: Any) -> Any:
        """From after step `k` to before it, where the state is `u`."""
        u_bar, span, spans_bar, values_bar = carry
        # If a span ends after this step, the cotangent of its result joins before the step is pulled back.
        end = (span >= 0) & (walk.ends[span] == k + 1)
        u_bar += jnp.where(end, states_bar[span], 0)
        u_bar, length_bar, step_bar = jax.vjp(advance, u, taken[k], [constants[i] for i in moving])[1](u_bar)
        # Lengths of steps are what they are, but for the last one of a finite span.
        spans_bar = spans_bar.at[span].add(jnp.where(end & ~jnp.isinf(spans[span]), length_bar, 0))
        return u_bar, span - end, spans_bar, jax.tree.map(jnp.add, values_bar, step_bar)

    one = jnp.ones((), int)
    stride = jnp.maximum(jnp.ceil(jnp.sqrt(number)).astype(int), 1)
    blocks = (number + stride - 1) // stride
    marks = states_before(start, 0 * one, blocks, stride)

    def pull_block(i: jax.Array, carry: Any) -> Any:
        first = (blocks - 1 - i) * stride
        count = jnp.minimum(stride, number - first)
        states = states_before(marks[blocks - 1 - i], first, count, one)
        return lax.fori_loop(0, count, lambda j, c: pull(first + count - 1 - j, states[count - 1 - j], c), carry)

    # Where not all states were reached, derivatives are NaN as states are.
    u_bar = jnp.where(jnp.any(jnp.isnan(walk.states)), jnp.nan, jnp.zeros_like(start))
    last = jnp.minimum(walk.span, len(spans) - 1)
    carry = u_bar, last, jnp.zeros_like(spans), [jnp.zeros_like(constants[i]) for i in moving]
    start_bar, _, spans_bar, values_bar = lax.fori_loop(0, blocks, pull_block, carry)
    constants_bar = dict(zip(moving, values_bar, strict=True))
    return start_bar, spans_bar, tuple(constants_bar.get(i) for i in range(len(constants)))


def _largest_ratio(values: jax.Array, scales: jax.Array) -> jax.Array:
    """The largest `values / scales`, where zeros are ratios of 0; infinite if one is not a number."""
    ratio = jnp.max(jnp.where(values == 0, 0, values / jnp.where(values == 0, 1, scales)))
    return jnp.where(jnp.isnan(ratio), jnp.inf, ratio)
