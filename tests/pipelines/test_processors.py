"""Processors that a process may use, in a container too."""

import math
import os
import subprocess
import sys

import pytest

from n2n_tf.pipelines import processors
from n2n_tf.pipelines.processors import (
    available_processors,
    computes_in_bfloat16,
    processor_quota,
)


def group_files(root, **files):
    """A file system with these files; "/" in a name is written "__"."""
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("cpu_", "cpu.")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    "told, quota",
    [("150000 100000\n", 1.5), ("max 100000\n", math.inf), ("", math.inf), ("0 0\n", math.inf)],
)
def test_the_limit_of_a_container(tmp_path, told, quota):
    group_files(tmp_path, proc__self__cgroup="0::/\n", sys__fs__cgroup__cpu_max=told)
    assert processor_quota(tmp_path) == quota


def test_the_narrowest_of_the_groups_above_counts(tmp_path):
    group_files(
        tmp_path,
        proc__self__cgroup="0::/a/b/c\n",
        sys__fs__cgroup__a__cpu_max="200000 100000",
        sys__fs__cgroup__a__b__cpu_max="max 100000",
        sys__fs__cgroup__a__b__c__cpu_max="400000 100000",
        sys__fs__cpu_max="1 100000",  # beyond the groups
    )
    assert processor_quota(tmp_path) == 2


@pytest.mark.parametrize("time, quota", [("300000\n", 3), ("-1\n", math.inf)])
def test_the_older_kind_of_groups(tmp_path, time, quota):
    group_files(
        tmp_path,
        proc__self__cgroup="12:memory:/x\n4:cpu,cpuacct:/docker/1\n1:name=systemd:/x\n",
        sys__fs__cgroup__cpu__docker__1__cpu_cfs_quota_us=time,
        sys__fs__cgroup__cpu__docker__1__cpu_cfs_period_us="100000\n",
    )
    assert processor_quota(tmp_path) == quota


def test_without_groups_there_is_no_limit(tmp_path):
    assert processor_quota(tmp_path) == math.inf


@pytest.mark.parametrize("quota, count", [(0.25, 1), (1.0, 1), (1.5, 2), (math.inf, 7)])
def test_the_quota_is_rounded_up(monkeypatch, quota, count):
    monkeypatch.setattr(os, "process_cpu_count", lambda: 7, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(7)), raising=False)
    monkeypatch.setattr(processors, "processor_quota", lambda: quota)
    assert available_processors() == count


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_the_affinity_of_the_process_counts():
    code = (
        "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\n"
        "from n2n_tf.pipelines.processors import available_processors as count; print(count())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "1\n", done.stderr


@pytest.mark.parametrize(
    ("flags", "knows"),
    [("fpu avx2", False), ("avx512_bf16 fpu", True), ("fpu amx_bf16 amx_tile", True), ("", False)],
)
def test_processors_that_compute_in_bfloat16(flags, knows, tmp_path):
    group_files(tmp_path, proc__cpuinfo=f"model name\t: X\nflags\t\t: {flags}\nflags\t: x\n")
    assert computes_in_bfloat16(tmp_path) == knows
    assert not computes_in_bfloat16(tmp_path / "elsewhere")
