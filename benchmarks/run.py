"""Crossfade's benchmarks: `python benchmarks/run.py [--mergekit PATH/bin/python] [--quick]`.

Prints every ratio beside its target, and writes all that was measured to benchmarks/results/.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from merging import measure_merges, measure_startup
from processes import HERE, circumstances, last_line, run

DATA = HERE.parent / "src" / "crossfade" / "quickstart" / "data"
RESULTS = HERE / "results"
PARTS = ("startup", "merge", "calibration", "agreement", "extraction", "sweep", "distillation", "corruption")
SEEDS = {"base": 0, "reference": 1, "other": 2, "audio": 0}
TARGETS = (
    ("linear merge: time, Crossfade / bare loop", ("merge", "linear", "time_over_bare_loop"), "<=", 1.2),
    ("linear merge: the same, fastest runs", ("merge", "linear", "fastest_time_over_bare_loop"), "", None),
    ("linear merge: peak memory, GB", ("merge", "linear", "crossfade", "peak_gigabytes"), "<=", 0.6),
    ("linear merge: time, Crossfade / mergekit", ("merge", "linear", "time_over_mergekit"), "", None),
    ("TIES: time, Crossfade / mergekit", ("merge", "ties", "time_over_mergekit"), "<=", 0.2),
    ("TIES: peak memory, Crossfade / mergekit", ("merge", "ties", "memory_over_mergekit"), "", None),
    ("calibration: time, with statistics / two plain passes", ("calibration", "time_over_plain"), "<=", 1.25),
    ("calibration: the same, fastest runs", ("calibration", "fastest_time_over_plain"), "", None),
    ("calibration: peak memory, with statistics / plain", ("calibration", "memory_over_plain"), "", None),
    ("sampled / all frames: matched correlation, base size", ("agreement", "base_size", "agreement"), ">=", 0.99),
    ("sampled / all frames: matched correlation, shipped", ("agreement", "shipped", "agreement"), ">=", 0.99),
    (
        "extraction: time, plain padded loop / Crossfade, base",
        ("extraction", "base_size", "plain_over_ours"),
        ">=",
        1.5,
    ),
    ("extraction: the same, shipped", ("extraction", "shipped", "plain_over_ours"), ">=", 1.5),
    ("11-rate sweep / one epoch recomputed, base size", ("sweep", "base_size", "sweep_over_one_epoch"), "<=", 1.0),
    ("11-rate sweep / one epoch recomputed, shipped", ("sweep", "shipped", "sweep_over_one_epoch"), "<=", 1.0),
    ("cached means, bytes a clip, base size", ("sweep", "base_size", "cache_bytes_per_clip"), "", None),
    ("distillation step / bare step, online", ("distillation", "online", "over_bare"), "<=", 1.1),
    ("distillation step / bare step, stored signals", ("distillation", "stored", "over_bare"), "<=", 1.1),
    ("the same over a bare training step, online", ("distillation", "online", "over_bare_training"), "", None),
    ("the same over a bare training step, stored", ("distillation", "stored", "over_bare_training"), "", None),
    ("distillation online, clips a second", ("distillation", "online", "clips_per_second"), "", None),
    ("distillation stored, clips a second", ("distillation", "stored", "clips_per_second"), "", None),
    ("distillation online, peak memory, GB", ("distillation", "online", "peak_gigabytes"), "", None),
    ("distillation stored, peak memory, GB", ("distillation", "stored", "peak_gigabytes"), "", None),
    (
        "room and pink noise on every clip / training step",
        ("corruption", "corrupted", "room and pink", "share_of_step"),
        "",
        None,
    ),
    ("crossfade --help, seconds", ("startup", "crossfade", "seconds"), "<=", 0.3),
    ("--help: time, Crossfade / mergekit", ("startup", "time_over_mergekit"), "", None),
)


def measure_calibration(models: Path, audio: Path, *, clips: int, rounds: int, threads: int) -> dict[str, Any]:
    """Times from one process, where both kinds of pass take turns; peak memory from a process each."""
    script = [sys.executable, HERE / "calibration.py"]
    listen = [models / "1", models / "2", audio, str(clips), str(rounds)]
    found = last_line(run([*script, "time", *listen], threads=threads))
    plain, statistics = (run([*script, kind, *listen], threads=threads) for kind in ("plain", "statistics"))
    peaks = {"plain_peak_gigabytes": plain.peak_bytes / 1e9, "statistics_peak_gigabytes": statistics.peak_bytes / 1e9}
    return found | peaks | {"memory_over_plain": round(statistics.peak_bytes / plain.peak_bytes, 3)}


def measure_agreement(models: Path, audio: Path, *, base_clips: int, clips: int, threads: int) -> dict[str, Any]:
    """Sampled against all frames, for the random base-size pair and for the shipped encoders."""
    script, shipped = [sys.executable, HERE / "agreement.py"], DATA / "encoders"
    base = run([*script, models / "1", models / "2", audio, str(base_clips)], threads=threads)
    small = run([*script, shipped / "speech", shipped / "music", audio, str(clips)], threads=threads)
    return {"base_size": last_line(base), "shipped": last_line(small)}


def measure_probing(script: str, models: Path, arguments: Sequence[object], *, threads: int) -> dict[str, Any]:
    """One of the probing benchmarks, for a base-size and for a shipped encoder."""
    encoders = {"base_size": models / "1", "shipped": DATA / "encoders" / "speech"}
    found = {
        name: run([sys.executable, HERE / script, encoder, *arguments], threads=threads)
        for name, encoder in encoders.items()
    }
    return {name: last_line(done) for name, done in found.items()}


def measure_distillation(models: Path, *, steps: int, seconds: int, threads: int) -> dict[str, Any]:
    """Online and stored, each in a process of its own, so that each has its own peak memory."""
    script = [sys.executable, HERE / "distil_step.py", models / "1", str(steps), str(seconds)]
    return {kind: last_line(run([*script, kind], threads=threads))[kind] for kind in ("online", "stored")}


def measure(options: argparse.Namespace, scratch: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The parts that were asked for, one after the other."""
    threads, rounds = options.threads, 1 if options.quick else 3
    models, mergekit = scratch / "models", options.mergekit
    if "startup" in options.only:
        yield "startup", measure_startup(mergekit, rounds=3 if options.quick else 10, threads=threads)
    run([sys.executable, HERE / "models.py", models, *(str(SEEDS[role]) for role in ("base", "reference", "other"))],
        threads=threads)  # fmt: skip
    if "merge" in options.only:
        yield "merge", measure_merges(models, mergekit, scratch, rounds=rounds, threads=threads)
    if "calibration" in options.only:
        clips = 10 if options.quick else 30
        yield "calibration", measure_calibration(models, options.audio, clips=clips, rounds=rounds + 1, threads=threads)
    if "agreement" in options.only:
        base_clips, clips = (10, 40) if options.quick else (100, 1000)
        yield "agreement", measure_agreement(models, options.audio, base_clips=base_clips, clips=clips, threads=threads)
    if "extraction" in options.only:
        heard = (8, 1) if options.quick else (32, 3)
        yield "extraction", measure_probing("extraction.py", models, heard, threads=threads)
    if "sweep" in options.only:
        yield "sweep", measure_probing("sweep.py", models, (rounds,), threads=threads)
    if "distillation" in options.only:
        steps, seconds = (4, 8) if options.quick else (10, 48)
        yield "distillation", measure_distillation(models, steps=steps, seconds=seconds, threads=threads)
    if "corruption" in options.only:
        yield "corruption", last_line(run([sys.executable, HERE / "corruption.py", str(rounds)], threads=1))


