"""`crossfade quickstart`: the main job on the encoders and the audio that the package carries, and what it shows."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from crossfade import __version__
from crossfade.alignment import Alignment, align
from crossfade.audio.batches import Audio
from crossfade.encoders.encoder import Encoder, open_encoder
from crossfade.encoders.families import POINTS, WITHOUT_RESIDUAL
from crossfade.encoders.model import load_model
from crossfade.encoders.sidecars import normalise
from crossfade.encoders.writer import output_folder
from crossfade.merging import input_statistics, merge
from crossfade.probing.exam import Exam, set_exam
from crossfade.probing.results import Result
from crossfade.probing.tasks import EMBEDDED
from crossfade.progress import SILENT, Progress
from crossfade.quickstart.measure import correctness, interval, judge, resampled_accuracy
from crossfade.quickstart.pack import DOMAINS, SOURCES, Domain, calibration_folders, encoder
from crossfade.report.figures import draw_matches, draw_sweep, require_plots
from crossfade.report.page import write_page

WEIGHTS = (0.9, 0.7, 0.5)
UNALIGNED = "linear"
CLIP_SECONDS, HEARD_CLIPS, FITTED_CLIPS = 1.0, 240, 110
"""What is heard for an alignment, and of each domain for a regression; clips of one length share a batch."""

TASKS: str | Sequence[str] = EMBEDDED
RESULTS = "results.json"
T = TypeVar("T")


@dataclass(frozen=True)
class Row:
    """One encoder of the table.

    `speech`, `music` and `average` are accuracies in percent over the tasks of a domain, with 95 % intervals; `gain` is
    the difference of the averages to the unaligned linear merge of the same weight, on paired resamples.
    """

    name: str
    weight: float | None
    tasks: Mapping[str, float]
    speech: float
    music: float
    average: float
    speech_interval: tuple[float, float]
    music_interval: tuple[float, float]
    average_interval: tuple[float, float]
    gain: float | None = None
    gain_interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Story:
    """What the quickstart found: the table's `rows`, both alignments' matches, and how exact the alignments are."""

    path: Path
    rows: tuple[Row, ...]
    alignments: Mapping[str, Mapping[str, Any]]
    largest_change: Mapping[str, float]
    tasks: tuple[Mapping[str, Any], ...]
    seed: int
    seconds: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {**asdict(self), "path": str(self.path), "crossfade": __version__}


def run(output: str | Path, *, seed: int = 0, overwrite: bool = False, progress: Progress = SILENT) -> Story:
    """Align and merge the two embedded encoders, measure them on the embedded tasks, and write all of it to `output`.

    `output` gets the aligned and merged encoders, results.json, figures and report.html.
    """
    require_plots()
    started = time.monotonic()
    seconds: dict[str, float] = {}
    speech, music = open_encoder(encoder("speech")), open_encoder(encoder("music"))
    calibration = calibration_folders()
    with output_folder(Path(output), overwrite=overwrite) as draft, one_thread():
        alignments = align_both(draft, speech, music, seed, progress)
        changes = {name: largest_change(music, draft / f"music-{name}", found) for name, found in alignments.items()}
        seconds["align"] = time.monotonic() - started
        models: dict[Key, Callable[[], Path]] = {
            ("speech alone", None): lambda: speech.folder,
            ("music alone", None): lambda: music.folder,
            **merges(draft, speech, music, alignments, calibration, seed),
        }
        found = measure_all(models, set_exam(TASKS, seed=seed), progress)
        rows = rows_of(found, seed)
        seconds["merge and measure"] = time.monotonic() - started - seconds["align"]
        story = Story(
            path=Path(output),
            rows=tuple(rows),
            alignments={name: found.to_dict() for name, found in alignments.items()},
            largest_change=changes,
            tasks=tuple(describe(result) for result in found["speech alone", None]),
            seed=seed,
            seconds=seconds,
        )
        (draft / RESULTS).write_text(json.dumps(story.to_dict(), indent=2) + "\n")
        draw_matches(draft / "matches.png", story.alignments["aligned-with-residual"]["matches"])
        draw_sweep(draft / "sweep.png", [asdict(row) for row in rows])
        write_page(draft / "report.html", story.to_dict(), images=("matches.png", "sweep.png"), sources=SOURCES)
    return story


def align_both(folder: Path, speech: Encoder, music: Encoder, seed: int, progress: Progress) -> dict[str, Alignment]:
    """The music encoder in the speech encoder's basis, with and without the residual stream, written to `folder`."""
    ways = {"aligned": WITHOUT_RESIDUAL, "aligned-with-residual": POINTS}

    def job(name: str) -> Alignment:
        return align(
            speech,
            music,
            list(calibration_folders().values()),
            output=folder / f"music-{name}",
            points=ways[name],
            clips=HEARD_CLIPS,
            seconds=CLIP_SECONDS,
            seed=seed,
        )

    return dict(zip(ways, in_parallel(job, list(ways), "aligning", progress), strict=True))


