import json
from pathlib import Path
from typing import Any

import datasets
import pytest
from probing.layouts_on_disk import sounds, text

from crossfade.errors import InputError
from crossfade.probing.schema import DEFAULTS, Kind
from crossfade.probing.tasks import PACKAGED, load_dataset, load_task, load_tasks, task_names

PACKAGED_TASKS, EMBEDDED_TASKS = task_names()


def labelled(folder: Path, rows: list[dict[str, Any]], about: str | None = None) -> Path:
    """A folder with manifest.jsonl, the sounds it lists, and task.yaml where something is said about it."""
    text(folder / "manifest.jsonl", *map(json.dumps, rows))
    sounds(folder, {row["path"] for row in rows if isinstance(row.get("path"), str) and row["path"]})
    if about is not None:
        text(folder / "task.yaml", about)
    return folder


def rows(**columns: Any) -> list[dict[str, Any]]:
    """Twenty rows; each column is what a row's number gives."""
    return [{"path": f"{n:02d}.wav"} | {name: value(n) for name, value in columns.items()} for n in range(20)]


def refusal(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        load_dataset(load_task(folder))
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Packaged and embedded tasks


def test_the_packaged_tasks() -> None:
    speech = {"asr", "er", "ic", "ks", "phones", "sid", "sv"}
    music = {"beat", "emotion_music", "genre", "instrument", "key", "pitch", "singer", "tagging", "vocal_technique"}
    assert set(PACKAGED_TASKS) == speech | music | {"esc50"}
    for name in PACKAGED_TASKS:
        assert load_task(name).domain == ("speech" if name in speech else "music" if name in music else "audio")


@pytest.mark.parametrize("name", PACKAGED_TASKS)
def test_a_packaged_task_is_a_few_lines_that_say_where_its_protocol_and_its_data_are_from(name: str) -> None:
    task, lines = load_task(name), (PACKAGED / f"{name}.yaml").read_text(encoding="utf-8")
    assert len(lines.splitlines()) <= 35
    assert task.title
    assert task.data is not None
    assert "give" in task.data.hint
    assert "\n" not in task.data.hint
    assert any(source in task.protocol.source for source in ("2506.11403", "SUPERB", "MARBLE"))


def test_the_protocol_of_the_eleven_tasks() -> None:
    """Head, projection, steps, rate, batch, accumulation, warm-up and mixup of arXiv 2506.11403."""
    told = {
        "asr": ("blstm", 1024, 200_000, 1e-4, 32, 1, 0, 0.0),
        "ks": ("linear", 256, 200_000, 1e-4, 32, 1, 0, 0.0),
        "ic": ("linear", 256, 200_000, 1e-4, 32, 1, 0, 0.0),
        "sid": ("linear", 256, 200_000, 1e-2, 32, 1, 0, 0.0),
        "er": ("linear", 256, 30_000, 1e-4, 32, 1, 0, 0.0),
        "singer": ("linear", 512, 80_000, 1e-3, 64, 1, 0, 0.0),
        "vocal_technique": ("linear", 512, 75_000, 1e-3, 64, 1, 0, 0.0),
        "instrument": ("linear", 512, 200_000, 1e-3, 64, 1, 0, 0.0),
        "pitch": ("linear", 512, 200_000, 1e-3, 64, 1, 0, 0.0),
        "genre": ("linear", 256, 10_000, 6e-3, 64, 1, 2000, 0.0),
        "esc50": ("linear", 512, 30_000, 1e-3, 32, 2, 0, 0.7),
    }
    for name, protocol in told.items():
        p = load_task(name).protocol
        assert (p.head, p.projection, p.steps, p.rate, p.batch, p.accumulate, p.warmup, p.mixup) == protocol
        assert p.layers == "weighted"
    asr = load_task("asr").protocol
    assert (asr.hidden, asr.depth) == (1024, 2)


def test_metrics_follow_from_kinds_unless_a_task_says_otherwise() -> None:
    metrics = {name: load_task(name).metric for name in PACKAGED_TASKS}
    assert metrics["phones"] == "per"
    assert {name for name, metric in metrics.items() if metric != DEFAULTS[load_task(name).kind][0]} == {"phones"}
    assert (metrics["ic"], metrics["key"], metrics["sv"], metrics["beat"]) == (
        "slot_accuracy",
        "key_score",
        "eer",
        "beat_f",
    )


def test_the_embedded_tasks() -> None:
    tasks = load_tasks("embedded")
    assert [task.name for task in tasks] == EMBEDDED_TASKS
    assert EMBEDDED_TASKS == [
        "mandarin_initial",
        "melody",
        "month",
        "note_instrument",
        "rhythm",
        "russian_phone",
        "spelling_word",
    ]
    assert not {*EMBEDDED_TASKS} & {*PACKAGED_TASKS}, "a name that stands for two tasks"
    month = load_dataset(load_task("month"))
    assert (len(month.items), len({item.label for item in month.items}), len(month.folds)) == (84, 12, 5)
    assert {item.group for item in month.items} == {"allison", "armelle", "carlo", "ivrvoice", "june", "menardi"}
    assert month.items[0].id == "en_allison_january.ogg"
    assert load_tasks("asr") == [load_task("asr")]


def test_a_name_that_nobody_knows(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"vocal_techniqe: no such task or folder; did you mean 'vocal_technique'\? known: "
    ):
        load_task("vocal_techniqe")
    with pytest.raises(InputError, match=r"expected manifest.jsonl, manifest.csv or manifest.parquet, found none"):
        load_task(tmp_path)


def test_a_packaged_task_without_data_or_hub_says_where_it_is_published() -> None:
    with pytest.raises(
        InputError, match=r"^er: needs its data, which is not given; IEMOCAP is given on request by SAIL"
    ):
        load_dataset(load_task("er"))


# Labelled folders


def test_a_folder_with_the_name_of_a_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labelled(tmp_path / "beat", rows(label=lambda n: "ab"[n % 2]))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"beat: needs its data, .*; for the folder beat here, give ./beat$"):
        load_dataset(load_task("beat"))
    assert load_task("./beat").kind == "classification"


