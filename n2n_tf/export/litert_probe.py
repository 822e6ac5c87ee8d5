"""Runs a .tflite file with LiteRT and NumPy alone, and says what it saw.

    python -I litert_probe.py model.tflite arguments.npz results.npz threads

`arguments.npz` holds arrays named "0/noisy", "1/noisy", ... (case / name of the argument);
`results.npz` receives "0", "1", ... In a process of its own, the figures are the file's alone: JSON
on standard output with the operations, how many of them the XNNPACK delegate took, milliseconds of
the last case, and megabytes of memory above what the idle process had.
"""

import collections
import json
import re
import sys
import time

import numpy as np
from ai_edge_litert.interpreter import Interpreter

REPEATS = 3


def main(model: str, arguments: str, results: str, threads: str) -> None:
    """Runs every case; prints one JSON object."""
    cases = collections.defaultdict(dict)
    with np.load(arguments) as arrays:
        for name in arrays.files:
            case, argument = name.split("/")
            cases[int(case)][argument] = arrays[name]
    idle = _peak_megabytes()
    interpreter = Interpreter(model, num_threads=int(threads))
    denoise = interpreter.get_signature_runner("denoise")
    outputs = {str(i): denoise(**cases[i])["denoised"] for i in sorted(cases)}
    last, times = max(cases), []
    for _ in range(REPEATS):
        started = time.perf_counter()
        denoise(**cases[last])
        times.append(time.perf_counter() - started)
    np.savez(results, **outputs)
    seen = operations(interpreter) | {
        "milliseconds": 1000 * min(times),
        "peak_megabytes": _peak_megabytes() - idle,
    }
    print(json.dumps(seen))


def operations(interpreter: Interpreter) -> dict[str, dict[str, int]]:
    """Counts of all operations, and of those that no delegate took.

    The interpreter lists the original operations and, beside them, one DELEGATE for each part of
    the graph that was replaced: what lies between its outputs and inputs.
    """
    listed = interpreter._get_ops_details()
    own = [op for op in listed if op["op_name"] != "DELEGATE"]
    maker = {int(tensor): op for op in own for tensor in op["outputs"]}
    taken = set()
    for delegate in (op for op in listed if op["op_name"] == "DELEGATE"):
        known = {int(tensor) for tensor in delegate["inputs"]}
        wanted = [int(tensor) for tensor in delegate["outputs"]]
        while wanted:
            tensor = wanted.pop()
            if tensor in maker and tensor not in known:
                known.add(tensor)
                taken.add(maker[tensor]["index"])
                wanted += [int(t) for t in maker[tensor]["inputs"]]
    left = [op for op in own if op["index"] not in taken]
    return {
        "operations": dict(collections.Counter(op["op_name"] for op in own)),
        "not_delegated": dict(collections.Counter(op["op_name"] for op in left)),
    }


def _peak_megabytes():
    """Most memory that this process has had in RAM; 0 where there is no /proc."""
    try:
        with open("/proc/self/status") as status:
            return int(re.search(r"VmHWM:\s+(\d+) kB", status.read())[1]) / 1024
    except OSError:
        return 0.0


if __name__ == "__main__":
    main(*sys.argv[1:])
