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

`diffrax` could do all this, but is one more package, of which the present releases do not support all releases of jax
that this library does.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax import lax
from jax import numpy as jnp
from jax.experimental import ode
from jax.flatten_util import ravel_pytree

# A power of 4. An explicit method is stable for steps up to about 3.3 / λ_max, so that this many reach λ_max t = 8e5.
MAX_STEPS = 2**18
# Where integration to infinity ends if outputs still change, however slowly. Steps grow with time, so it is not far.
LONGEST = 1e15

_FIRST_STEP = 1e-3  # tried first; later ones are up to 10 times longer or 5 times shorter than the one before
_GROWING = 5.0  # while steps grow tenfold, time is less than 5 of them
_STATIONARY = 10.0  # in units of the tolerance


def tolerance(dtype: Any) -> float:
    """The error allowed in one step, in units of the largest entry so far: 1e-9 in float64, 2e-6 in float32."""
    return max(1e-9, 16 * float(jnp.finfo(dtype).eps))


def integrate(velocity: Callable[[Any], Any], start: Any, spans: jax.Array) -> tuple[Any, jax.Array]:
    """Integrates `du/dt = velocity(u)` over some spans of time, one after another.

    A step is accepted if the largest error in each array of `u` is below `tolerance` times the largest entry that this
    array has had. The infinite span ends when

    * the largest change of any array during the second half of the time so far is below 10 times the tolerance, while
      steps do not grow any more, that is, are limited by stability and not by accuracy; or
    * the time exceeds `LONGEST`; or
    * `MAX_STEPS` steps were tried.

    Args:
      velocity: from a pytree of arrays, all of one floating type, to one of the same structure.
      start: `u` at time 0.
      spans: `[K]` of this type, each >= 0, of which the last may be infinite.

    Returns:
      The states at the ends of the spans, with a leading axis of length `K`, and which of them were reached, `[K]`.
      States that were not reached are NaN: those from where `MAX_STEPS` were tried, velocities are not finite, or a
      span is negative or NaN. An infinite span is reached if `u` became stationary; its state is the last one in
      any case but that of velocities that are not finite.

      Differentiable in reverse mode, once, with respect to `start`, `spans` and all that `velocity` closes over.
    """
    flat, unravel = ravel_pytree(start)
    if not spans.size:
        return jax.vmap(unravel)(jnp.zeros((0, flat.size), flat.dtype)), jnp.zeros(0, bool)
    sizes = [leaf.size for leaf in jax.tree.leaves(start)]
    # As data, so that whatever is closed over becomes an argument, of which a derivative can be taken.
    program = jax.make_jaxpr(lambda u: ravel_pytree(velocity(unravel(u)))[0])(flat)
    solve = _differentiable(program.jaxpr, sizes)
    states, reached = solve(flat, spans, tuple(program.consts))
    return jax.vmap(unravel)(states), reached


class _Walk(NamedTuple):
    """Where an integration stands."""

    tried: jax.Array  # number of steps, accepted or not
    stuck: jax.Array  # whether no step is possible
    span: jax.Array  # number of the present one
    left: jax.Array  # of it
    time: jax.Array  # since the start of the first span
    step: jax.Array  # length of the next one
    u: jax.Array
    du: jax.Array
    scale: jax.Array  # largest absolute values so far, one per array of the state
    half_time: jax.Array  # time and state at about half the time
    half_u: jax.Array
    states: jax.Array  # results, and whether they were reached
    reached: jax.Array
    number: jax.Array  # of accepted steps
    ends: jax.Array  # this number at the end of each span
    taken: jax.Array | None  # lengths of these steps


