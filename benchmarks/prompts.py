"""Soft prompts beside what they are measured against, on real speech, clean and under noise; and the paper's findings.

    python benchmarks/prompts.py --data DIR [--task NAME] [--encoder NAME|FOLDER] [--quick] [--steps N] [--precision P]
        [--seeds N] [--snr DB ...] [--clips N] [--methods-only] [--output FILE] [--work DIR]

DIR has folders that `scripts/build_probe_tasks.py` wrote. Each method is tuned with each
seed on the same clips by the same schedule; its error rates are measured on clean clips and under white, pink, babble
(six training clips at once) and music (the package's) at 0, 10 and 20 dB; prompts go on from the clean ones under white
and under pink noise, with the head that stays, and serve babble and music, which nobody was tuned for; prompts are
attacked, and cut to their recorded lengths. What 2309.09413 found gets a verdict by paired tests. With `--methods-only`
that ends after the methods. `--clips`: the first so many for validation and for the test. Everything is taken up where
it stopped while `--work` stays. `--quick` sees that it runs: one seed, few steps, one level.
"""

import argparse
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import soundfile
import torch
from processes import HERE, circumstances

from crossfade.probing.compare import Difference, compare
from crossfade.probing.results import Result, load_results, write_file
from crossfade.prompts.corpus import readable
from crossfade.prompts.folders import attack, inspect, make_bank
from crossfade.prompts.hearing import BANKED
from crossfade.prompts.methods import METHODS
from crossfade.prompts.recipe import PromptRecipe
from crossfade.prompts.recognizer import transcribe
from crossfade.prompts.run import prepare, train
from crossfade.prompts.scoring import Evaluation, evaluate
from crossfade.prompts.tuned import open_tuned
from crossfade.quickstart.pack import calibration_folders

LEVELS = (0.0, 10.0, 20.0)
QUICK = {"train": 24, "valid": 6, "test": 8}
"""Clips that are enough to see that it runs."""

LOOKS = 3
"""Times that a tuning is tested on validation clips."""

MODES = {"prompts": ("keep", "remove", "random"), "deep": ("keep", "remove")}
"""How the methods' prompts are heard. Shuffled ones are left out: where they enter after positional information,
attention does not know their order."""

KNOWN = ("white", "pink")
"""Noises that prompts are tuned under; the others are for the test alone."""

VOICES, BABBLES = 6, 12
"""Clips heard at once in a recording of babble, and recordings of it."""

EPSILON = 0.5
TIMED = 15
"""Times that a clip's way through the encoder is taken; the shortest counts."""