def look_up(results: Any, path: tuple[str, ...]) -> float | None:
    """The number at `path`, or None where it was not measured."""
    for key in path:
        if not isinstance(results, dict) or key not in results:
            return None
        results = results[key]
    return float(results)


def verdicts(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Every ratio beside its target."""
    rows = []
    for title, path, sense, target in TARGETS:
        value = look_up(results, path)
        if value is not None:
            met = None if target is None else value <= target if sense == "<=" else value >= target
            wanted = f"{sense} {target}" if sense else ""
            rows.append({"what": title, "value": round(value, 4), "target": wanted, "met": met})
    return rows


def show(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        verdict = {True: "met", False: "MISSED", None: ""}[row["met"]]
        print(f"{row['what']:<56} {row['value']:>8.3f}  {row['target']:<8} {verdict}", flush=True)


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mergekit", type=Path, help="the python of an environment with mergekit; without it, no peer")
    parser.add_argument("--quick", action="store_true", help="once each, and less audio: to see that it runs")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--audio", type=Path, default=DATA / "audio" / "calibration", help="a folder of recordings")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="for every process alike")
    parser.add_argument("--output", type=Path, help="the JSON file; by default one named after date and commit")
    return parser.parse_args()


def main() -> None:
    options = read_options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the folder of models goes
    about = circumstances(options.threads)
    results: dict[str, Any] = {"about": about.to_dict(), "quick": options.quick, "seeds": SEEDS}
    with tempfile.TemporaryDirectory(prefix="crossfade-bench-") as folder:
        for part, found in measure(options, Path(folder)):
            load = [round(value, 2) for value in os.getloadavg()]
            results[part] = found | {"load_after": load}
            print(f"{part} done; load {load[0]}", file=sys.stderr, flush=True)
    results["ratios"] = verdicts(results)
    show(results["ratios"])
    output = options.output or RESULTS / f"{about.date[:10]}-{about.commit[:8]}{'-quick' if options.quick else ''}.json"
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(results, indent=2) + "\n")
    print(f"written to {output}")


if __name__ == "__main__":
    main()