def _differentiable(program: Any, sizes: list[int]) -> Callable[..., tuple[jax.Array, jax.Array]]:
    """The solver `(start, spans, constants) -> (states, reached)` of `du/dt = program(constants, u)`, for flat `u`."""

    def step(u: jax.Array, du: jax.Array, length: jax.Array, constants: Any) -> tuple[jax.Array, ...]:
        with jax.default_matmul_precision("highest"):  # of sums over stages; the program has its own
            return ode.runge_kutta_step(
                lambda u, _: jax.core.eval_jaxpr(program, constants, u)[0], u, du, jnp.zeros_like(length), length
            )[:3]

    def advance(u: jax.Array, length: jax.Array, constants: Any) -> jax.Array:
        return step(u, jax.core.eval_jaxpr(program, constants, u)[0], length, constants)[0]

    def largest(u: jax.Array) -> jax.Array:
        parts, first = [], 0
        for size in sizes:
            parts.append(jnp.max(jnp.abs(u[first : first + size]), initial=0))
            first += size
        return jnp.stack(parts)

    def forward(start: jax.Array, spans: jax.Array, constants: Any, record: bool) -> _Walk:
        allowed = tolerance(start.dtype)

        def going(w: _Walk) -> jax.Array:
            return (w.span < len(spans)) & (w.tried < MAX_STEPS) & ~w.stuck

        def body(w: _Walk) -> _Walk:
            last = w.step >= w.left
            rest = jnp.where(last, 0, w.left - w.step)
            # Exactly what is subtracted, so that rounding of time does not add up; but not less than nothing.
            length = jnp.where(jnp.isinf(w.left) | (rest == w.left), w.step, w.left - rest)
            length = jnp.where(last, w.left, length)
            u, du, error = step(w.u, w.du, length, constants)
            scale = jnp.maximum(w.scale, largest(u))
            ratio = _largest_ratio(largest(error), allowed * scale)
            valid = w.left >= 0
            accepted = valid & (ratio <= 1)
            proposed = ode.optimal_step_size(length, ratio)
            proposed = jnp.where(accepted & last, jnp.maximum(w.step, proposed), proposed)

            time = w.time + length
            doubled = time >= 2 * w.half_time
            constant = doubled & (_largest_ratio(largest(u - w.half_u), _STATIONARY * allowed * scale) <= 1)
            settled = (constant & (time >= _GROWING * length)) | (time >= LONGEST)
            ends = accepted & jnp.where(jnp.isinf(w.left), settled, last)

            tried = w._replace(tried=w.tried + 1, stuck=~valid | ((length == 0) & ~last), step=proposed)
            span = w.span + ends
            new = tried._replace(
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
                number=w.number + 1,
                ends=w.ends.at[w.span].set(w.number + 1),
                taken=None if w.taken is None else w.taken.at[w.number].set(length),
            )
            return jax.tree.map(lambda new, old: jnp.where(accepted, new, old), new, tried)

        zero, none = jnp.zeros((), spans.dtype), jnp.zeros((), int)
        w = _Walk(
            tried=none,
            stuck=jnp.zeros((), bool),
            span=none,
            left=spans[0],
            time=zero,
            step=jnp.full_like(zero, _FIRST_STEP),
            u=start,
            du=jax.core.eval_jaxpr(program, constants, start)[0],
            scale=largest(start),
            half_time=zero,
            half_u=start,
            states=jnp.full((len(spans), start.size), jnp.nan, start.dtype),
            reached=jnp.zeros(len(spans), bool),
            number=none,
            ends=jnp.zeros(len(spans), int),
            taken=jnp.zeros(MAX_STEPS, spans.dtype) if record else None,
        )
        w = lax.while_loop(going, body, w)
        on_the_way = going(w._replace(tried=none)) & jnp.isinf(w.left)
        index = jnp.minimum(w.span, len(spans) - 1)
        return w._replace(states=w.states.at[index].set(jnp.where(on_the_way, w.u, w.states[index])))

    def forward_and_record(start: jax.Array, spans: jax.Array, constants: Any) -> Any:
        w = forward(start, spans, constants, record=True)
        return (w.states, w.reached), (start, spans, constants, w)

    def backward(residuals: Any, cotangents: Any) -> Any:
        start, spans, constants, w = residuals
        moving = [i for i, c in enumerate(constants) if jnp.issubdtype(c.dtype, jnp.inexact)]

        def advance_moving(u: jax.Array, length: jax.Array, values: list[jax.Array]) -> jax.Array:
            moved = dict(zip(moving, values, strict=True))
            return advance(u, length, [moved.get(i, c) for i, c in enumerate(constants)])

        def pull(k: jax.Array, u: jax.Array, carry: Any) -> Any:
            """Pulls the cotangents of the state after step `k` back to that before it, which is `u`."""
            u_bar, index, spans_bar, moving_bar = carry
            end = (index >= 0) & (w.ends[index] == k + 1)
            u_bar += jnp.where(end, cotangents[0][index], 0)
            u_bar, length_bar, step_bar = jax.vjp(advance_moving, u, w.taken[k], [constants[i] for i in moving])[1](
                u_bar
            )
            # Steps have fixed lengths, but for the last one of a finite span.
            spans_bar = spans_bar.at[index].add(jnp.where(end & ~jnp.isinf(spans[index]), length_bar, 0))
            return u_bar, index - end, spans_bar, jax.tree.map(jnp.add, moving_bar, step_bar)

        root = int(MAX_STEPS**0.5)
        stride = jnp.maximum(jnp.ceil(jnp.sqrt(w.number)).astype(int), 1)

        def states_from(u: jax.Array, first: jax.Array, number: jax.Array, every: jax.Array) -> jax.Array:
            """The states before the steps `first + every · (0, ..., number - 1)`, given the first of them."""

            def fill(i: jax.Array, carry: Any) -> Any:
                u, states = carry
                states = states.at[i].set(u)
                begin = first + i * every
                stop = jnp.minimum(begin + every, w.number)
                return lax.fori_loop(begin, stop, lambda k, u: advance(u, w.taken[k], constants), u), states

            return lax.fori_loop(0, number, fill, (u, jnp.zeros((root, u.size), u.dtype)))[1]

        blocks = (w.number + stride - 1) // stride
        marks = states_from(start, jnp.zeros((), int), blocks, stride)

        def pull_block(i: jax.Array, carry: Any) -> Any:
            block = blocks - 1 - i
            first = block * stride
            number = jnp.minimum(stride, w.number - first)
            states = states_from(marks[block], first, number, jnp.ones((), int))
            return lax.fori_loop(
                0, number, lambda j, carry: pull(first + number - 1 - j, states[number - 1 - j], carry), carry
            )

        # From where states were not reached, derivatives are NaN, too.
        known = jnp.all(~jnp.isnan(w.states))
        begun = jnp.minimum(w.span, len(spans) - 1)
        carry = (
            jnp.where(known, jnp.zeros_like(start), jnp.nan),
            begun,
            jnp.zeros_like(spans),
            [jnp.zeros_like(constants[i]) for i in moving],
        )
        start_bar, _, spans_bar, moving_bar = lax.fori_loop(0, blocks, pull_block, carry)
        constants_bar = dict(zip(moving, moving_bar, strict=True))
        return start_bar, spans_bar, tuple(constants_bar.get(i) for i in range(len(constants)))

    @jax.custom_vjp
    def solve(start: jax.Array, spans: jax.Array, constants: Any) -> tuple[jax.Array, jax.Array]:
        w = forward(start, spans, constants, record=False)
        return w.states, w.reached

    solve.defvjp(forward_and_record, backward)
    return solve


def _largest_ratio(values: jax.Array, scales: jax.Array) -> jax.Array:
    """The largest `values / scales`, where zeros are ratios of 0; infinite if one is not a number."""
    ratio = jnp.max(jnp.where(values == 0, 0, values / jnp.where(values == 0, 1, scales)))
    return jnp.where(jnp.isnan(ratio), jnp.inf, ratio)
