"""The command line's door: what it imports, its exit codes, one line for every error."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import crossfade
from crossfade.cli.argv import MANY, spread
from crossfade.cli.main import main
from crossfade.cli.options import names, settings, size
from crossfade.cli.output import show
from crossfade.cli.progress import Lines
from crossfade.errors import InputError
from crossfade.progress import SILENT

HEAVY = {"torch", "transformers", "numpy", "scipy", "soundfile", "matplotlib", "datasets", "huggingface_hub"}


class Result:
    ok = True
    path, recipe, parameters, seconds = Path("out"), {"method": "linear", "weight": 0.9}, 1, 0.1
    notes, alignment = (), None

    def to_dict(self) -> dict[str, Any]:
        return {"ok": self.ok, "weight": 0.9}


class Recorder:
    """Stands where a library function would and keeps what it was called with."""

    def __init__(self, outcome: Any = None) -> None:
        self.outcome = outcome or Result()
        self.positional: tuple[Any, ...] = ()
        self.named: dict[str, Any] = {}

    def __call__(self, *positional: Any, **named: Any) -> Any:
        self.positional, self.named = positional, named
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome


def stand_in(monkeypatch: pytest.MonkeyPatch, module: str, name: str, outcome: Any = None) -> Recorder:
    recorder = Recorder(outcome)
    fake = ModuleType(module)
    setattr(fake, name, recorder)
    monkeypatch.setitem(sys.modules, module, fake)
    return recorder


def in_a_process(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("verb", [[], ["plan"], ["align"], ["merge"], ["quickstart"]])
def test_help_imports_nothing_heavy(verb: list[str]) -> None:
    script = (
        "import sys; from crossfade.cli.main import main\n"
        f"code = main({[*verb, '--help']}); print({HEAVY} & set(sys.modules), code)"
    )
    done = in_a_process(script)
    assert done.stdout.splitlines()[-1] == "set() 0", done.stderr
    assert "Usage: crossfade" in done.stdout


def test_no_words_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert all(verb in shown for verb in ("plan", "align", "merge", "quickstart"))


@pytest.mark.parametrize("group", ["vector", "prompt-tune", "distill-data", "dynamic-superb"])
def test_a_group_alone_shows_its_help(group: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([group]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith(f"Usage: crossfade {group}")
    assert "Commands:" in shown.out
    assert not shown.err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"crossfade {crossfade.__version__}\n"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["mrge"], "did you mean 'merge'"),
        (["merge", "a", "b", "--wieght", "1"], "did you mean '--weight'?"),
        (["merge", "a", "b", "-o", "x", "--dtype", "int8"], "'int8' is not one of"),
        (["plan", "a"], "'OTHER'"),
        (["align", "a", "b"], "'--output'"),
        (["align", "a", "b", "-o", "x", "--seed", "soon"], "'--seed'"),
        (["merge", "a", "-o", "x"], "a recipe that ends in .yaml; received only 'a'"),
        (["merge", "a", "b", "-o", "x", "--set", "density"], "KEY=VALUE"),
        (["merge", "a", "b", "-o", "x", "--max-shard-size", "huge"], "received 'huge'"),
    ],
)
def test_a_wrong_word_is_one_line_and_exit_2(
    words: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    assert expected.lower() in printed.err.lower()


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (
            InputError("config.json: hidden_size\n  is 768 " + "x" * 200),
            2,
            "error: config.json: hidden_size is 768 " + "x" * 200,
        ),
        (OSError(errno.ENOSPC, "No space left on device", "out/model"), 2, "error: disk full: out/model"),
        (OSError(errno.ENOSPC, "No space left on device"), 2, "error: disk full: No space left on device"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), 2, "error: permission denied: /x"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_errors_become_one_line_and_a_code(
    error: BaseException,
    code: int,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    stand_in(monkeypatch, "crossfade.encoders.plan", "plan", error)
    assert main(["plan", "a", "b"]) == code
    assert capsys.readouterr().err == line + "\n"


FAULTY = """
import sys
from types import ModuleType
fake = ModuleType("crossfade.encoders.plan")
def plan(*_): raise RuntimeError("shape mismatch")
fake.plan = plan
sys.modules[fake.__name__] = fake
sys.argv = ["crossfade", "plan", "a", "b"]
from crossfade.cli.main import run
run()
"""


def test_our_fault_is_exit_1_and_the_traceback_only_on_request() -> None:
    plain = in_a_process(FAULTY, CROSSFADE_DEBUG="")
    assert plain.returncode == 1
    assert "RuntimeError: shape mismatch" in plain.stderr
    assert "CROSSFADE_DEBUG=1" in plain.stderr
    assert "Traceback" not in plain.stderr
    debug = in_a_process(FAULTY, CROSSFADE_DEBUG="1")
    assert debug.returncode == 1
    assert "Traceback" in debug.stderr


# Under nohup, and behind a shell's &, signals start out ignored.
SLEEPER = """
import signal, sys, time
from types import ModuleType
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
fake = ModuleType("crossfade.encoders.plan")
def plan(*_):
    try:
        print("at work", flush=True)
        time.sleep(60)
    finally:
        print("cleaned up", flush=True)