def in_parallel(job: Callable[[Any], T], items: Sequence[Any], description: str, progress: Progress) -> list[T]:
    """`job(item)` for every item, in order, two at a time: small models gain more from that than from more threads."""
    with ThreadPoolExecutor(2) as pool:
        return list(progress.track(pool.map(job, items), total=len(items), description=description))


def largest_change(encoder: Encoder, rewritten: Path, alignment: Alignment) -> float:
    """Largest difference between the outputs of an encoder and of its aligned rewriting, in the latter's order."""
    clips = Audio(list(calibration_folders().values()), rate=encoder.preprocessing.sampling_rate, clips=8)
    models = load_model(encoder), load_model(open_encoder(rewritten))
    change = 0.0
    with torch.inference_mode():
        for batch in clips.batches():
            waveforms = normalise(batch.samples, encoder.preprocessing)
            before, after = (model(waveforms).last_hidden_state for model in models)
            change = max(change, float((before[..., alignment.permutations["residual"]] - after).abs().max()))
    return change


Key = tuple[str, float | None]


def merges(
    folder: Path,
    speech: Encoder,
    music: Encoder,
    alignments: Mapping[str, Alignment],
    calibration: Mapping[Domain, Path],
    seed: int,
) -> dict[Key, Callable[[], Path]]:
    """What merges in every way of the table at every weight and gives the folder of the merge."""
    heard: dict[str, Any] = {
        "reference_audio": calibration["speech"],
        "other_audio": calibration["music"],
        "alignment": alignments["aligned-with-residual"],
        "clips": FITTED_CLIPS,
        "seconds": CLIP_SECONDS,
        "seed": seed,
    }
    ways: dict[str, dict[str, Any]] = {
        UNALIGNED: {"align": "none"},
        "aligned": {"alignment": alignments["aligned"]},
        "aligned, residual": {"alignment": alignments["aligned-with-residual"]},
        "regression": {"method": "regression", "statistics": input_statistics(speech, music, **heard), **heard},
    }

    def job(name: str, weight: float) -> Path:
        output = folder / f"{name.replace(',', '').replace(' ', '-')}-{weight:g}"
        merge(speech, music, output, weight=weight, **{"seed": seed} | ways[name])
        return output

    return {(name, weight): partial(job, name, weight) for weight in WEIGHTS for name in ways}


def measure_all(models: Mapping[Key, Callable[[], Path]], exam: Exam, progress: Progress) -> dict[Key, list[Result]]:
    """Make every model and see what it knows."""
    judged = in_parallel(lambda key: judge(models[key](), exam), list(models), "merging and measuring", progress)
    return dict(zip(models, judged, strict=True))


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch on one thread inside the block, so that two models can run side by side."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def rows_of(found: Mapping[Key, Sequence[Result]], seed: int) -> list[Row]:
    """A row for every model."""
    draws = {
        key: resampled_accuracy({one.task.name: correctness(one) for one in results}, seed)
        for key, results in found.items()
    }
    return [row(key, results, draws) for key, results in found.items()]


def row(key: Key, results: Sequence[Result], draws: Mapping[Key, Mapping[str, Tensor]]) -> Row:
    """The table's row for one model."""
    name, weight = key

    def over(domains: Sequence[str], of: Key) -> Tensor:
        """Resampled mean over domains of the mean over their tasks."""
        means = [
            torch.stack([draws[of][one.task.name] for one in results if one.task.domain == domain]).mean(0)
            for domain in domains
        ]
        return torch.stack(means).mean(0)

    by_domain = {domain: _mean([one.value for one in results if one.task.domain == domain]) for domain in DOMAINS}
    plain = UNALIGNED, weight
    gain = over(DOMAINS, key) - over(DOMAINS, plain) if plain in draws and key != plain else None
    return Row(
        name=name,
        weight=weight,
        tasks={one.task.name: one.value for one in results},
        speech=by_domain["speech"],
        music=by_domain["music"],
        average=_mean(list(by_domain.values())),
        speech_interval=interval(over(("speech",), key)),
        music_interval=interval(over(("music",), key)),
        average_interval=interval(over(DOMAINS, key)),
        gain=float(gain.mean()) if gain is not None else None,
        gain_interval=interval(gain) if gain is not None else None,
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def describe(result: Result) -> dict[str, Any]:
    """A task in a few words and numbers."""
    return {
        "name": result.task.name,
        "title": result.task.title,
        "domain": result.task.domain,
        "clips": len(result.items),
        "classes": len({item.label for item in result.items}),
        "groups": len({item.group for item in result.items}),
    }
