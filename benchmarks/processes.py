"""Running commands and measuring them from outside: wall time, processor time, peak memory.

This module and `run.py` import nothing heavy on purpose: Linux starts a child's peak memory at that of its parent.
"""

import json
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).parent
PACKAGES = ("torch", "transformers", "safetensors", "numpy", "scipy")


@dataclass(frozen=True)
class Run:
    """One process: seconds of wall clock and of processor, peak resident memory in bytes, what it printed last."""

    seconds: float
    processor_seconds: float
    peak_bytes: int
    printed: str


def run(command: Sequence[object], *, threads: int) -> Run:
    """Run `command` to its end; RuntimeError with what it said when it fails."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    with tempfile.TemporaryFile("w+") as printed, tempfile.TemporaryFile("w+") as said:
        started = time.perf_counter()
        process = subprocess.Popen([str(part) for part in command], stdout=printed, stderr=said, env=environment)
        try:
            _, status, used = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            raise
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        printed.seek(0)
        said.seek(0)
        if process.returncode:
            raise RuntimeError(f"{command} ended with {process.returncode}: {said.read()[-2000:]}")
        return Run(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024, printed.read())


def last_line(run: Run) -> dict[str, Any]:
    """The JSON that a benchmark of ours prints as its last line."""
    found: dict[str, Any] = json.loads(run.printed.strip().splitlines()[-1])
    return found


def summary(runs: Sequence[Run]) -> dict[str, Any]:
    """Medians, minima and every single value of the same command's runs."""
    seconds = [run.seconds for run in runs]
    return {
        "seconds": round(median(seconds), 3),
        "fastest_seconds": round(min(seconds), 3),
        "processor_seconds": round(median(run.processor_seconds for run in runs), 3),
        "peak_gigabytes": round(median(run.peak_bytes for run in runs) / 1e9, 3),
        "all_seconds": [round(value, 3) for value in seconds],
    }


def over(found: Mapping[str, Mapping[str, Any]], peer: str) -> dict[str, float]:
    """Crossfade's time and memory over those of `peer`, nothing where the peer did not run."""
    if peer not in found:
        return {}
    ours, theirs = found["crossfade"], found[peer]
    return {
        f"time_over_{peer}": round(ours["seconds"] / theirs["seconds"], 3),
        f"fastest_time_over_{peer}": round(ours["fastest_seconds"] / theirs["fastest_seconds"], 3),
        f"memory_over_{peer}": round(ours["peak_gigabytes"] / theirs["peak_gigabytes"], 3),
    }


@dataclass(frozen=True)
class Circumstances:
    """Where and when a benchmark ran, on what."""

    date: str
    commit: str
    uncommitted_changes: bool
    processor: str
    cores: int
    threads: int
    memory_bytes: int
    system: str
    python: str
    packages: Mapping[str, str]
    load_before: tuple[float, float, float]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def circumstances(threads: int) -> Circumstances:
    return Circumstances(
        date=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        commit=_git("rev-parse", "HEAD") or "unknown",
        uncommitted_changes=bool(_git("status", "--porcelain")),
        processor=_processor(),
        cores=len(os.sched_getaffinity(0)),
        threads=threads,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        system=platform.platform(),
        python=platform.python_version(),
        packages={name: found for name in PACKAGES if (found := _version(name))},
        load_before=os.getloadavg(),
    )


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", HERE, *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
