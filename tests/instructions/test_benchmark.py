"""Reading a clone, a list and prepared folders; what cannot be read stops nothing."""

import json
from pathlib import Path

import pytest
from prepared_instances import card, prepared, rows

from crossfade.errors import InputError
from crossfade.instructions.benchmark import Benchmark, read_benchmark
from crossfade.instructions.taxonomy import branch, languages, metric_kind, usual_metrics

TASKS = "dynamic_superb/benchmark_tasks"
LIST = """InstanceName,HuggingfacePath,Version,Category,Note,Speech,Music,Audio,
SuperbASR_LibriSpeech,DynamicSuperb/SuperbASR_LibriSpeech,{commit},Text generation,,FALSE,FALSE,FALSE,
Fluency_L2-Scoring,DynamicSuperb/Fluency_L2-Scoring,,Regression,which type?,TRUE,FALSE,FALSE,?
SongSeparation_SingSet,DynamicSuperb/SongSeparation_SingSet,{commit},Audio generation,,FALSE,FALSE,FALSE,?
,DynamicSuperb/Nameless,{commit},Classification,,FALSE,FALSE,FALSE,
Odd_One,DynamicSuperb/Odd_One,{commit},Painting,,FALSE,FALSE,FALSE,
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Two instances of one task, one that is not JSON, one whose metric nobody knows, one without a path."""
    tasks = tmp_path / TASKS
    card(tasks / "NoiseDetection/NoiseDetection_LJSpeech_MUSAN-Music", keywords="")
    card(tasks / "NoiseDetection/NoiseDetection_VCTK_MUSAN-Music", description="", metrics=["Accuracy"])
    card(tasks / "ChordClassification/ChordClassification_Piano", metrics=["beauty"])
    card(tasks / "Pathless/Pathless_One", path=None)
    (tasks / "Broken/Broken_One").mkdir(parents=True)
    (tasks / "Broken/Broken_One/instance.json").write_text("{")
    return tmp_path


def lines(found: Benchmark) -> dict[str, str]:
    return {problem.source: problem.what for problem in found.problems}


def test_a_clone(clone: Path) -> None:
    found = read_benchmark(clone)
    assert [one.name for one in found.instances] == [
        "NoiseDetection_LJSpeech_MUSAN-Music",
        "NoiseDetection_VCTK_MUSAN-Music",
    ]
    one = found.instances[0]
    assert (one.task, one.kind, one.domains, one.languages) == (
        "NoiseDetection",
        "classification",
        ("speech",),
        ("en",),
    )
    assert (one.path, one.local) == ("DynamicSuperb/NoiseDetection_LJSpeech_MUSAN-Music", False)
    assert one.revision == "0123456789abcdef0123456789abcdef01234567"
    assert (one.items, one.keywords) == (None, ())
    told = lines(found)
    assert told["Broken_One"].startswith("left out: instance.json is not JSON")
    assert told["ChordClassification_Piano"].startswith(
        "left out: metrics: 'beauty' is unknown; did you mean 'bleu'? known: "
    )
    assert told["Pathless_One"] == "left out: no path; expected one in instance.json"
    assert set(found.left_out) == {"Broken_One", "ChordClassification_Piano", "Pathless_One"}
    with pytest.raises(InputError, match=r"^'Pathless_One': left out: no path"):
        found.chosen(names=["Pathless_One"])
    assert len(found.problems) == 3


def test_a_field_that_is_missing_is_a_problem_and_no_reason_to_leave_out(tmp_path: Path) -> None:
    found = read_benchmark(card(tmp_path / "Dogs_One", version=None))
    assert [one.revision for one in found.instances] == [None]
    assert lines(found) == {"Dogs_One": "no version in instance.json"}


def test_metrics_of_ours_are_named(tmp_path: Path) -> None:
    found = read_benchmark(card(tmp_path / "Dogs_One", metrics=[], kind="classification"))
    assert lines(found) == {"Dogs_One": "names no metrics; taken, ours: accuracy"}
    assert found.sha256 == read_benchmark(card(tmp_path / "Dogs_One", kind="classification")).sha256


