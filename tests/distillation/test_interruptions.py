"""Killed, taken up, shared by two processes: the weights are those of one run that nothing disturbed."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from distilling import furthest, recipe, same, told, weights
from safetensors.torch import load_file
from started import started, wait_for

from crossfade import distill
from crossfade.training.checkpoints import step_of

SAID: dict[str, Any] = {
    "objective": {"masked": 0.5, "clusters": 4, "correlation": 0.1, "frames": 5},
    "noise": {"heard": "independent", "white": 1.0, "folder": 0.0, "reverb": 0.5},
    "teachers": [{"model": "logmel"}, {"model": "fbank", "domain": "music"}],
}


def written(home: Path, path: Path, **changes: Any) -> str:
    path.write_text(yaml.safe_dump(told(home, **changes)))
    return str(path)


def test_killed_at_a_random_step_and_taken_up(home: Path, tmp_path: Path) -> None:
    """A real process, a real SIGKILL, while it reads ahead; then every weight is bit for bit that of a run in peace."""
    training = {"steps": 12, "save_steps": 2, "accumulate": 2, "workers": 1, "average": 0.9}
    file = written(home, tmp_path / "recipe.yaml", training=training, **SAID)
    work = tmp_path / ".killed.work"
    process = started(
        ["-m", "crossfade", "distill", file, "-o", str(tmp_path / "killed"), "--device", "cpu", "--quiet"]
    )
    wait_for(lambda: (work / "checkpoint-4").exists(), process)
    process.kill()
    process.communicate()
    assert 4 <= max(map(step_of, work.glob("checkpoint-*"))) < 12
    assert not (tmp_path / "killed").exists()
    resumed, peaceful = (distill(file, tmp_path / name, device="cpu") for name in ("killed", "peace"))
    assert same(weights(resumed.path), weights(peaceful.path))
    assert same(
        *(load_file(tmp_path / f".{name}.work/checkpoint-12/model.safetensors") for name in ("killed", "peace"))
    )
    assert (resumed.clips, resumed.sound_seconds) == (peaceful.clips, pytest.approx(peaceful.sound_seconds))
    assert not list(tmp_path.glob(".*.partial"))


SCRIPT = """
import sys
from crossfade.cli.main import main
for name in ("plain", "surgery"):
    words = ["distill", f"{sys.argv[1]}/{name}.yaml", "-o", f"{sys.argv[1]}/two-{name}"]
    assert main([*words, "--cache", f"{sys.argv[1]}/cache", "--device", "cpu", "--json"]) == 0
"""


def test_two_processes_are_one_with_twice_the_batches(home: Path, tmp_path: Path) -> None:
    """`accelerate launch`, with and without gradient surgery; one of them speaks."""
    ways: dict[str, Any] = {
        "plain": {"objective": {"masked": 0.5, "clusters": 4}, "signals": "stored"},
        "surgery": {"objective": {"surgery": True}},
    }
    for name, way in ways.items():
        written(home, tmp_path / f"{name}.yaml", training={"steps": 3, "average": 0.9}, **way)
    (tmp_path / "script.py").write_text(SCRIPT)
    launch = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
    settings = ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    process = started([*launch, *settings, str(tmp_path / "script.py"), str(tmp_path)])
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    told_by_both = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    assert len(told_by_both) == 2
    for (name, way), said in zip(ways.items(), told_by_both, strict=True):
        twice = recipe(home, training={"steps": 3, "average": 0.9, "accumulate": 2}, **way)
        one = distill(twice, tmp_path / f"one-{name}", device="cpu", cache=tmp_path / "cache")
        assert furthest(weights(tmp_path / f"two-{name}"), weights(one.path)) < 1e-6
        assert (said["clips"], said["loss"]) == (one.clips, pytest.approx(one.loss, rel=1e-5))
        assert json.loads((tmp_path / f"two-{name}" / "crossfade.json").read_text())["training"]["processes"] == 2
