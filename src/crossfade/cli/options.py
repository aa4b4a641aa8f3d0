"""The options that verbs share, and how their text is read."""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from typer import Argument, Context, Option

from crossfade.errors import InputError

MODEL = "A folder, or a name on the Hugging Face hub (name or name@revision)."

Reference = Annotated[str, Argument(metavar="REFERENCE", help=f"The encoder that sets the basis. {MODEL}")]
Other = Annotated[str, Argument(metavar="OTHER", help="The encoder that is brought to it, of the same family.")]
Output = Annotated[
    Path, Option("--output", "-o", metavar="DIR", help="Where the result goes; appears whole or not at all.")
]
Bench = Annotated[
    Path,
    Argument(
        metavar="BENCH",
        help="A clone of the benchmark, a list of hub data sets (.csv, .json), or a folder of prepared instances.",
    ),
]
Audio = Annotated[
    list[str] | None,
    Option(
        "--audio",
        metavar="DIR...",
        help="What both models are to hear: folders, files, manifests (.jsonl, .csv, .parquet) or "
        "hf:NAME[@REVISION][:SPLIT]. Several may follow one flag, so put REFERENCE and OTHER first.",
    ),
]
CacheFolder = Annotated[
    Path | None,
    Option("--cache", metavar="DIR", help="Where features are kept.  [default: ~/.cache/crossfade/features]",
           show_default=False),
]  # fmt: skip
Points = Annotated[
    str,
    Option(metavar="NAME,NAME", help="What is permuted: conv, feed_forward, attention, residual."),
]
Clips = Annotated[int | None, Option(min=1, metavar="N", help="How many clips to hear.  [default: all]")]
Seconds = Annotated[float, Option(min=0.1, metavar="S", help="Longest clip; longer files are cut.")]
Seed = Annotated[int, Option(min=0, metavar="N", help="Fixes everything that is drawn at random.")]
Precision = Annotated[Literal["float32", "bfloat16", "float16"], Option(help="What encoders compute in.")]
Device = Annotated[Literal["auto", "cpu", "cuda"], Option(help="Where models run.")]
Overwrite = Annotated[bool, Option("--overwrite", help="Replace the output if it exists.")]
Quiet = Annotated[bool, Option("--quiet", help="No progress, no summary.")]
ScoreName = Annotated[
    str | None,
    Option(
        "--score",
        metavar="PRESET",
        help="One number for many tasks: paper1_table, superb_chance, or a preset's YAML file.",
    ),
]
Partial = Annotated[bool, Option("--partial", help="Score what is there, and name the tasks that are missing.")]
Trust = Annotated[
    bool, Option("--trust-base", help="The student does not say which base it is from; you know that it is this one.")
]
Total = Annotated[
    float | None, Option("--sum", metavar="S", help="Refuse weights that do not add up to this.", show_default=False)
]
VectorMethod = Annotated[
    str, Option(metavar="NAME", help="task-arithmetic, ties, ties-secondary, dare, or one of yours as FILE.py:NAME.")
]
Set = Annotated[list[str] | None, Option("--set", metavar="KEY=VALUE...", help="Parameters of the method.")]
Json = Annotated[bool, Option("--json", help="End with the result as one line of JSON on standard output.")]

POINTS = "conv,feed_forward,attention"
UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}


def typed(context: Context, options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `options` that stand on the command line: they win over a recipe's."""
    sources = {name: context.get_parameter_source(name) for name in options}
    return {name: options[name] for name, source in sources.items() if source and source.name == "COMMANDLINE"}


def names(text: str) -> tuple[str, ...]:
    """The parts of `a,b,c`."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def settings(pairs: Iterable[str], such_as: str = "density=0.2") -> dict[str, object]:
    """KEY=VALUE pairs as a dictionary; a value that is JSON (0.2, true, [1, 2]) is read as such, else as text."""
    found: dict[str, object] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not (key and equals):
            raise InputError(f"--set expects KEY=VALUE, as in {such_as}; received '{pair}'")
        try:
            found[key] = json.loads(text)
        except json.JSONDecodeError:
            found[key] = text
    return found


def size(flag: str, text: str) -> int:
    """Bytes in a flag's '5GB', '800MB' or '4096' (decimal units)."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?) *([KMG]B)?", text.strip().upper())
    if match is None or not (count := int(float(match[1]) * UNITS[match[2] or ""])):
        raise InputError(f"{flag} expects a size such as 5GB, 800MB or a number of bytes; received '{text}'")
    return count
