"""Times kernels in this library and, side by side, in the reference library. See README.md.

python benchmarks/run.py --reference /path/to/reference/bin/python --case fc_relu_f32 --json out.json
"""

import argparse
import contextlib
import dataclasses
import json
import os
import pathlib
import platform
import subprocess
import sys
from collections.abc import Sequence

from cases import CASES, Case
from report import relative_difference, summarise_library, table

HERE = pathlib.Path(__file__).resolve().parent


def start_worker(python: str, *, library_root: pathlib.Path | None) -> subprocess.Popen:
    """Starts a worker process that waits for a case.

    Args:
        python: the interpreter of the environment to measure.
        library_root: the folder in which `neural_tangents` lies, or `None` for the reference library, which is
            installed in the environment and is run without the TensorFlow it imports.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["OPENBLAS_NUM_THREADS"] = "1"  # its threads would compete with those of XLA
    command = [python, str(HERE / "worker.py")]
    if library_root is None:
        command.append("--stub-tensorflow")
    else:
        environment["PYTHONPATH"] = str(library_root)
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def ask(worker: subprocess.Popen, command: str, **arguments) -> dict:
    """Sends one request and waits for its answer."""
    with contextlib.suppress(BrokenPipeError):  # a worker that has ended is reported below
        print(json.dumps({"command": command, **arguments}), file=worker.stdin, flush=True)
    answer = worker.stdout.readline()
    if not answer:
        message = f"The worker {worker.args} ended with status {worker.wait()} at {command!r}; its error is above."
        raise RuntimeError(message)
    return json.loads(answer)


def measure(case: Case, workers: dict[str, subprocess.Popen], repetitions: int) -> dict:
    """Times one case in every worker, one worker at a time and taking turns."""
    setups = {name: ask(worker, "setup", case=dataclasses.asdict(case)) for name, worker in workers.items()}
    runs = {name: [] for name in workers}
    for repetition in range(repetitions):
        order = list(workers) if repetition % 2 == 0 else list(reversed(workers))
        for name in order:
            runs[name].append(ask(workers[name], "run"))
    finishes = {name: ask(worker, "finish") for name, worker in workers.items()}

    libraries = {name: summarise_library(setups[name], runs[name], finishes[name]) for name in workers}
    result = {"case": dataclasses.asdict(case), **libraries}
    if "reference" in workers:
        result["ratio"] = libraries["reference"]["median_seconds"] / libraries["ours"]["median_seconds"]
        outputs = (finishes[name]["outputs"] for name in ("ours", "reference"))
        result["max_relative_difference"] = relative_difference(*outputs)
    return result


def run_case(case: Case, reference: str | None, repetitions: int) -> dict:
    """Times one case in fresh processes."""
    with contextlib.ExitStack() as stack:
        workers = {"ours": stack.enter_context(start_worker(sys.executable, library_root=HERE.parent))}
        if reference is not None and case.reference:
            workers["reference"] = stack.enter_context(start_worker(reference, library_root=None))
        return measure(case, workers, repetitions)


def describe_machine() -> dict:
    """The processor and how many of its cores this process may use."""
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"cpu": models[0] if models else platform.processor(), "cores": cores, "system": platform.platform()}


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description="Times kernels in this library and in the reference library.")
    parser.add_argument("--reference", metavar="PYTHON", help="interpreter of the reference library's environment")
    parser.add_argument("--case", action="append", metavar="NAME", choices=[case.name for case in CASES],
                        help="a case to time; may be repeated (default: all)")  # fmt: skip
    parser.add_argument("--repetitions", type=int, default=7, help="timed calls per library (default: 7)")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="where to write the measurements")
    parser.add_argument("--list", action="store_true", help="list the cases and stop")
    arguments = parser.parse_args(argv)
    if arguments.repetitions < 1:
        parser.error(f"--repetitions must be at least 1, got {arguments.repetitions}")
    return arguments


def main(argv: Sequence[str]) -> None:
    """Runs the cases that the command line asks for."""
    arguments = parse_arguments(argv)
    if arguments.list:
        print("\n".join(f"{case.name}: {case.shape1} x {case.shape2}, {case.network}" for case in CASES))
        return
    if arguments.reference is None:
        print("No --reference given: timing this library only.")

    results = []
    for case in CASES:
        if arguments.case is None or case.name in arguments.case:
            print(f"Timing {case.name} ...", file=sys.stderr)
            results.append(run_case(case, arguments.reference, arguments.repetitions))
            if arguments.json is not None:  # after every case, so that a failure loses only its own
                report = {"machine": describe_machine(), "repetitions": arguments.repetitions, "results": results}
                arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    print(table(results))


if __name__ == "__main__":
    main(sys.argv[1:])