@dataclass(frozen=True)
class Asked:
    """One encoder on one task, and how much of it."""

    encoder: str
    task: Path
    work: Path
    steps: int
    seeds: int
    levels: tuple[float, ...]
    precision: str
    methods_only: bool

    def recipe(self, **changes: Any) -> PromptRecipe:
        looks = max(1, self.steps // LOOKS)
        training = {"steps": self.steps, "valid_steps": looks, "save_steps": looks, "batch_seconds": 20.0}
        training |= {"precision": self.precision}
        said = {"model": self.encoder, "data": {"task": str(self.task)}}
        return PromptRecipe.model_validate(said | changes | {"training": training | changes.get("training", {})})

    def tuned(self, name: str, seed: int, recipe: PromptRecipe) -> Path:
        """The folder of one tuning, made unless it is there."""
        folder = self.work / f"{name}-{seed}"
        if not folder.exists():
            made = train(recipe, folder, seed=seed)
            print(
                f"  {folder.name}: {made.metric} {made.valid:.1f} on validation clips, {made.seconds:.0f} s", flush=True
            )
        return folder

    def scored(self, name: str, folders: Sequence[Path], **settings: Any) -> Evaluation:
        path = self.work / f"{name}.json"
        if path.exists():
            return Evaluation(path, tuple(load_results(path)), tuple(json.loads(path.read_text())["tuned"]))
        found = evaluate(folders, path, precision=self.precision, **settings)
        for result in found.results:
            told = result.protocol.model_extra or {}
            way = f"{told['method']} {told.get('mode', '')} {told.get('defence', '')}"
            low, high = result.interval
            print(f"  {name}: {way:<24} {result.protocol.condition:<16} {result.metric} {result.value:.1f} "
                  f"[{low:.1f}, {high:.1f}]", flush=True)  # fmt: skip
        return found


def shortened(task: Path, folder: Path, most: Mapping[str, int]) -> Path:
    """The task with the first so many clips of the splits named in `most`, the sounds where they are."""
    folder.mkdir(parents=True, exist_ok=True)
    seen, rows = Counter[str](), []
    for row in map(json.loads, (task / "manifest.jsonl").read_text(encoding="utf-8").splitlines()):
        seen[row["split"]] += 1
        if seen[row["split"]] <= most.get(row["split"], inf):
            rows.append(row | {"path": str((task / row["path"]).resolve())})
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "task.yaml").write_text((task / "task.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    return folder


def noises(asked: Asked) -> list[str]:
    """The names or folders of the four noises; babble is made of training clips, which no test clip is."""
    babble = asked.work / "babble"
    if not babble.exists():
        draft = babble.with_name(".babble")
        draft.mkdir(exist_ok=True)
        lesson = prepare(asked.recipe(method="head"), "cpu")
        rate, random = lesson.reader.upstream.rate, np.random.default_rng(0)
        clips = [samples.numpy() for _, samples in readable(lesson.reader.utterances, lesson.reader)[0]]
        for number in range(BABBLES):
            mixed = np.zeros(10 * rate, dtype=np.float32)
            for _ in range(VOICES):
                voice = np.concatenate([clips[place] for place in random.permutation(len(clips))[:12]])
                mixed += np.resize(voice / max(1e-4, float(np.sqrt(np.mean(voice**2)))), len(mixed))
            soundfile.write(draft / f"{number}.flac", 0.1 * mixed / np.abs(mixed).max(), rate)
        draft.rename(babble)
    return [*KNOWN, str(babble), str(calibration_folders()["music"])]


def speed(folder: Path) -> dict[str, float]:
    """Seconds for clips with prompts, without, and with as many frames of sound more in their place, one at a time."""
    tuned = open_tuned(folder, "cpu")
    lesson = prepare(tuned.recipe, "cpu")
    clips = [samples for _, samples in readable(lesson.valid, lesson.reader)[0]][:20]
    prompts = tuned.recognizer.prompts
    assert prompts is not None
    with torch.no_grad():
        frames = [len(scores) for scores in tuned.recognizer(clips, None)]
    seconds = {"with": 0.0, "without": 0.0, "longer": 0.0}
    for clip, count in zip(clips, frames, strict=True):
        stretched = clip.repeat(3)[: len(clip) + round(prompts.config.count * len(clip) / count)]
        ways = {"without": (clip, None), "with": (clip, prompts), "longer": (stretched, None)}
        taken: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(TIMED):
            for name, (sound, heard) in ways.items():
                started = perf_counter()
                transcribe(tuned.recognizer, [sound], lambda _, heard=heard: heard, len(sound))  # type: ignore[misc]
                taken[name].append(perf_counter() - started)
        for name in seconds:
            seconds[name] += min(taken[name])
    share = prompts.config.count * len(clips) / sum(frames)
    more = {f"slower_{name}": seconds[name] / seconds["without"] - 1 for name in ("with", "longer")}
    return {**seconds, **more, "extra_frames": share}


def difference(one: Sequence[Result], other: Sequence[Result]) -> Difference:
    """The second against the first, tested on the same clips."""
    (found,) = compare(list(one), list(other), reference=None).differences
    return found


def pick(found: Evaluation, condition: str, method: str, mode: str | None = None, **told: Any) -> list[Result]:
    """The one character (or phone) error rate of a row."""
    wanted = {"method": method, "mode": mode, **told}
    return [
        result for result in found.results
        if result.metric != "wer" and result.protocol.condition == condition
        and all((result.protocol.model_extra or {}).get(key) == value for key, value in wanted.items())
    ]  # fmt: skip


def claims(pairs: Sequence[tuple[str, Sequence[Result], Sequence[Result]]]) -> list[dict[str, Any]]:
    """What the paper found, and what was found here: differences of error rates, below 0 where the second is better."""
    return [_claim(says, one, other) for says, one, other in pairs]


def _of_methods(main: Evaluation) -> list[tuple[str, Sequence[Result], Sequence[Result]]]:
    clean = pick(main, "clean", "prompts", "keep")
    head = pick(main, "clean", "head")
    return [
        ("prompts help a frozen encoder", head, clean),
        ("deep prompts help a frozen encoder", head, pick(main, "clean", "deep", "keep")),
        ("LoRA helps", head, pick(main, "clean", "lora")),
        ("full tuning helps", head, pick(main, "clean", "full")),
        ("prompts are not needed at inference: without them", clean, pick(main, "clean", "prompts", "remove")),
        ("deep prompts are not needed at inference: without them", pick(main, "clean", "deep", "keep"),
         pick(main, "clean", "deep", "remove")),
        ("random vectors do as well", clean, pick(main, "clean", "prompts", "random")),
    ]  # fmt: skip


def _of_noise(
    level: float, main: Evaluation, noisy: Evaluation, bank: Evaluation, harmed: Evaluation
) -> list[tuple[str, Sequence[Result], Sequence[Result]]]:
    clean = pick(main, "clean", "prompts", "keep")
    pairs = [
        ("malicious prompts do harm", clean, pick(harmed, "clean", "prompts", "keep", defence="off")),
        ("bounded malicious prompts do harm", clean, pick(harmed, "clean", "prompts", "keep", defence="bound")),
    ]
    for noise in KNOWN:
        place = f"{noise} at {level:g} dB"
        own = {"tuned_under": noise}
        pairs.append((f"prompts tuned under {noise} help under it", pick(main, place, "prompts", "keep"),
                      pick(noisy, place, "prompts", "keep", **own)))  # fmt: skip
        pairs.append((f"prompts tuned under {noise} cost nothing on clean sound", clean,
                      pick(noisy, "clean", "prompts", "keep", **own)))  # fmt: skip
    for noise in ("babble", "music"):
        place = f"{noise} at {level:g} dB"
        for mode in BANKED:
            pairs.append((f"prompts of known noises, {mode}, help under {noise}",
                          pick(main, place, "prompts", "keep"), pick(bank, place, "prompts", mode)))  # fmt: skip
    return pairs


def _claim(says: str, one: Sequence[Result], other: Sequence[Result]) -> dict[str, Any]:
    found = difference(one, other)
    told = {"finding": says, "condition": found.condition, "before": found.reference_value, "after": found.value,
            "difference": found.difference, "interval": found.interval, "p": found.p,
            "verdict": found.verdict}  # fmt: skip
    print(f"  {told['verdict']:<20} {says}: {found.reference_value:.1f} -> {found.value:.1f}", flush=True)
    return told


def measure(asked: Asked) -> dict[str, Any]:
    """All of one encoder on one task."""
    print(f"{Path(asked.encoder).name} on {asked.task.name}", flush=True)
    asked.work.mkdir(parents=True, exist_ok=True)
    own = {method: [asked.tuned(method, seed, asked.recipe(method=method)) for seed in range(asked.seeds)]
           for method in METHODS}  # fmt: skip
    under = noises(asked)
    parts = [asked.scored(f"methods-{method}", folders, modes=MODES.get(method, ("keep",)), noise=under,
                          snr=asked.levels) for method, folders in own.items()]  # fmt: skip
    main = _together(parts)
    found, pairs, more = {"methods": main}, _of_methods(main), dict[str, Any]()
    if not asked.methods_only:
        tuned = {noise: [_noise_prompts(asked, folder, noise, seed) for seed, folder in enumerate(own["prompts"])]
                 for noise in KNOWN}  # fmt: skip
        noisy = asked.scored("noise-prompts", [folder for folders in tuned.values() for folder in folders],
                             noise=KNOWN, snr=asked.levels)  # fmt: skip
        bank = _banked(asked, own["prompts"], tuned, under)
        harmed = _harmed(asked, own["prompts"])
        found |= {"noise prompts": noisy, "bank": bank, "attack": harmed}
        pairs += _of_noise(asked.levels[len(asked.levels) // 2], main, noisy, bank, harmed)
        looked = [own["prompts"][0], own["deep"][0], *(tuned[noise][0] for noise in KNOWN)]
        more = {
            "speed": speed(own["prompts"][0]),
            "inspected": [{"tuned": folder.name, **inspect(folder, asked.work / f"inspected-{folder.name}.json",
                                                           overwrite=True).found} for folder in looked],
        }  # fmt: skip
    return {
        "encoder": Path(asked.encoder).name,
        "task": asked.task.name,
        "steps": asked.steps,
        "seeds": asked.seeds,
        "precision": asked.precision,
        "rows": [row | {"part": part} for part, one in found.items() for row in _rows(one)],
        "tuned": [dict(one) | {"path": Path(one["path"]).name, "speed": None}
                  for part in ("methods", "noise prompts") if part in found for one in found[part].tuned],
        **more,
        "claims": claims(pairs),
    }  # fmt: skip


def _noise_prompts(asked: Asked, start: Path, noise: str, seed: int) -> Path:
    training = {"head_rate": 0.0, "steps": max(1, asked.steps // 2)}
    said = {"noise": {noise: 1.0, "folder": 0.0, "chance": 1.0}, "training": training, "start": str(start)}
    return asked.tuned(noise, seed, asked.recipe(**said))


def _banked(
    asked: Asked, clean: Sequence[Path], tuned: Mapping[str, Sequence[Path]], under: Sequence[str]
) -> Evaluation:
    """Each seed's bank serves that seed's clean prompts, head and all."""
    parts = []
    for seed, folder in enumerate(clean):
        bank = asked.work / f"bank-{seed}"
        if not bank.exists():
            make_bank([tuned[noise][seed] for noise in KNOWN], bank)
        settings = {"bank": bank, "modes": tuple(BANKED), "noise": under[len(KNOWN) :], "snr": asked.levels}
        parts.append(asked.scored(f"bank-{seed}", [folder], **settings))
    return _joined(parts)


def _together(parts: Sequence[Evaluation]) -> Evaluation:
    """Rows of several files as those of one."""
    results = tuple(result for one in parts for result in one.results)
    return Evaluation(parts[0].path, results, tuple(told for one in parts for told in one.tuned))


def _harmed(asked: Asked, clean: Sequence[Path]) -> Evaluation:
    folders = []
    for folder in clean:
        harmed = asked.work / f"attacked-{folder.name}"
        if not harmed.exists():
            made = attack(folder, harmed, epsilon=EPSILON)
            print(f"  {harmed.name}: loss {made.loss_before:.2f} -> {made.loss_after:.2f}", flush=True)
        folders.append(harmed)
    return _together([asked.scored(f"attacked-{defence}", folders, defence=defence) for defence in ("off", "bound")])


def _joined(parts: Sequence[Evaluation]) -> Evaluation:
    """Rows of one seed each as rows of all."""
    results = []
    for same in zip(*(part.results for part in parts), strict=True):
        first = same[0]
        said = zip(*(result.items for result in same), strict=True)
        items = tuple(one[0].model_copy(update={"predictions": tuple(i.predictions[0] for i in one)}) for one in said)
        values = tuple(result.value for result in same)
        seeds = tuple(result.seeds[0] for result in same)
        results.append(first.model_copy(update={"items": items, "values": values, "seeds": seeds,
                                                "value": sum(values) / len(values)}))  # fmt: skip
    return Evaluation(parts[0].path, tuple(results), tuple(one for part in parts for one in part.tuned))


def _rows(found: Evaluation) -> list[dict[str, Any]]:
    return [
        {"condition": result.protocol.condition, **(result.protocol.model_extra or {}), "metric": result.metric,
         "value": result.value, "interval": result.interval, "values": result.values, "seeds": result.seeds}
        for result in found.results
    ]  # fmt: skip


def main() -> None:
    asked = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    asked.add_argument("--data", type=Path, required=True)
    asked.add_argument("--task", default="asr_ru")
    asked.add_argument("--encoder", default="speech")
    asked.add_argument("--steps", type=int, default=600)
    asked.add_argument("--precision", default="float32")
    asked.add_argument("--snr", type=float, nargs="+", default=list(LEVELS))
    asked.add_argument("--seeds", type=int, default=3)
    asked.add_argument("--clips", type=int)
    asked.add_argument("--methods-only", action="store_true")
    asked.add_argument("--quick", action="store_true")
    asked.add_argument("--output", type=Path)
    asked.add_argument("--work", type=Path, default=Path("prompts-work"))
    said = asked.parse_args()
    about = circumstances(torch.get_num_threads()).to_dict()
    steps, seeds, levels = (6, 1, [10.0]) if said.quick else (said.steps, said.seeds, said.snr)
    name = f"{Path(said.encoder).name}-{said.task}"
    work = said.work / name
    most = QUICK if said.quick else dict.fromkeys(("valid", "test"), said.clips) if said.clips else None
    source = said.data / said.task if most is None else shortened(said.data / said.task, work / said.task, most)
    asking = Asked(said.encoder, source, work, steps, seeds, tuple(levels), said.precision, said.methods_only)
    found = measure(asking)
    output = said.output or HERE / "results" / "prompts" / f"{name}.json"
    output.parent.mkdir(parents=True, exist_ok=True)
    write_file(output, json.dumps({"about": about, **found}, indent=2) + "\n", overwrite=True)
    print(f"written to {output}")


if __name__ == "__main__":
    main()
