"""Runs over real HTTP and with a user's model: interrupted, amid faults, divided; all must come out alike."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import instructed
import pytest
import yaml
from chat_server import Served
from folders import contents
from started import started, wait_for

from crossfade.errors import InputError
from crossfade.instructions.benchmark import read_benchmark
from crossfade.instructions.joining import join
from crossfade.instructions.models import open_model, read_model
from crossfade.instructions.running import run
from crossfade.instructions.runs import RESULTS, Journal, Run, counted, read_run

ECHO = """
class Echo:
    def __init__(self, fails=""):
        self.fails, self.seen = fails, []

    def answer(self, questions):
        self.seen.append(len(questions))
        return [self.say(question) for question in questions]

    def say(self, question):
        if str(len(question.sounds[0][0])) in self.fails.split():
            return ValueError("no idea")
        return f"{[(len(samples), rate) for samples, rate in question.sounds]} {question.prompt}"
"""
ITEMS = 12
MIXED = "429,500,malformed,empty,dropped"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classifications, a pair of sounds, a text; and one of generated speech, which nothing here can score."""
    home = tmp_path_factory.mktemp("bench")
    instructed.high_or_low(home, "Pitch_A", ITEMS)
    instructed.high_or_low(home, "Pitch_B", 5)
    pair = {"sounds": [instructed.tone(300, 800, 1), instructed.tone(300, 1200, 2)], "text": "hear both"}
    instructed.instance(home, "Same_C", [{"id": "p", "label": "low"} | pair])
    return home


@pytest.fixture
def echo(tmp_path: Path) -> Path:
    (tmp_path / "echo.py").write_text(ECHO)
    return written(tmp_path / "echo.yaml", kind="python", model=f"{tmp_path}/echo.py:Echo")


def written(path: Path, **said: Any) -> Path:
    path.write_text(yaml.safe_dump(said))
    return path


def chat(path: Path, server: Served, model: str = "tiny", **said: Any) -> Path:
    endpoint = {"url": server.url, "model": model, "first_pause": 0.001, "timeout": 60, "retries": 20} | said
    return written(path, kind="chat", endpoint=endpoint, name="tiny")


def asked(bench: Path, model: Path, output: Path, **said: Any) -> Run:
    return run(read_benchmark(bench), open_model(read_model(model)), output, path=bench, **said)


def results(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / RESULTS).read_text())
    return found


def test_a_model_sees_sounds_and_text_but_no_label(bench: Path, server: Served, tmp_path: Path) -> None:
    done = asked(bench, chat(tmp_path / "m.yaml", server), tmp_path / "run", concurrency=3)
    answers = {one.key: one for one in done.answers()}
    assert (done.asked, done.missing, len(answers)) == (18, 0, 18)
    first, pair = answers["Pitch_A", "000"], answers["Same_C", "p"]
    assert first.answer == f"heard 1600@8000: {instructed.CHOICE}"
    assert pair.answer == f"heard 800@8000 1200@8000: {instructed.CHOICE}\ntext: hear both"
    assert (first.label, first.options, first.attempts, first.error) == ("high", ("high", "low"), 1, None)
    assert first.tokens_out == len(first.answer.split())
    costs = json.loads((tmp_path / "run/costs.json").read_text())
    assert (costs["items"], costs["failed"], costs["retries"]) == (18, 0, 0)
    assert costs["tokens_in"] == sum(one.tokens_in or 0 for one in answers.values()) > 0
    assert [sitting["items"] for sitting in costs["sittings"]] == [18]
    kept = results(tmp_path / "run")
    assert [(one["instance"], one["id"]) for one in kept["answers"]] == sorted(answers)
    assert kept["model"] == "tiny"


@pytest.mark.parametrize("stream", [False, True])
def test_faults_lose_nothing_and_count_nothing_twice(bench: Path, server: Served, tmp_path: Path, stream: bool) -> None:
    """A third of all attempts fail; the results are those of a server without faults, byte for byte."""
    model = f"tiny/0.33/{MIXED}/{stream}"
    done = asked(bench, chat(tmp_path / "a.yaml", server, model, stream=stream), tmp_path / "a", concurrency=4)
    asked(bench, chat(tmp_path / "b.yaml", server), tmp_path / "b")
    stats = server.stats(model)
    assert stats.faults.total() > 0
    # Two instances share their first five sounds, so the server is asked those twice.
    assert stats.answered.total() == 18
    assert sum(one.attempts - 1 for one in done.answers()) == stats.faults.total() == done.costs()["retries"]
    assert results(tmp_path / "a")["answers"] == results(tmp_path / "b")["answers"]


