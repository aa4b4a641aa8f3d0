"""A run's scores: figures per reader, the tree, relative scores, the submission, paired tests, the page."""

import json
from pathlib import Path

import pytest
from answered import COMMIT, MOODS, answers, moods, run_of, told

from crossfade.errors import InputError
from crossfade.instructions.judge import Judge
from crossfade.instructions.pairs import answers_of, compare_answers, names_of
from crossfade.instructions.scores import Scores, load_scores, save_scores, score_run
from crossfade.instructions.standing import relative_score, relative_to, standings
from crossfade.instructions.submission import save_submission, submission
from crossfade.report.instructions import to_html, tree_table, write_report


def by_name(scores: Scores, name: str, reader: str = "normalised") -> tuple[float | None, int]:
    (one,) = [one for one in scores.instances if one.name == name]
    found = one.readers[reader].figures[0]  # type: ignore[index]
    return found.value, found.not_applicable


def test_readers_stay_apart(tmp_path: Path) -> None:
    pairs = [
        ("happy", "Happy"),
        ("sad", "It is sad."),
        ("angry", "(c)"),
        ("happy", "sad"),
        ("sad", "I'm not sure."),
        ("sad", None),
    ]
    run = run_of(tmp_path / "run", "mine", [(told("Emotion_X", 6), answers("Emotion_X", pairs))])
    scores = score_run(run, judge=Judge(lambda prompt: "CORRECT", {"model": "kind"}))
    assert by_name(scores, "Emotion_X", "exact") == (pytest.approx(100 / 6), 4)
    assert by_name(scores, "Emotion_X") == (50.0, 2)
    assert by_name(scores, "Emotion_X", "judge") == (pytest.approx(500 / 6), 1)
    (one,) = scores.instances
    assert (one.items, one.failed, one.errors) == (6, 1, {"no answer within 5 s": 1})
    assert [example.answer for example in one.readers["normalised"].examples] == ["I'm not sure."]
    assert scores.judge is not None
    assert set(scores.judge["prompts"]) == {"verdict-1", "number-1", "extract-1"}  # type: ignore[arg-type]
    assert scores.cost["tokens_in"] == 60


def test_scores_come_back_from_their_file(tmp_path: Path) -> None:
    scores = score_run(moods(tmp_path / "run", "mine", 30))
    save_scores(tmp_path / "scores.json", scores)
    assert load_scores(tmp_path / "scores.json") == scores
    for content, said in (
        ("{}", "expected scores of schema 1"),
        ("{", "not valid JSON"),
        ('{"schema": 1, "instances": 3}', "field required"),
    ):
        (tmp_path / "bad.json").write_text(content)
        with pytest.raises(InputError, match=said):
            load_scores(tmp_path / "bad.json")
    with pytest.raises(InputError, match="was not scored by 'judge'; expected one of exact, normalised"):
        scores.reader("judge")


def test_what_cannot_be_scored_is_noted_and_the_rest_is(tmp_path: Path) -> None:
    number, strange, lost = "Regression_X", "Emotion_X", "Emotion_Y"
    run = run_of(tmp_path / "run", "mine", [
        (told(number, 3, kind="regression", metrics=("mse", "rouge")),
         answers(number, [("1", "2"), ("2", "two"), ("loud", "3")], options=(), instruction="How loud?")),
        (told(strange, 2), answers(strange, [("cheerful", "cheerful"), ("sad", "sad")])),
        (told(lost, 2, metrics=("rouge",)), answers(lost, [("sad", "sad"), ("sad", "sad")])),
        (told("Never_Asked", 5), []),
    ])  # fmt: skip
    scores = score_run(run)
    notes = {one.name: one.notes for one in scores.instances}
    assert by_name(scores, number) == (0.5, 0)
    assert notes[number][0].startswith("metric 'rouge': unknown")
    assert (
        notes[number][1] == "1 items left out, their labels cannot be used; first: 002: label 'loud': expected a number"
    )
    assert by_name(scores, strange) == (100.0, 0)
    assert notes[strange] == ("1 labels are not among the options; first: 000: 'cheerful'",)
    assert notes[lost][-1] == "no metric that is known for classification: not scored"
    assert scores.notes == ("5 of 12 items were not asked yet; run it again to go on",)
    empty = run_of(tmp_path / "empty", "mine", [(told("Emotion_X", 2), [])])
    with pytest.raises(InputError, match="no answers yet"):
        score_run(empty)


