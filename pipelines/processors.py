"""How many processors this process may use: not all that a machine has, in a container."""

import math
import os
import pathlib


def available_processors() -> int:
    """Processors that this process may really use, at least 1.

    The least of what the system has, of the affinity of this process (`taskset`, SLURM), of
    Python's own limit (`PYTHON_CPU_COUNT`), and of the time that its control groups give it
    (`docker --cpus`, Kubernetes limits), rounded up.
    """
    count = getattr(os, "process_cpu_count", os.cpu_count)() or 1
    if hasattr(os, "sched_getaffinity"):
        count = min(count, len(os.sched_getaffinity(0)))
    return max(1, math.ceil(min(count, processor_quota())))


def computes_in_bfloat16(root: pathlib.Path | str = "/") -> bool:
    """Whether the processor multiplies numbers of 16 bits (bfloat16) itself: AVX-512 or AMX.

    Args:
        root: where the file system begins. Where there is no proc/cpuinfo, the answer is no.
    """
    lines = _lines(pathlib.Path(root) / "proc/cpuinfo")
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(flags)


def processor_quota(root: pathlib.Path | str = "/") -> float:
    """Processors' worth of time that the control groups of this process give it.

    Args:
        root: where the file system begins.

    Returns:
        for example 1.5; infinite without a limit, and where there are no control groups.

    Source: cgroups(7); the Linux kernel's cgroup-v2.rst, "cpu.max".
    """
    root = pathlib.Path(root)
    quota = math.inf
    for line in _lines(root / "proc/self/cgroup"):  # number:controllers:/path
        _, controllers, path = line.split(":", 2)
        version_2 = not controllers
        if not version_2 and "cpu" not in controllers.split(","):
            continue
        top = root / "sys/fs/cgroup" / ("" if version_2 else "cpu")
        here = top / path.lstrip("/")
        for folder in (here, *here.parents):  # any group above may be the narrower one
            if folder.is_relative_to(top):
                quota = min(quota, _quota_of(folder, version_2))
    return quota


def _quota_of(folder: pathlib.Path, version_2: bool) -> float:
    """What one group says; infinite if it says nothing."""
    if version_2:
        numbers = " ".join(_lines(folder / "cpu.max")).split()  # "max 100000" without a limit
    else:
        names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")  # -1 without a limit
        numbers = [line for name in names for line in _lines(folder / name)]
    if len(numbers) != 2 or not all(number.isdigit() for number in numbers):
        return math.inf
    time, period = map(int, numbers)
    return time / period if time and period else math.inf


def _lines(path: pathlib.Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except (OSError, ValueError):
        return []