def test_killed_at_a_random_item_and_taken_up(bench: Path, server: Served, tmp_path: Path) -> None:
    """A real process, a real SIGKILL, amid faults; then the results file is that of a run in peace, byte for byte."""
    words = ["Pitch_A", "Pitch_B", "Same_C"]
    script = f"""
import sys, time
from crossfade.instructions.running import read_run, run
from crossfade.instructions import runs
from crossfade.instructions.benchmark import read_benchmark
from crossfade.instructions.models import open_model, read_model
add = runs.Journal.add
def slowly(self, answered):
    add(self, answered)
    time.sleep(0.05)
runs.Journal.add = slowly
run(read_benchmark({str(bench)!r}), open_model(read_model(sys.argv[1])), sys.argv[2], concurrency=2)
"""
    model = f"tiny/0.2/{MIXED}"
    killed = tmp_path / "killed"
    process = started(["-c", script, str(chat(tmp_path / "k.yaml", server, model + "/k")), str(killed)])
    wait_for(lambda: (killed / "answers.jsonl").exists() and len(read_run(killed).places) >= 4, process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    left = len(read_run(killed).places)
    assert 4 <= left < 18
    (cut,) = json.loads((killed / "costs.json").read_text())["sittings"]
    assert 1 <= cut["items"] <= left
    assert not (killed / RESULTS).exists()
    with (killed / "answers.jsonl").open("ab") as file:
        file.write(b'{"instance": "Pitch_A", "id": "011", "answ')  # a line that was not finished
    model_file = chat(tmp_path / "k.yaml", server, model + "/k")
    done = asked(bench, model_file, killed, concurrency=2)
    assert done.costs()["items"] == 18
    assert [one["items"] for one in done.sittings()] == [cut["items"], 18 - left]
    peace = asked(bench, model_file, tmp_path / "peace", concurrency=5)
    assert (killed / RESULTS).read_bytes() == (tmp_path / "peace" / RESULTS).read_bytes()
    assert [one.name for one in peace.header.instances] == words
    assert len((killed / "answers.jsonl").read_text().splitlines()) == 18


def test_what_failed_is_noted_and_asked_again(bench: Path, echo: Path, tmp_path: Path) -> None:
    told = yaml.safe_load(echo.read_text())
    fails = written(tmp_path / "fails.yaml", **told, settings={"fails": "1600 1603"})
    done = asked(bench, fails, tmp_path / "run")
    errors = {one.key: one.error for one in done.answers() if one.error}
    assert errors == {(name, item): "no idea" for name in ("Pitch_A", "Pitch_B") for item in ("000", "003")}
    assert (done.costs()["failed"], done.costs()["items"]) == (4, 18)
    again = asked(bench, fails, tmp_path / "run")
    assert again.costs()["items"] == 18
    assert [sitting["items"] for sitting in again.sittings()] == [18, 4]


def test_half_a_sign_in_an_answer_is_a_question_mark(bench: Path, tmp_path: Path) -> None:
    """JSON can say what UTF-8 cannot: "\\ud83d" alone."""
    (tmp_path / "half.py").write_text(
        "class Half:\n    def answer(self, asked):\n        return ['so \\ud83d'] * len(asked)\n"
    )
    half = written(tmp_path / "half.yaml", kind="python", model=f"{tmp_path}/half.py:Half")
    done = asked(bench, half, tmp_path / "run")
    assert {one.answer for one in done.answers()} == {"so ?"}
    assert {one["answer"] for one in results(tmp_path / "run")["answers"]} == {"so ?"}


def test_sound_that_cannot_be_read_fails_alone(echo: Path, tmp_path: Path) -> None:
    folder = instructed.high_or_low(tmp_path / "bench", "Broken", 4)
    (folder / "Broken_002.wav").write_bytes(b"RIFF, but no more")
    done = asked(tmp_path / "bench", echo, tmp_path / "run", batch=4)
    errors = {one.id: one.error for one in done.answers() if one.error}
    assert list(errors) == ["002"]
    assert errors["002"] == "unreadable: not a known audio format [Broken_002.wav]"
    assert counted([f"unreadable [{name}.wav]" for name in "abc"] + ["busy"]) == {"unreadable [a.wav]": 3, "busy": 1}


def test_batches_are_as_large_as_they_are_said_to_be(bench: Path, echo: Path, tmp_path: Path) -> None:
    model: Any = open_model(read_model(echo))
    done = run(read_benchmark(bench), model, tmp_path / "run", batch=5)
    assert sorted(model.made.seen) == [3, 5, 5, 5]
    other = asked(bench, echo, tmp_path / "one")
    assert [one.answer for one in done.answers()] == [one.answer for one in other.answers()]
    assert (tmp_path / "run" / RESULTS).read_bytes() == (tmp_path / "one" / RESULTS).read_bytes()


def test_shards_joined_are_the_whole_run(bench: Path, echo: Path, tmp_path: Path) -> None:
    folders = [tmp_path / f"shard-{number}" for number in (1, 2, 3)]
    for number, folder in enumerate(folders, 1):
        asked(bench, echo, folder, shard=(number, 3))
    assert sorted(len(read_run(folder).places) for folder in folders) == [5, 6, 7]
    joined = join(folders, tmp_path / "joined")
    whole = asked(bench, echo, tmp_path / "whole")
    assert (tmp_path / "joined" / RESULTS).read_bytes() == (tmp_path / "whole" / RESULTS).read_bytes()
    assert joined.missing == whole.missing == 0
    partly = join(folders[:2], tmp_path / "partly")
    assert partly.missing == 18 - len(partly.places) > 0
    assert asked(bench, echo, tmp_path / "partly").missing == 0
    assert (tmp_path / "partly" / RESULTS).read_bytes() == (tmp_path / "whole" / RESULTS).read_bytes()


def test_shards_of_machines_that_keep_the_model_elsewhere(bench: Path, tmp_path: Path) -> None:
    folders = []
    for number in (1, 2):
        home = tmp_path / f"machine-{number}"
        home.mkdir()
        (home / "echo.py").write_text(ECHO)
        model = written(home / "echo.yaml", kind="python", model=f"{home}/echo.py:Echo")
        folders.append(home / "run")
        asked(bench, model, folders[-1], shard=(number, 2))
    assert join(folders, tmp_path / "joined").missing == 0


def test_runs_that_are_no_shards_of_one_are_refused(bench: Path, echo: Path, tmp_path: Path) -> None:
    asked(bench, echo, tmp_path / "a", shard=(1, 2))
    asked(bench, echo, tmp_path / "b", shard=(2, 2), limit=3)
    asked(bench, echo, tmp_path / "c", shard=(1, 2))
    lines = (tmp_path / "c/answers.jsonl").read_text().splitlines()
    changed = json.loads(lines[0]) | {"answer": "something else"}
    (tmp_path / "c/answers.jsonl").write_text("\n".join([json.dumps(changed), *lines[1:]]) + "\n")
    for other, fault in (
        ("b", "settings.limit was None and is 3"),
        ("c", "its answer to Pitch_A '000' is not that of"),
    ):
        with pytest.raises(InputError, match=fault):
            join([tmp_path / "a", tmp_path / other], tmp_path / "joined")
        assert not (tmp_path / "joined").exists()
    with pytest.raises(InputError, match="expected two runs or more, received 1"):
        join([tmp_path / "a"], tmp_path / "joined")
    with pytest.raises(InputError, match="a: named twice; expected every shard once"):
        join([tmp_path / "a", tmp_path / "b/../a"], tmp_path / "joined")


def test_another_run_is_not_mixed_in(bench: Path, echo: Path, tmp_path: Path) -> None:
    asked(bench, echo, tmp_path / "run", limit=2)
    before = contents(tmp_path)
    with pytest.raises(InputError, match=r"holds another run: settings\.limit was 2 and is 3"):
        asked(bench, echo, tmp_path / "run", limit=3)
    (tmp_path / "echo.py").write_text(ECHO + "\n# changed\n")
    with pytest.raises(InputError, match=r"holds another run: identity\.sha256 was"):
        asked(bench, echo, tmp_path / "run", limit=2)
    (tmp_path / "echo.py").write_text(ECHO)
    assert contents(tmp_path) == before


def test_damage_is_named(bench: Path, echo: Path, tmp_path: Path) -> None:
    asked(bench, echo, tmp_path / "run", limit=2)
    path = tmp_path / "run/answers.jsonl"
    path.write_text('{"instance": 3}\n' + path.read_text())
    with pytest.raises(InputError, match=r"answers\.jsonl: line 1 is damaged: '\{\"inst.*; delete the line"):
        read_run(tmp_path / "run")
    with pytest.raises(InputError, match=r"no run\.json in it; expected a folder written by"):
        read_run(tmp_path)
    with pytest.raises(InputError, match=r"run\.json: a file; expected a folder written by"):
        read_run(tmp_path / "run/run.json")
    path.write_text(path.read_text().replace("Pitch_A", "Pitch_Z").partition("\n")[2])
    with pytest.raises(InputError, match=r"answers\.jsonl: answers to 'Pitch_Z', which this run does not ask"):
        read_run(tmp_path / "run")
    path.unlink()
    for content in ("[1]", '{"items": 3'):
        (tmp_path / "run/costs.json").write_text(content)
        with pytest.raises(InputError, match=r"costs\.json: damaged; delete it"):
            read_run(tmp_path / "run").costs()
    with pytest.raises(InputError, match="exists and holds no run"):
        asked(bench, echo, tmp_path)


def test_two_processes_do_not_share_a_run(bench: Path, echo: Path, tmp_path: Path) -> None:
    asked(bench, echo, tmp_path / "run", limit=2)
    with Journal(tmp_path / "run"), pytest.raises(InputError, match="this run is going on in another process"):
        asked(bench, echo, tmp_path / "run", limit=2)


def test_another_model_does_not_take_over_a_run_that_has_just_begun(bench: Path, echo: Path, tmp_path: Path) -> None:
    """Before the first answer, too, what the folder is stays what the process says that holds it."""
    asked(bench, echo, tmp_path / "run", limit=2)
    (tmp_path / "run/answers.jsonl").write_text("")
    before = (tmp_path / "run/run.json").read_bytes()
    with Journal(tmp_path / "run"), pytest.raises(InputError, match="this run is going on in another process"):
        asked(bench, echo, tmp_path / "run", limit=3)
    assert (tmp_path / "run/run.json").read_bytes() == before
    assert asked(bench, echo, tmp_path / "run", limit=3).header.settings.limit == 3


def test_other_instances_are_named(bench: Path, echo: Path, tmp_path: Path) -> None:
    benchmark = read_benchmark(bench)
    asked(bench, echo, tmp_path / "run", limit=2)
    with pytest.raises(
        InputError, match=r"holds another run: instances\.Pitch_A was \{'name': 'Pitch_A'.* and is None"
    ):
        asked(bench, echo, tmp_path / "run", limit=2, instances=benchmark.chosen(names=["Pitch_B", "Same_C"]))


def test_a_sitting_that_ends_in_an_error_is_noted_and_counted(bench: Path, tmp_path: Path) -> None:
    """The totals of scores are of the answers that there are, not of when a sitting last came to its end."""
    stop = "def answer(self, asked):\n        if self.left == 0:\n            raise InputError('key refused')\n"
    (tmp_path / "stop.py").write_text(
        "from crossfade.errors import InputError\nclass Stop:\n    left = 5\n    "
        f"{stop}        self.left -= 1\n        return ['high'] * len(asked)\n"
    )
    model = written(tmp_path / "stop.yaml", kind="python", model=f"{tmp_path}/stop.py:Stop")
    with pytest.raises(InputError, match="key refused"):
        asked(bench, model, tmp_path / "run", concurrency=1)
    cut = read_run(tmp_path / "run")
    assert [one["items"] for one in cut.sittings()] == [len(cut.places)] == [5]
    assert cut.costs()["items"] == 5


def test_a_server_that_is_not_there_leaves_no_answers(bench: Path, tmp_path: Path) -> None:
    told = {"url": "http://127.0.0.1:9/v1", "model": "tiny"}
    model = written(tmp_path / "m.yaml", kind="chat", endpoint=told)
    with pytest.raises(InputError, match="nobody answers there"):
        asked(bench, model, tmp_path / "run", concurrency=3)
    assert read_run(tmp_path / "run").places == {}
