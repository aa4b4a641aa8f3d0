import sys
from pathlib import Path

import datasets
import pytest
from probing.layouts_on_disk import text

from crossfade.errors import InputError
from crossfade.probing.tables import read_table


def test_tables_of_every_kind_give_the_same_rows(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('\ufeffn, word\r\n1,"a, b"\r\n\r\n2,  c \r\n', encoding="utf-8")
    text(tmp_path / "b.txt", "n\tword", "1\ta, b", "2\tc")
    text(tmp_path / "c.jsonl", '{"n": "1", "word": "a, b"}', "", '{"n": "2", "word": "c"}')
    text(tmp_path / "d.json", '[{"n": "1", "word": "a, b"}, {"n": "2", "word": "c"}]')
    datasets.Dataset.from_dict({"n": ["1", "2"], "word": ["a, b", "c"]}).to_parquet(tmp_path / "e.parquet")
    text(tmp_path / "f.json", '{"x": {"n": "1"}, "y": {"n": "2"}}')
    for name in ("a.csv", "b.txt", "c.jsonl", "d.json", "e.parquet"):
        assert read_table(tmp_path / name) == [{"n": "1", "word": "a, b"}, {"n": "2", "word": "c"}]
    assert read_table(tmp_path / "f.json") == [{"key": "x", "n": "1"}, {"key": "y", "n": "2"}]
    assert read_table(tmp_path / "b.txt", r"^(?P<n>\d)\t(?P<word>.)", gather=True) == [
        {"n": ("1", "2"), "word": ("a", "c")}
    ]


def test_tabs_are_taken_as_they_are(tmp_path: Path) -> None:
    text(tmp_path / "a.txt", "ID\tARTIST\tMIX", '1\t"A" and B\t12" Mix\tmore', "2\tC")
    assert read_table(tmp_path / "a.txt") == [
        {"ID": "1", "ARTIST": "A and B", "MIX": '12" Mix'},
        {"ID": "2", "ARTIST": "C"},
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "path,label\na.wav,1\nb.wav\n", "a.csv line 3: expected 2 fields, received 1"),
        ("a.csv", 'path\n"a"x\n', "a.csv line 2: not CSV"),
        ("a.csv", "path\n\udcff\n", "a.csv: not UTF-8 text (invalid start byte at byte 5)"),
        ("a.json", "{", "a.json: not JSON"),
        ("a.json", "3", "a.json: expected an object with a value for every column, received 3"),
        ("a.json", '{"x": 3}', "a.json: x: expected an object with a value for every column, received 3"),
        ("a.jsonl", '{"path": "a"}\n[1]\n', "a.jsonl line 2: expected an object with a value"),
        ("a.jsonl", "{]\n", "a.jsonl line 1: not JSON"),
        ("a.parquet", "PAR1", "a.parquet: not a readable parquet file"),
    ],
)
def test_tables_that_are_refused(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(InputError) as caught:
        read_table(tmp_path / name)
    assert message in str(caught.value)
    with pytest.raises(InputError, match="cannot be read"):
        read_table(tmp_path, "x")


def test_the_extra_is_named_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(InputError, match=r"a.parquet: reading it needs pyarrow.parquet; pip install 'crossfade"):
        read_table(tmp_path / "a.parquet")
