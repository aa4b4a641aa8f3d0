"""Whole merges from the command line, beside mergekit and a bare loop over two files."""

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from processes import HERE, Run, over, run, summary

WEIGHTS = "model.safetensors"
DENSITY = 0.2
Command = Sequence[object]


def measure_merges(models: Path, mergekit: Path | None, scratch: Path, *, rounds: int, threads: int) -> dict[str, Any]:
    """Linear and TIES merges of models/1 and models/2 with base models/0, each a process of its own."""
    linear = race(linear_commands(models, mergekit, scratch), scratch, rounds=rounds, threads=threads)
    ties = race(ties_commands(models, mergekit, scratch), scratch, rounds=max(1, rounds - 1), threads=threads)
    return {
        "linear": linear | over(linear, "bare_loop") | over(linear, "mergekit"),
        "ties": ties | over(ties, "mergekit"),
    }


def linear_commands(models: Path, mergekit: Path | None, scratch: Path) -> dict[str, Command]:
    one, two, output = models / "1", models / "2", scratch / "output"
    recipe = scratch / "linear.yaml"
    recipe.write_text(
        f"merge_method: linear\ndtype: float32\nmodels:\n"
        f"  - {{model: {one / WEIGHTS}, parameters: {{weight: 0.5}}}}\n"
        f"  - {{model: {two / WEIGHTS}, parameters: {{weight: 0.5}}}}\n"
    )
    commands: dict[str, Command] = {
        "crossfade": crossfade(one, two, output, "--align", "none"),
        "bare_loop": [sys.executable, HERE / "bare_loop.py", one / WEIGHTS, two / WEIGHTS, scratch / WEIGHTS],
    }
    return commands | tool(mergekit, "mergekit-pytorch", recipe, output)


def ties_commands(models: Path, mergekit: Path | None, scratch: Path) -> dict[str, Command]:
    one, two, base, output = models / "1", models / "2", models / "0", scratch / "output"
    recipe = scratch / "ties.yaml"
    recipe.write_text(
        f"merge_method: ties\ndtype: float32\nbase_model: {base / WEIGHTS}\nmodels:\n"
        f"  - {{model: {one / WEIGHTS}, parameters: {{weight: 0.5, density: {DENSITY}}}}}\n"
        f"  - {{model: {two / WEIGHTS}, parameters: {{weight: 0.5, density: {DENSITY}}}}}\n"
    )
    ties = ("--method", "ties", "--base", base, "--set", f"density={DENSITY}")
    commands: dict[str, Command] = {"crossfade": crossfade(one, two, output, *ties)}
    return commands | tool(mergekit, "mergekit-pytorch", recipe, output)


def tool(mergekit: Path | None, name: str, *arguments: object) -> dict[str, Command]:
    """One of mergekit's commands, which lie beside its python."""
    return {"mergekit": [mergekit.with_name(name), *arguments]} if mergekit else {}


def crossfade(one: Path, two: Path, output: Path, *options: object) -> Command:
    command = [sys.executable, "-m", "crossfade", "merge", one, two, "--weight", "0.5", "-o", output]
    return [*command, "--quiet", *options]


def race(commands: Mapping[str, Command], scratch: Path, *, rounds: int, threads: int) -> dict[str, Any]:
    """All commands by turns, so that what else the machine does falls on all alike; the first round warms up.

    What one command wrote is on the disk before the next one starts, which would else wait for it.
    """
    runs: dict[str, list[Run]] = {name: [] for name in commands}
    for turn in range(rounds + 1):
        for name, command in commands.items():
            os.sync()
            done = run(command, threads=threads)
            shutil.rmtree(scratch / "output", ignore_errors=True)
            (scratch / WEIGHTS).unlink(missing_ok=True)
            if turn:
                runs[name].append(done)
    return {name: summary(found) for name, found in runs.items()}


def measure_startup(mergekit: Path | None, *, rounds: int, threads: int) -> dict[str, Any]:
    """How long `--help` takes."""
    ours: dict[str, Command] = {"crossfade": [sys.executable, "-m", "crossfade", "--help"]}
    found = {}
    for name, command in (ours | tool(mergekit, "mergekit-yaml", "--help")).items():
        turns = rounds if name == "crossfade" else min(rounds, 3)
        found[name] = summary([run(command, threads=threads) for _ in range(turns + 1)][1:])
    return found | over(found, "mergekit")