def test_a_folder_without_task_yaml_is_a_classification_of_label(tmp_path: Path) -> None:
    folder = labelled(tmp_path / "birds", rows(label=lambda n: "ab"[n % 2], group=lambda n: n // 2))
    task = load_task(folder)
    assert (task.name, task.title, task.kind, task.metric) == ("birds", "birds", "classification", "accuracy")
    assert (task.protocol.head, task.protocol.source) == ("linear", "")
    dataset = load_dataset(task)
    assert [len(fold.test) for fold in dataset.folds] == [4] * 5
    assert [(item.label, item.group) for item in dataset.items[:3]] == [("a", "0"), ("b", "0"), ("a", "1")]
    assert load_dataset(task, seed=1).sha256 != dataset.sha256 == load_dataset(task, folder).sha256


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_manifests_of_every_kind(tmp_path: Path, suffix: str) -> None:
    listed = rows(word=lambda n: "ab"[n % 2], split=lambda n: "dev" if n > 15 else "test" if n > 11 else "train")
    labelled(tmp_path, listed, "label: word\ndomain: speech\nseconds: 1.5\nmetric: uar")
    if suffix != "jsonl":
        (tmp_path / "manifest.jsonl").unlink()
        data = datasets.Dataset.from_list(listed)
        (data.to_csv if suffix == "csv" else data.to_parquet)(tmp_path / f"manifest.{suffix}")
    task = load_task(tmp_path)
    dataset = load_dataset(task)
    assert (task.domain, task.metric) == ("speech", "uar")
    assert [len(side) for side in (dataset.folds[0].train, dataset.folds[0].valid, dataset.folds[0].test)] == [12, 4, 4]
    assert (dataset.items[1].id, dataset.items[1].label, dataset.items[1].seconds) == ("01.wav", "b", 1.5)


def test_a_published_task_on_data_of_ones_own(tmp_path: Path) -> None:
    labelled(tmp_path, rows(text=lambda n: f"  word {n}\t"))
    dataset = load_dataset(load_task("asr"), tmp_path)
    assert (dataset.task.protocol.steps, dataset.items[3].label, len(dataset.folds)) == (200_000, "word 3", 5)


def test_a_folder_may_describe_its_own_layout(tmp_path: Path) -> None:
    sounds(tmp_path, (f"{label}/{n}.wav" for label in "ab" for n in range(5)))
    text(tmp_path / "task.yaml", "data: {layouts: [{rows: [{files: '{label}/{n}.wav'}]}], hint: none}")
    assert [item.label for item in load_dataset(load_task(tmp_path)).items] == ["a"] * 5 + ["b"] * 5


def test_stretches_of_one_sound(tmp_path: Path) -> None:
    parts = [{"path": "a.wav", "start": n, "seconds": 2.5, "label": "ab"[n % 2]} for n in range(10)]
    dataset = load_dataset(load_task(labelled(tmp_path, parts, "seconds: 2")))
    assert [(item.id, item.start, item.seconds) for item in dataset.items[:2]] == [("a.wav@0", 0, 2), ("a.wav@1", 1, 2)]


@pytest.mark.parametrize(
    ("about", "label", "expected"),
    [
        ("kind: slots\nlabel: [label, other]", lambda n: "ab"[n % 2], ("b", "7")),
        ("kind: tagging", lambda n: "loud, low" if n % 2 else "", ("loud", "low")),
        ("kind: tagging", lambda n: ["loud"] * (n % 2), ("loud",)),
        ("kind: tagging\nlabel: [label, other]", lambda n: n % 2, ("label", "other")),
        ("kind: regression\nlabel: [label, other]", lambda n: n / 2, (0.5, 7.0)),
        ("kind: regression", lambda n: str(n), (1.0,)),
        ("kind: key", lambda n: ("A major", "Db minor")[n % 2], "Db minor"),
        ("kind: ctc", lambda n: " one  two ", "one two"),
        ("kind: frames", lambda n: [[0, 0.5, "a"], [0.5, 1, 3]], ((0.0, 0.5, "a"), (0.5, 1.0, "3"))),
        ("kind: beat", lambda n: "0.5 1", (0.5, 1.0)),
        ("kind: beat", lambda n: [0.5, 1], (0.5, 1.0)),
        ("kind: verification", lambda n: n // 4, "0"),
    ],
)
def test_labels_of_every_kind(tmp_path: Path, about: str, label: Any, expected: Any) -> None:
    folder = labelled(tmp_path, rows(label=label, other=lambda n: 7), about)
    assert load_dataset(load_task(folder)).items[1].label == expected


# Bad input


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        ("classification", "", "column label: expected the name of a class, received ''"),
        ("classification", None, "column label: expected the name of a class, received None"),
        ("ctc", "  ", "column label: expected a transcript of one word or more, received '  '"),
        ("ctc", 3, "column label: expected a transcript of one word or more, received 3"),
        ("regression", "high", "column label: expected a finite number in each, received 'high'"),
        ("regression", float("nan"), "column label: expected a finite number in each, received nan"),
        ("beat", [[1]], "column label: expected times in seconds, received [[1]]"),
        ("beat", [-1, 2], "column label: -1 s after 0 s: expected times from 0 s on, in order"),
        ("beat", "1 3 2", "column label: 2 s after 3 s: expected times from 0 s on, in order"),
        (
            "frames",
            [[0, 1, "a"], [2, 2, "b"]],
            "column label: 'b' from 2 to 2 s: expected a start of 0 s or more and a later end",
        ),
        (
            "frames",
            [[-0.5, 1, "a"]],
            "column label: 'a' from -0.5 to 1 s: expected a start of 0 s or more and a later end",
        ),
        (
            "key",
            "H dur",
            "column label: key 'H dur': expected a tonic from C to B and major or minor, as in 'F# minor'",
        ),
        ("frames", [[0, 1]], "column label: expected a list of [start, end, class], received [[0, 1]]"),
        (
            "tagging",
            3,
            "column label: expected tags divided by commas, or a 0 or 1 in a column for each tag, received 3",
        ),
    ],
)
def test_a_label_that_is_no_answer_is_named(tmp_path: Path, kind: Kind, value: Any, message: str) -> None:
    good: dict[str, Any] = {"ctc": "word", "regression": 1, "beat": [1], "frames": [[0, 1, "a"]], "key": "C major"}
    listed = rows(label=lambda n: value if n == 7 else good.get(kind, "ab"[n % 2]))
    found = refusal(labelled(tmp_path, listed, f"kind: {kind}"))
    assert found == f"{tmp_path}/manifest.jsonl: '07.wav', {message}; mend it or leave the clip out"


def test_what_a_manifest_can_get_wrong(tmp_path: Path) -> None:
    good = {"label": lambda n: "ab"[n % 2]}
    folder = labelled(tmp_path / "a", rows(labels=good["label"]))
    assert refusal(folder).endswith("'00.wav' has no column 'label'; did you mean 'labels'? known: labels, path")
    folder = labelled(tmp_path / "b", rows(label=lambda n: "a"))
    assert "manifest.jsonl: only one class to train on, 'a'" in refusal(folder)
    folder = labelled(tmp_path / "c", [*rows(**good), {"path": "03.wav", "label": "a"}])
    assert "manifest.jsonl: '03.wav' is there 2 times; expected every clip once" in refusal(folder)
    folder = labelled(
        tmp_path / "d", rows(**good, split=lambda n: ("train", "valid", "test")[n % 3], group=lambda n: "x")
    )
    assert "group 'x' is in train and in valid" in refusal(folder)
    folder = labelled(tmp_path / "e", [*rows(**good), {"path": None, "label": "a"}])
    assert f"{folder}: row 21 of manifest.jsonl has no path; expected one in every row" in refusal(folder)
    folder = labelled(tmp_path / "f", rows(**good, start=lambda n: "early"))
    assert "'00.wav', column start: expected seconds, received 'early'" in refusal(folder)
    for path in folder.glob("*.wav"):
        path.unlink()
    assert f"{folder}/manifest.jsonl: none of the 20 sounds of manifest.jsonl exists, first {folder}/00.wav" in refusal(
        folder
    )
    text(folder / "manifest.jsonl")
    assert f"{folder}/manifest.jsonl: expected rows in manifest.jsonl, found none" in refusal(folder)
    (folder / "manifest.jsonl").unlink()
    text(folder / "task.yaml", "label: label")
    assert f"{folder}: expected manifest.jsonl" in refusal(folder)


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ("kinds: ctc", "task.yaml: unknown key 'kinds'; did you mean 'kind'? known: data, "),
        ("kind: [ctc]", "task.yaml: kind: input should be 'classification', 'slots'"),
        ("kind: ctcs", "task.yaml: kind: input should be 'classification', 'slots'"),
        ("protocol: {steps: many}", "task.yaml: protocol.steps: input should be a valid integer"),
        ("protocol: {step: 1}", "task.yaml: unknown key 'protocol.step'; did you mean 'steps'? known: accumulate, "),
        (
            "data: {hint: x, layouts: [{rows: [{file: x}]}]}",
            "task.yaml: unknown key 'data.layouts[0].rows[0].file'; did you mean 'files'? known: columns, ",
        ),
        *(
            (f"protocol: {{{name}: 0}}", f"task.yaml: protocol.{name}: input should be greater than or equal to 1")
            for name in ("steps", "batch", "depth", "hidden", "projection", "accumulate")
        ),
        ("protocol: {rate: 0}", "task.yaml: protocol.rate: input should be greater than 0, received 0"),
        ("protocol: {rate: .inf}", "task.yaml: protocol.rate: input should be a finite number, received inf"),
        ("protocol: {warmup: -1}", "task.yaml: protocol.warmup: input should be greater than or equal to 0"),
        ("protocol: {dropout: 1}", "task.yaml: protocol.dropout: input should be less than 1, received 1"),
        ("protocol: {mixup: -1}", "task.yaml: protocol.mixup: input should be greater than or equal to 0"),
        ("seconds: 0", "task.yaml: seconds: input should be greater than 0, received 0"),
        ("protocol: linear", "task.yaml: protocol: expected keys and values"),
        ("[]", "task.yaml: expected keys and values, received list"),
        ("{", "task.yaml: not valid YAML"),
    ],
)
def test_what_a_task_can_get_wrong(tmp_path: Path, about: str, message: str) -> None:
    assert message in refusal(labelled(tmp_path, rows(label=lambda n: "a"), about))


def test_a_task_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = labelled(tmp_path, rows(label=lambda n: "a"), "kind: ctc")

    def refuse(path: Path, encoding: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refuse)
    assert refusal(folder) == f"{folder}/task.yaml: cannot be read (Permission denied); expected a YAML file"