def test_the_tree_averages_tasks_and_then_instances(tmp_path: Path) -> None:
    scores = score_run(moods(tmp_path / "run", "mine", 30))
    found = {one.branch: one for one in standings(scores, "normalised")}
    assert set(found) == {(), ("speech",), ("speech", "paralinguistics"), ("speech", "recognition")}
    assert found["speech", "paralinguistics"].average == 75.0
    assert found["speech", "recognition"].average == pytest.approx(87.5)  # WER 12.5
    assert found[()].average == found["speech",].average == pytest.approx(81.25)
    assert found[()].interval is not None
    half = (found[()].interval[1] - found[()].interval[0]) / 2
    halves = [one.readers["normalised"].figures[0].interval for one in scores.instances]
    assert half == pytest.approx(sum(((high - low) / 4) ** 2 for low, high in halves) ** 0.5)  # type: ignore[misc]
    header, rows = tree_table([scores])
    assert header == ["branch", "instances", "mine"]
    assert rows[0][:2] == ["all", "2"]
    assert rows[0][2].startswith("81.2 ±")


def test_an_error_rate_above_100_is_a_share_of_0(tmp_path: Path) -> None:
    """Words without end on one task do not drown what is right on the others."""
    pairs = [("one two", "one two and then many more words"), ("three", "nobody knows what was said")]
    mood, words = told("Emotion_X", 2), told("SuperbASR_X", 2, kind="generation", metrics=("wer",))
    run = run_of(tmp_path / "run", "mine", [
        (mood, answers("Emotion_X", [("sad", "sad")] * 2)), (words, answers("SuperbASR_X", pairs, options=())),
    ])  # fmt: skip
    scores = score_run(run)
    assert by_name(scores, "SuperbASR_X") == (pytest.approx(1000 / 3), 0)  # 5 words too many, then 4 and a wrong one
    found = {one.branch: one for one in standings(scores, "normalised")}
    assert (found["speech", "recognition"].average, found["speech", "recognition"].interval) == (0.0, (0.0, 0.0))
    assert found[()].average == 50.0


def test_relative_scores_turn_the_sign_where_lower_is_better(tmp_path: Path) -> None:
    assert relative_score(30.0, 20.0, better="higher") == 50.0
    assert relative_score(30.0, 20.0, better="lower") == -50.0
    assert relative_score(0.1, -0.2, better="higher") == pytest.approx(150.0)
    assert relative_score(1.0, 0.0, better="higher") is None
    mine, base = score_run(moods(tmp_path / "a", "mine", 30)), score_run(moods(tmp_path / "b", "base", 20))
    relative = relative_to(mine, base)
    assert (relative.baseline, relative.reader) == ("base", "normalised")
    assert relative.scores == {"EmotionRecognition_Small": 50.0, "SuperbASR_Small": 0.0}
    whole = standings(mine.model_copy(update={"relative": relative}), "normalised")[0]
    assert (whole.relative, whole.compared) == (25.0, 2)
    probed = score_run(moods(tmp_path / "c", "encoder", 20, comparable=False))
    with pytest.raises(InputError, match="an encoder that was probed and a model that answers do not compare"):
        relative_to(mine, probed)
    never = score_run(moods(tmp_path / "d", "none", 0))
    assert relative_to(mine, never).lost == {"EmotionRecognition_Small": "the baseline is 0"}


def test_the_submission_is_what_the_benchmark_takes(tmp_path: Path) -> None:
    scores = score_run(moods(tmp_path / "run", "mine", 30))
    found, lost = submission(scores, seen=["EmotionRecognition"])
    assert lost == []
    assert found == [
        {"name": "EmotionRecognition_Small",
         "scores": [{"metric": "accuracy", "value": 0.75, "version": COMMIT, "seen": True}]},
        {"name": "SuperbASR_Small", "scores": [{"metric": "wer", "value": 0.125, "version": COMMIT, "seen": False}]},
    ]  # fmt: skip
    save_submission(tmp_path / "mine.json", found)
    assert json.loads((tmp_path / "mine.json").read_text()) == found
    with pytest.raises(InputError, match="--seen: no scored instance or task 'Emotion'"):
        submission(scores, seen=["Emotion"])
    limited = score_run(moods(tmp_path / "limited", "mine", 30, limit=10))
    with pytest.raises(
        InputError, match="2 tasks or more, these scores have 0; left out: EmotionRecognition_Small: not"
    ):
        submission(limited)
    probed = score_run(moods(tmp_path / "probed", "encoder", 30, comparable=False))
    with pytest.raises(InputError, match="not comparable with the leaderboard"):
        submission(probed)


