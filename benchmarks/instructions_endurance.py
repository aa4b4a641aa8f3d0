"""Instructions over real HTTP amid faults, and killed: nothing is lost, nothing counted twice.

`python benchmarks/instructions_endurance.py BENCH [--kills 6] [--share 0.05] -o RESULT.json` starts the tests' chat
server as a process of its own and runs `crossfade dynamic-superb run` over all of BENCH as processes of their own: once
in peace, once with `--share` of all attempts failing (429, 500, malformed JSON, no choices, dropped connections,
timeouts), and once with SIGKILL after random numbers of items, the last kill when every item has its line. What the
server counted, the journals and the bytes of `results.json` go into RESULT.json.
"""

import argparse
import hashlib
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))
FAULTS = "429,500,malformed,empty,dropped,slow"
RETRIES, TIMEOUT = 20, 10.0
"""Patience that no item exhausts; the server's slow attempts end after 20 s."""
CONCURRENCY = 6


def described(home: Path, url: str, model: str) -> Path:
    """A chat model as its file; the name says how the server behaves."""
    path = home / f"{hashlib.sha256(model.encode()).hexdigest()[:8]}.yaml"
    endpoint = {"url": url, "model": model, "retries": RETRIES, "timeout": TIMEOUT, "first_pause": 0.01}
    path.write_text(json.dumps({"kind": "chat", "name": "tiny", "endpoint": endpoint}))  # JSON is YAML
    return path


def started(bench: Path, model: Path, output: Path) -> subprocess.Popen[bytes]:
    words = ["-m", "crossfade", "dynamic-superb", "run", str(bench), "--model", str(model), "-o", str(output)]
    words += ["--concurrency", str(CONCURRENCY), "--quiet"]
    return subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL)


def finished(process: subprocess.Popen[bytes]) -> None:
    if process.wait():
        raise RuntimeError(f"{process.args} ended with {process.returncode}")


def lines(folder: Path) -> list[bytes]:
    """Lines of the journal, the last without its end where it is torn."""
    path = folder / "answers.jsonl"
    return path.read_bytes().splitlines(keepends=True) if path.exists() else []


def in_peace(bench: Path, model: Path, output: Path) -> float:
    before = time.perf_counter()
    finished(started(bench, model, output))
    return round(time.perf_counter() - before, 1)


def answers(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "results.json").read_text())["answers"]
    return found


def amid_faults(server: Any, bench: Path, home: Path, share: float, peace: Path) -> dict[str, Any]:
    """The run whose attempts fail, beside what the server counted and the run in peace."""
    name = f"tiny/{share}/{FAULTS}"
    seconds = in_peace(bench, described(home, server.url, name), home / "faults")
    stats, found = server.stats(name), answers(home / "faults")
    quiet = server.stats("tiny")
    kept = [json.loads(line) for line in lines(home / "faults")]
    twice = [key for key, count in Counter((one["instance"], one["id"]) for one in kept).items() if count > 1]
    costs = json.loads((home / "faults" / "costs.json").read_text())
    return {
        "share": share,
        "items": len(found),
        "attempts": stats.asked.total(),
        "faults": dict(sorted(stats.faults.items())),
        "retries_noted": costs["retries"],
        "answered_by_server": stats.answered.total(),
        "failed": sum(one["error"] is not None for one in found),
        "lines_twice": len(twice),
        "lost": len(answers(peace)) - len(found),
        "questions_answered_as_often_as_in_peace": stats.answered == quiet.answered,
        "answers_equal_those_in_peace": found == answers(peace),
        "seconds": seconds,
    }


def killed(
    server: Any, bench: Path, home: Path, kills: int, share: float, random: Random, items: int
) -> dict[str, Any]:
    """Kill the run after random numbers of items, take it up each time; then the same model in peace."""
    model = described(home, server.url, f"tiny/{share}/429,500,malformed,empty,dropped/killed")
    folder, met = home / "killed", []
    torn = 0
    for place in [*sorted(random.sample(range(1, items), kills - 1)), items]:
        process = started(bench, model, folder)
        while len(lines(folder)) < place:
            if process.poll() is not None:
                raise RuntimeError(f"the run ended with {process.returncode} before {place} items")
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
        left = lines(folder)
        torn += not left[-1].endswith(b"\n")
        met.append(len(left))
    in_peace(bench, model, folder)
    in_peace(bench, model, home / "whole")
    found = [(folder / "results.json").read_bytes() for folder in (home / "killed", home / "whole")]
    kept = [json.loads(line) for line in lines(folder)]
    return {
        "killed_after_items": met,
        "torn_lines": torn,
        "items": len({(one["instance"], one["id"]) for one in kept}),
        "lines": len(kept),
        "failed": sum(one["error"] is not None for one in answers(folder)),
        "results_bytes": [len(one) for one in found],
        "results_sha256": [hashlib.sha256(one).hexdigest() for one in found],
        "identical": found[0] == found[1],
    }


def main(words: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", type=Path)
    parser.add_argument("--kills", type=int, default=6)
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", "-o", type=Path, required=True)
    told = parser.parse_args(words)
    from chat_server import served
    from processes import circumstances

    with tempfile.TemporaryDirectory() as name, served() as server:
        home = Path(name)
        peace = in_peace(told.bench, described(home, server.url, "tiny"), home / "peace")
        items = len(answers(home / "peace"))
        faults = amid_faults(server, told.bench, home, told.share, home / "peace")
        kills = killed(server, told.bench, home, told.kills, told.share, Random(told.seed), items)
    found = {"about": circumstances(1).to_dict(), "seed": told.seed, "items": items, "concurrency": CONCURRENCY,
             "seconds_in_peace": peace, "faults": faults, "kills": kills}  # fmt: skip
    told.output.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main(sys.argv[1:])
