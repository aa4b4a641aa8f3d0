"""The published rules for instances, as checks: what breaks one is a line, never an exception.

The rules are those of the benchmark's submission guide and review process (paper 4): what an instance.json says, at
least 32 items, at least max(10, N/20) different instructions, at most an hour of sound, unique ids, options that are
listed in the instructions of a classification with the label among them.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import isfinite

from crossfade.errors import InputError
from crossfade.instructions import taxonomy
from crossfade.instructions.benchmark import CARD, Benchmark, Instance, Problem
from crossfade.instructions.items import Item, Sound, load_items
from crossfade.progress import SILENT, Progress

FEWEST_ITEMS = 32
FEWEST_INSTRUCTIONS = 10
ITEMS_AN_INSTRUCTION = 20
LONGEST_SECONDS = 3600.0
COMMIT = re.compile(r"[0-9a-f]{40}")
NAME = re.compile(r"[\w-]+")
AGAIN = re.compile(r"#\d+$")


@dataclass(frozen=True)
class Checked:
    """An instance and the rules that it breaks."""

    instance: Instance
    items: int | None
    """How many were looked at; None where its items were left alone."""
    seconds: float
    """Of sound, by the headers."""
    broken: tuple[str, ...]
    """One line a rule."""


def check_benchmark(benchmark: Benchmark, *, hub: bool = False, progress: Progress = SILENT) -> tuple[Checked, ...]:
    """Every instance against the rules; the items of those on the hub only if `hub`, since that fetches them."""
    revisions = Counter(one.revision for one in benchmark.instances if one.revision and not one.local)
    found = []
    for one in progress.track(benchmark.instances, total=len(benchmark.instances), description="instances"):
        lines = [problem.what for problem in check_card(one)]
        if one.revision and (sharing := revisions[one.revision]) > 1:
            lines.append(f"version {one.revision[:10]} is that of {sharing} data sets: not its own")
        found.append(_with_items(one, lines) if one.local or hub else Checked(one, None, 0.0, tuple(lines)))
    return tuple(found)


def _with_items(one: Instance, lines: list[str]) -> Checked:
    if one.kind == "unsupported":
        return Checked(one, None, 0.0, (*lines, "not supported: its answers are sounds"))
    try:
        items = load_items(one)
        broken, seconds = check_items(one, items)
    except InputError as error:
        return Checked(one, None, 0.0, (*lines, str(error)))
    return Checked(one, len(items), seconds, (*lines, *(problem.what for problem in broken)))


def check_card(one: Instance) -> Iterator[Problem]:
    """The rules about what an instance says of itself."""
    if not NAME.fullmatch(one.name):
        yield Problem(one.name, "the name has other signs than letters, digits, _ and -")
    if one.source.name == CARD and not one.description:
        yield Problem(one.name, "the description is empty")
    if one.source.name == CARD and not one.keywords:
        yield Problem(one.name, "no keywords; expected a list of words")
    if not one.metrics and one.kind != "unsupported":
        yield Problem(one.name, "no metrics: nothing can be scored")
    elif one.source.name == CARD and one.told_of_ours:
        yield Problem(one.name, one.told_of_ours)
    for metric in one.metrics:
        if taxonomy.metric_kind(metric) is None:
            yield Problem(one.name, f"metric '{metric}' is unknown")
    if not one.local and one.revision is None:
        yield Problem(one.name, "no version: not pinned to a commit of its data set")
    elif not one.local and not COMMIT.fullmatch(one.revision or ""):
        yield Problem(one.name, f"version '{one.revision}' is no commit: expected 40 hexadecimal digits")


@dataclass
class _Faults:
    """Items by what is wrong with them, with what the first of them shows."""

    found: dict[str, list[str]] = field(default_factory=dict)

    def add(self, what: str, name: str) -> None:
        self.found.setdefault(what, []).append(name)

    def lines(self) -> Iterator[str]:
        for what, names in self.found.items():
            yield f"{what}: {len(names)} item{'s' * (len(names) > 1)}, first {names[0]}"


def check_items(one: Instance, items: Sequence[Item]) -> tuple[tuple[Problem, ...], float]:
    """The rules about items, and how many seconds of sound there are by the headers. Nothing is decoded."""
    faults, instructions, ids = _Faults(), set(), set()
    counts: Counter[int] = Counter()
    seconds = 0.0
    for item in items:
        instructions.add(item.instruction)
        if AGAIN.sub("", item.id) in ids:
            faults.add("the same id twice", item.id)
        ids.add(item.id)
        counts[len(item.sounds)] += 1
        for what in _wrong(one, item):
            faults.add(what, item.id)
        for sound in item.sounds:
            length = sound.seconds
            if length is None:
                faults.add("sound that is missing or cannot be read", f"{item.id} ({_short(sound)})")
            seconds += length or 0.0
    lines = [*_sizes(len(items), len(instructions), seconds), *_numbers(counts, items), *faults.lines()]
    return tuple(Problem(one.name, line) for line in lines), seconds


def _short(sound: Sound) -> str:
    return sound.name.rsplit("/", 1)[-1]


def _sizes(items: int, instructions: int, seconds: float) -> Iterator[str]:
    if items < FEWEST_ITEMS:
        yield f"{items} items; expected at least {FEWEST_ITEMS}"
    fewest = max(FEWEST_INSTRUCTIONS, items / ITEMS_AN_INSTRUCTION)
    if instructions < fewest:
        yield f"{instructions} different instructions for {items} items; expected at least {fewest:g}"
    if seconds > LONGEST_SECONDS:
        yield f"{seconds / 3600:.1f} hours of sound; expected at most {LONGEST_SECONDS / 3600:g}"


def _numbers(counts: Counter[int], items: Sequence[Item]) -> Iterator[str]:
    """The rule that every item has as many sounds as the others, and one at least."""
    if not counts:
        return
    usual = counts.most_common(1)[0][0]
    if usual == 0:
        yield f"no sound: {counts[0]} items are about text alone"
    if len(counts) > 1:
        odd = next(item for item in items if len(item.sounds) != usual)
        others = sum(counts.values()) - counts[usual]
        yield f"another number of sounds than {usual}: {others} items, first {odd.id} with {len(odd.sounds)}"


def _wrong(one: Instance, item: Item) -> Iterator[str]:
    """What is wrong with an item by itself."""
    if not item.instruction:
        yield "no instruction"
    if not item.label:
        yield "no label"
    elif one.kind == "regression" and not is_number(item.label):
        yield "the label is no number"
    elif one.kind == "classification" and not item.options:
        yield "the instruction lists no options"
    elif one.kind == "classification" and not among(item.label, item.options):
        yield "the label is not among the options"


def among(label: str, options: Sequence[str]) -> bool:
    """Whether a label is one of the options, in either case, or the letter of one."""
    told = label.casefold().strip(" .'\"")
    letters = [chr(ord("a") + number) for number in range(len(options))]
    return told in [option.casefold().strip(" .'\"") for option in options] or told in letters


def is_number(text: str) -> bool:
    """Whether a text is a finite number."""
    try:
        return isfinite(float(text))
    except ValueError:
        return False