def test_paired_tests(tmp_path: Path) -> None:
    runs = [moods(tmp_path / name, name, right) for name, right in (("base", 10), ("mine", 30), ("same", 11))]
    made = compare_answers(
        {name: answers_of(run, "normalised") for name, run in zip(names_of(runs), runs, strict=True)}
    )
    found = {(one.model, one.task): one for one in made.differences}
    mood = found["mine", "EmotionRecognition_Small"]
    assert (mood.reference_value, mood.value, mood.difference) == (25.0, 75.0, 50.0)
    assert mood.test == "McNemar, exact"
    assert mood.p == pytest.approx(2 * 0.5**20)
    assert mood.verdict == "better"
    assert found["same", "EmotionRecognition_Small"].verdict == "no difference shown"
    assert found["mine", "SuperbASR_Small"].test == "paired bootstrap"
    assert found["mine", "SuperbASR_Small"].difference == 0.0
    assert made.sentence().startswith("Real differences from base: mine is better on EmotionRecognition_Small.")


def test_only_the_same_items_are_paired(tmp_path: Path) -> None:
    first = run_of(
        tmp_path / "a",
        "one",
        [
            (told("Emotion_X", 3), answers("Emotion_X", [("sad", "sad")] * 3)),
            (told("Only_A", 1), answers("Only_A", [("sad", "sad")])),
        ],
    )
    other = run_of(tmp_path / "b", "one", [(told("Emotion_X", 3), answers("Emotion_X", [("happy", "sad")] * 3))])
    assert names_of([first, other]) == ["one (a)", "one (b)"]
    with pytest.raises(InputError, match="Emotion_X: '000' has two labels"):
        compare_answers({"a": answers_of(first, "exact"), "b": answers_of(other, "exact")})
    with pytest.raises(InputError, match="compare needs two runs or more"):
        compare_answers({"a": answers_of(first, "exact")})


def test_the_page(tmp_path: Path) -> None:
    mine, base = score_run(moods(tmp_path / "a", "mine", 30)), score_run(moods(tmp_path / "b", "base", 20))
    mine = mine.model_copy(update={"relative": relative_to(mine, base)})
    probed = score_run(moods(tmp_path / "c", "encoder", 20, comparable=False))
    write_report(tmp_path / "report.html", [mine, base, probed])
    page = (tmp_path / "report.html").read_text()
    assert "encoder (probed, not comparable)" in page
    assert "probed encoder: not comparable with the benchmark&#x27;s leaderboard" in page
    assert "<summary>speech / paralinguistics</summary>" in page
    assert "25 % n/a" in page
    assert "joyful" in page
    assert "<td>+25.0</td>" in page
    assert "<script" not in page
    with pytest.raises(InputError, match=r"two scores are of 'mine'; write another name .*`name:` in model\.yaml"):
        write_report(tmp_path / "twice.html", [mine, mine])
    with pytest.raises(InputError, match=r"expected a name that ends in \.html"):
        write_report(tmp_path / "report.md", [mine])
    assert to_html([base], "exact").count("as the exact reader takes them") == 1


def test_models_that_were_asked_different_instances(tmp_path: Path) -> None:
    mine = score_run(moods(tmp_path / "a", "mine", 30))
    other = score_run(
        run_of(tmp_path / "b", "other", [(told("Emotion_X", 2), answers("Emotion_X", [("sad", "sad")] * 2))])
    )
    assert [row[:2] for row in tree_table([mine, other])[1]][:2] == [["all", "3"], ["\N{EM SPACE}speech", "3"]]
    said = "Not all were asked the same instances (mine 2, other 1; 0 by all)"
    assert said in to_html([mine, other])
    assert said[:9] not in to_html([mine, mine.model_copy(update={"model": "again"})])


def test_words_of_answers_cannot_break_the_page(tmp_path: Path) -> None:
    run = run_of(
        tmp_path / "run",
        "<b>",
        [(told("Emotion_X", 2), answers("Emotion_X", [("sad", "<script>x</script>"), ("sad", "sad")]))],
    )
    page = to_html([score_run(run)])
    assert "<script>" not in page
    assert "&lt;script&gt;x" in page
    assert MOODS[0] not in page