fake.plan = plan
sys.modules[fake.__name__] = fake
sys.argv = ["crossfade", "plan", "a", "b"]
from crossfade.cli.main import run
run()
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
def test_a_stopped_run_cleans_up(number: signal.Signals, code: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SLEEPER], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "at work\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert out == "cleaned up\n"
    assert "Traceback" not in err
    assert process.returncode == code


def test_spread() -> None:
    words = ["merge", "a", "b", "--audio", "x", "y", "z", "-o", "out", "--audio", "w", "--set", "k=1", "m=2"]
    assert " ".join(spread(words)) == ("merge a b --audio x --audio y --audio z -o out --audio w --set k=1 --set m=2")
    assert list(spread(["align", "--audio", "x", "--", "a", "b"])) == ["align", "--audio", "x", "--", "a", "b"]
    assert list(spread(["align", "--audio=x", "a", "b"])) == ["align", "--audio=x", "a", "b"]
    assert list(spread(["--at", "1,0", "-0.5,1", "1,-1"])) == ["--at", "1,0", "--at", "-0.5,1", "--at", "1,-1"]


WORDS = st.lists(st.sampled_from([*MANY, "-o", "--seed", "a", "b", "c"]))


@given(WORDS)
def test_spreading_twice_changes_nothing_more(words: list[str]) -> None:
    once = list(spread(words))
    assert list(spread(once)) == once
    assert [word for word in once if not word.startswith("-")] == [word for word in words if not word.startswith("-")]