def test_a_list(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text(LIST.format(commit="ab" * 20), encoding="utf-8")
    found = read_benchmark(path)
    kinds = {one.name: (one.kind, one.domains, one.metrics, one.revision) for one in found.instances}
    assert kinds == {
        "Fluency_L2-Scoring": ("regression", ("speech",), ("mse", "lcc", "srcc"), None),
        "SongSeparation_SingSet": ("unsupported", ("music",), (), "ab" * 20),
        "SuperbASR_LibriSpeech": ("generation", ("speech",), ("wer",), "ab" * 20),
    }
    said = [(problem.source, problem.what) for problem in found.problems]
    assert ("Fluency_L2-Scoring", "note of the list: which type?") in said
    assert ("list.csv row 4", "left out: no name; expected one in list.csv") in said
    assert any(source == "Odd_One" and "'Painting'" in what for source, what in said)


def test_an_unknown_name_among_many_is_one_short_line(tmp_path: Path) -> None:
    told = [{"name": f"Dogs_{place:03d}", "path": "x/y", "category": "Classification"} for place in range(300)]
    (tmp_path / "list.json").write_text(json.dumps(told))
    with pytest.raises(
        InputError, match=r"^'Dogs_1000': no such instance or task; did you mean 'Dogs_100'\? "
    ) as caught:
        read_benchmark(tmp_path / "list.json").chosen(names=["Dogs_1000"])
    assert len(str(caught.value)) < 300


def test_what_no_instance_says_is_named_with_what_they_say(tmp_path: Path) -> None:
    card(tmp_path / "Dogs_One")
    card(tmp_path / "SuperbASR_Dutch", metrics=["WER"])
    found = read_benchmark(tmp_path)
    with pytest.raises(
        InputError, match=r"^--metric acuracy: no instance has it; did you mean 'accuracy'\? known: acc"
    ):
        found.chosen(metric="acuracy")
    with pytest.raises(InputError, match=r"^--language xx: no instance has it; known: nl$"):
        found.chosen(language="xx")
    assert [one.name for one in found.chosen(language="NL", metric="wer")] == ["SuperbASR_Dutch"]
    with pytest.raises(InputError, match="none of the 2 instances is all of: kind regression, metric wer; ask for"):
        found.chosen(kind="regression", metric="wer")
    with pytest.raises(
        InputError, match=r"^'dutch': .* did you mean 'SuperbASR_Dutch'\? known: SuperbASR_Dutch, Dogs,"
    ):
        found.chosen(names=["dutch"])


def test_a_json_list_says_the_same(tmp_path: Path) -> None:
    told = [{"name": "Dogs_One", "path": "DynamicSuperb/Dogs_One", "revision": "ab" * 20, "category": "Classification"}]
    path = tmp_path / "list.json"
    path.write_text(json.dumps([*told, 5]))
    found = read_benchmark(path)
    assert [(one.name, one.kind, one.revision) for one in found.instances] == [
        ("Dogs_One", "classification", "ab" * 20)
    ]
    assert "list.json row 2" in lines(found)


def test_prepared_folders_are_local_whatever_their_card_says(tmp_path: Path) -> None:
    prepared(tmp_path / "Dogs/Dogs_One", rows(3), path="DynamicSuperb/Dogs_One", domains=["audio"], languages=["nl"])
    (one,) = read_benchmark(tmp_path).instances
    assert one.local
    assert (one.path, one.items) == (str((tmp_path / "Dogs/Dogs_One").resolve()), 3)
    assert (one.domains, one.languages) == (("audio",), ("nl",))


def test_a_prepared_folder_without_a_card_is_guessed(tmp_path: Path) -> None:
    folder = prepared(tmp_path / "SuperbASR_LibriSpeech-TestClean", [{**rows(1)[0], "instruction": "Write it down."}])
    (folder / "instance.json").unlink()
    found = read_benchmark(tmp_path)
    (one,) = found.instances
    assert (one.kind, one.metrics, one.items) == ("generation", ("wer",), 1)
    assert "guessed" in lines(found)[one.name]


def test_filters(clone: Path) -> None:
    prepared(clone / "Birds_One", rows(2), domains=["audio"])
    found = read_benchmark(clone)
    assert len(found.chosen()) == 3
    assert [one.name for one in found.chosen(domain="audio")] == ["Birds_One"]
    assert [one.name for one in found.chosen(keyword="VCTK")] == ["NoiseDetection_VCTK_MUSAN-Music"]
    assert len(found.chosen(keyword="animal")) == 3
    assert len(found.chosen(language="en", kind="classification", metric="ACCURACY")) == 2
    assert [one.name for one in found.chosen(items=2)] == ["Birds_One"]
    assert len(found.chosen(names=["NoiseDetection"])) == 2
    with pytest.raises(InputError, match=r"'NoiseDetektion': no such instance or task; did you mean 'NoiseDetection'"):
        found.chosen(names=["NoiseDetektion"])
    with pytest.raises(InputError, match="none of the 3 instances"):
        found.chosen(kind="regression")


def test_the_hash_is_of_what_is_asked_and_not_of_where_it_lies(tmp_path: Path) -> None:
    hashes = []
    for place, label in (("a", "dog"), ("b", "dog"), ("c", "cat")):
        prepared(tmp_path / place / "Dogs_One", [{**rows(1)[0], "label": label}])
        hashes.append(read_benchmark(tmp_path / place).sha256)
    assert hashes[0] == hashes[1] != hashes[2]


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file or folder"):
        read_benchmark(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"no instance can be read; expected files named instance\.json"):
        read_benchmark(tmp_path)


def test_what_names_tell() -> None:
    assert branch("HEARMusicGenreClassification_GTZANGenre-Fold1") == ("music", "genre and mood")
    assert branch("Mystery_One") == ()
    assert languages("MultiLingualSpeechRecognition_MLS-nl") == ("nl",)
    assert languages("CodeSwitchingSpeechRecognition_ASCEND") == ("zh", "en")
    assert usual_metrics("SuperbPR_LibriSpeech-TestClean", "generation") == ("per",)
    assert usual_metrics("HEARMusicGenreClassification_GTZANGenre-Fold1", "generation") == ("accuracy",)
    assert metric_kind("Slot-Type-F1") == "generation"
    assert metric_kind("beauty") is None
