"""The command line's door: verbs, exit codes, and what becomes of errors.

Exit codes: 0 done, 1 our fault, 2 bad input, 130 interrupted, 143 told to stop.
"""

import errno
import gc
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from types import FrameType, TracebackType
from typing import Annotated

import typer
from typer.main import get_command

import crossfade
from crossfade.cli.align import align
from crossfade.cli.argv import spread
from crossfade.cli.compare import compare
from crossfade.cli.distill import distill
from crossfade.cli.distill_data import distill_data
from crossfade.cli.dynamic_superb import dynamic_superb
from crossfade.cli.merge import merge
from crossfade.cli.plan import plan
from crossfade.cli.probe import probe
from crossfade.cli.prompt_tune import prompt_tune
from crossfade.cli.quickstart import quickstart
from crossfade.cli.report import report
from crossfade.cli.vector import vector
from crossfade.errors import InputError

BAD_INPUT = 2
INTERRUPTED = 130

# What the machine refuses, which neither the user's models nor our code can be blamed for.
REFUSALS = {
    errno.ENOSPC: "disk full",
    errno.EDQUOT: "disk quota used up",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EROFS: "read-only file system",
}

# Plain help: rich's panels cost as much time as all the rest of start-up.
app = typer.Typer(
    name="crossfade", rich_markup_mode=None, add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True
)


def _say_version(wanted: bool) -> None:
    if wanted:
        print(f"crossfade {crossfade.__version__}")
        raise typer.Exit


@app.callback()
def verbs(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Make one audio encoder out of encoders trained apart, exactly aligned.

    \b
    Examples:
      crossfade quickstart
      crossfade plan facebook/hubert-base-ls960 m-a-p/MERT-v0-public
      crossfade merge ./speech ./music --audio clips/ -o unified
    """


for verb in (plan, align, merge, distill, probe, compare, report, quickstart):
    app.command()(verb)
app.add_typer(vector, name="vector")
app.add_typer(distill_data, name="distill-data")
app.add_typer(dynamic_superb, name="dynamic-superb")
app.add_typer(prompt_tune, name="prompt-tune")


def main(arguments: Sequence[str]) -> int:
    """Run one verb and return its exit code; what is our fault is raised."""
    try:
        words = list(spread(arguments))
        code: int | None = get_command(app).main(words, prog_name="crossfade", standalone_mode=False)
    except InputError as error:
        return _refuse(str(error))
    except typer.TyperException as error:
        return _help(error) if _wants_help(error) else _refuse(_usage(error))
    except OSError as error:
        if error.errno not in REFUSALS:
            raise
        return _refuse(f"{REFUSALS[error.errno]}: {error.filename or error.strerror}")
    except KeyboardInterrupt:
        code = INTERRUPTED
    if code == INTERRUPTED:
        print("interrupted", file=sys.stderr)
    return code or 0


def _refuse(message: str) -> int:
    """One line, however long and however the message was laid out."""
    print("error:", " ".join(message.split()), file=sys.stderr)
    return BAD_INPUT


def _wants_help(error: typer.TyperException) -> bool:
    """Whether all that is wrong is that nothing follows `crossfade` or the name of a group of commands."""
    context: typer.Context | None = getattr(error, "ctx", None)
    return context is not None and error.message == context.get_help()


def _help(error: typer.TyperException) -> int:
    print(error.message)
    return 0


def _usage(error: typer.TyperException) -> str:
    """What was wrong with the command line, what was probably meant, and where to read on."""
    message = error.format_message()
    if close := getattr(error, "possibilities", None):
        message = f"{error.message}; did you mean '{close[0]}'?"
    message = message.replace("Value error, ", "")
    context: typer.Context | None = getattr(error, "ctx", None)
    return f"{message} (see '{context.command_path} --help')" if context else message


def _own_up(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Say that an error is ours; Python then exits with 1."""
    if os.environ.get("CROSSFADE_DEBUG"):
        traceback.print_exception(kind, error, trace)
    message = " ".join(f"{kind.__name__}: {error}".split())
    print(f"error: a fault in crossfade, not in your input: {message}", file=sys.stderr)
    if not os.environ.get("CROSSFADE_DEBUG"):
        print("Run it again with CROSSFADE_DEBUG=1 for the traceback, and please report it.", file=sys.stderr)


def _stop(number: int, frame: FrameType | None) -> None:
    """Leave by way of every `finally`, so that nothing half-written stays behind."""
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + number)


def run() -> None:
    """The `crossfade` command."""
    sys.excepthook = _own_up
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _stop)
    code = main(sys.argv[1:])
    gc.freeze()  # Python would look through all that torch brought for cycles once more: a third of a second
    sys.exit(code)