def test_align_hands_over_its_options(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    called = stand_in(monkeypatch, "crossfade.alignment", "align")
    words = "align speech music --audio one two --audio three -o out --points conv,residual --clips 8 --quiet --json"
    assert main(words.split()) == 0
    assert called.positional == ("speech", "music", ["one", "two", "three"])
    assert called.named == {
        "output": Path("out"),
        "method": "correlation",
        "points": ("conv", "residual"),
        "clips": 8,
        "seconds": 5.0,
        "seed": 0,
        "device": "auto",
        "overwrite": False,
        "progress": SILENT,
    }
    assert json.loads(capsys.readouterr().out) == {"ok": True, "weight": 0.9}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", {"align": None, "weight": 0.9, "method": "linear", "parameters": {}, "max_shard_size": 5 * 10**9}),
        ("--audio x y", {"align": None, "audio": ["x", "y"]}),
        ("--audio x --align none", {"align": "none"}),
        ("--audio x --alignment done", {"align": None, "alignment": Path("done")}),
        ("--align weights", {"align": "weights"}),
        (
            "--reference-audio x --other-audio y",
            {"align": None, "reference_audio": ["x"], "other_audio": ["y"]},
        ),
        ("--set density=0.2 name=abc flag=true", {"parameters": {"density": 0.2, "name": "abc", "flag": True}}),
        ("--repair --dtype float16 --base b", {"repair": True, "dtype": "float16", "base": "b"}),
    ],
)
def test_merge_hands_over_its_options(words: str, expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    called = stand_in(monkeypatch, "crossfade.merging", "merge")
    assert main(["merge", "speech", "music", "-o", "out", *words.split()]) == 0
    assert called.named.items() >= {"reference": "speech", "other": "music", "output": Path("out")}.items()
    assert {name: called.named[name] for name in expected} == expected


def test_what_is_typed_wins_over_the_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    called = stand_in(monkeypatch, "crossfade.merging", "merge")
    recipe = {"reference": "speech", "other": "music", "weight": 0.5, "method": "ties", "seed": 3}
    read = stand_in(monkeypatch, "crossfade.merging.recipe", "read_recipe", recipe)
    assert main(["merge", "mine.yaml", "-o", "out", "--seed", "7", "--quiet"]) == 0
    assert read.positional == (Path("mine.yaml"),)
    assert called.named == recipe | {"seed": 7, "output": Path("out"), "progress": SILENT}


def test_plan_that_says_no_is_exit_2_with_json_last(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    refusal = Result()
    refusal.ok = False
    stand_in(monkeypatch, "crossfade.encoders.plan", "plan", refusal)
    assert main(["plan", "a", "b", "--json"]) == 2
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert json.loads(lines[-1]) == {"ok": False, "weight": 0.9}


def test_the_summary_has_a_line_a_fact_and_a_table_a_list(capsys: pytest.CaptureFixture[str]) -> None:
    result = Result()
    layers = [{"layer": 0, "moved": 0.5}, {"layer": 1, "moved": 0.25}]
    facts = {"ok": True, "output_bytes": 2_500_000_000, "names": ["[a]", "b"], "reasons": [], "layers": layers}
    result.to_dict = lambda: facts  # type: ignore[method-assign]
    show(result, quiet=False, as_json=False)
    words = capsys.readouterr().out.split()
    assert words[:7] == ["ok", "yes", "output", "2.50", "GB", "names", "[a]"]
    assert words[-4:] == ["0", "0.500", "1", "0.250"]
    show(result, quiet=True, as_json=False)
    assert capsys.readouterr().out == ""


def test_a_negative_number_is_a_value() -> None:
    assert list(spread(["--snr", "10", "-5", "-0.5", "-o", "x"])) == [
        "--snr",
        "10",
        "--snr",
        "-5",
        "--snr",
        "-0.5",
        "-o",
        "x",
    ]


def test_option_texts() -> None:
    assert names("conv, attention,") == ("conv", "attention")
    assert [size("--max-shard-size", text) for text in ("4096", "800MB", "1.5gb", "2 KB")] == [
        4096,
        800_000_000,
        1_500_000_000,
        2000,
    ]
    assert settings(["rate=1e-3", "path=a=b", "sizes=[1, 2]"]) == {"rate": 1e-3, "path": "a=b", "sizes": [1, 2]}
    with pytest.raises(InputError, match="--max-shard-size"):
        size("--max-shard-size", "0")


def test_lines_are_sparse(capsys: pytest.CaptureFixture[str]) -> None:
    seconds = iter(range(0, 1000, 4))
    lines = Lines(clock=lambda: next(seconds))
    assert list(lines.track("abcdefg", total=7, description="hearing")) == list("abcdefg")
    assert capsys.readouterr().err.splitlines() == [
        "hearing: 3/7 (0.2/s, 16 s left)",
        "hearing: 6/7 (0.2/s, 4 s left)",
        "hearing: 7 in 32 s",
    ]
    assert list(lines.track("ab", total=2, description="hearing")) == ["a", "b"]
    assert not capsys.readouterr().err


def test_the_api_is_one_screen_and_lazy() -> None:
    script = "import crossfade, sys; print('torch' in sys.modules, dir(crossfade))"
    assert (
        in_a_process(script).stdout
        == "False ['InputError', '__version__', 'align', 'compare', 'distill', 'merge', 'plan', 'probe', 'vectors']\n"
    )
    assert crossfade.InputError is InputError
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = crossfade.nothing  # type: ignore[attr-defined]
