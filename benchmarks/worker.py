"""Times one kernel with whichever `neural_tangents` its interpreter finds; driven by `run.py`.

One JSON object per line on the standard input, one per line on the standard output:

    {"command": "setup", "case": {...}}   ->  {"versions": {...}, "trace_seconds": ..., "compile_seconds": ...}
    {"command": "run"}                    ->  {"seconds": ...}
    {"command": "finish"}                 ->  {"peak_memory_mb": ..., "outputs": [...]}, and the process ends

The file runs under two libraries and two releases of jax, so it uses only what both have.
"""

import argparse
import json
import platform
import resource
import sys
import time
import types

SAMPLES = 256  # entries of each output that are sent back for comparison


class _Stub(types.ModuleType):
    """A module in which every attribute exists, so that importing from it succeeds."""

    __path__ = ()

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return _Stub(f"{self.__name__}.{name}")


def stub_tensorflow() -> None:
    """Lets a library that imports TensorFlow be imported without it."""
    for name in ("tensorflow", "tf2jax", "jax.experimental.jax2tf"):
        sys.modules[name] = _Stub(name)


def versions() -> dict[str, str]:
    """What ran: the library, jax, Python and the device."""
    import jax

    import neural_tangents

    return {
        "neural_tangents": neural_tangents.__version__,
        "jax": jax.__version__,
        "python": platform.python_version(),
        "device": jax.devices()[0].device_kind,
    }


def build(case: dict, reference: bool):
    """Returns the jitted kernel function of a case and its arguments."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    jax.config.update("jax_enable_x64", case["dtype"] == "float64")
    random = np.random.RandomState(0)  # its stream is the same in every release of numpy
    shapes = (case["shape1"], case["shape2"])
    x1, x2 = (None if shape is None else jnp.asarray(random.normal(size=shape), case["dtype"]) for shape in shapes)
    if case["finite"] is not None:
        import finite_networks

        from neural_tangents import empirical_ntk_fn

        f, params = eval(case["network"], vars(finite_networks))
        options = {"implementation": case["finite"]} if reference else {}
        return jax.jit(empirical_ntk_fn(f, trace_axes=(), vmap_axes=0, **options)), x1, x2, params

    from neural_tangents import stax

    get = case["get"] if isinstance(case["get"], str) else tuple(case["get"])

    def kernel(x1, x2, w=1.4, b=0.1):
        _, _, kernel_fn = eval(case["network"], {"stax": stax, "jnp": jnp, "w": w, "b": b})
        return kernel_fn(x1, x2, get)

    if case["derivative"] is None:
        return jax.jit(kernel), x1, x2
    numbers = {"inputs": 0, "hyperparameters": (2, 3)}[case["derivative"]]
    gradient = jax.grad(lambda *inputs: jnp.sum(kernel(*inputs)), numbers)
    return jax.jit(gradient), x1, x2, 1.4, 0.1


def compile_timed(function, *inputs):
    """Compiles a jitted function; returns it with the seconds taken to trace and to compile it."""
    start = time.perf_counter()
    lowered = function.lower(*inputs)
    traced = time.perf_counter()
    compiled = lowered.compile()
    return compiled, traced - start, time.perf_counter() - traced


def call_timed(compiled, *inputs):
    """Calls a compiled function once; returns its outputs and the seconds until they were ready."""
    import jax

    start = time.perf_counter()
    outputs = jax.block_until_ready(compiled(*inputs))
    return outputs, time.perf_counter() - start


def peak_memory_mb() -> float:
    """The largest resident size this process has had."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def summarise(outputs) -> list[dict]:
    """The norm and an evenly spaced sample of every output array."""
    import jax
    import numpy as np

    arrays = [np.asarray(x, np.float64).ravel() for x in jax.tree_util.tree_leaves(outputs)]
    if not all(np.isfinite(x).all() for x in arrays):
        raise ValueError("The kernel has entries that are not finite. Choose weights and inputs for which it is.")
    return [
        {
            "norm": float(np.linalg.norm(x)),
            "sample": x[np.linspace(0, x.size - 1, min(x.size, SAMPLES)).astype(int)].tolist(),
        }
        for x in arrays
    ]


def serve(requests, answers, reference: bool) -> None:
    """Answers the requests of one case, the first of which must be `setup`."""

    def answer(**fields):
        print(json.dumps(fields), file=answers, flush=True)

    for line in requests:
        request = json.loads(line)
        match request["command"]:
            case "setup":
                function, *inputs = build(request["case"], reference)
                compiled, trace_seconds, compile_seconds = compile_timed(function, *inputs)
                outputs, _ = call_timed(compiled, *inputs)  # the first call also pays for fresh memory: not counted
                answer(versions=versions(), trace_seconds=trace_seconds, compile_seconds=compile_seconds)
            case "run":
                del outputs  # so that two results are never held at once
                outputs, seconds = call_timed(compiled, *inputs)
                answer(seconds=seconds)
            case "finish":
                peak = peak_memory_mb()  # before the outputs are copied for the summary
                answer(peak_memory_mb=peak, outputs=summarise(outputs))
                return
            case unknown:
                raise ValueError(f"Expected the command 'setup', 'run' or 'finish', got {unknown!r}.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Times one kernel; started by run.py.")
    parser.add_argument("--stub-tensorflow", action="store_true", help="the library imports TensorFlow: do without it")
    reference = parser.parse_args().stub_tensorflow
    if reference:
        stub_tensorflow()
    answers, sys.stdout = sys.stdout, sys.stderr  # what the library prints must not mix with the answers
    serve(sys.stdin, answers, reference)
