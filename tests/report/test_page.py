"""Tables of the quickstart's page."""

from crossfade.report.page import exactness_table, html_table, main_table, task_table, with_interval

ROW = {
    "name": "regression",
    "weight": 0.5,
    "tasks": {"month": 50.0, "melody": 41.04},
    "speech": 50.0,
    "music": 41.04,
    "average": 45.52,
    "speech_interval": (45.0, 55.0),
    "music_interval": (38.0, 44.0),
    "average_interval": (43.0, 48.0),
    "gain": 17.21,
    "gain_interval": (14.1, 20.3),
}
ALONE = ROW | {"name": "speech alone", "weight": None, "gain": None, "gain_interval": None}


def test_main_table() -> None:
    header, cells = main_table([ALONE, ROW])
    assert header == ["encoder", "weight", "speech", "music", "average", "gain"]
    assert cells[0] == ["speech alone", "", "50.0 ±5.0", "41.0 ±3.0", "45.5 ±2.5", ""]
    assert cells[1] == ["regression", "0.5", "50.0 ±5.0", "41.0 ±3.0", "45.5 ±2.5", "+17.2 ±3.1"]


def test_task_table_ends_with_chance() -> None:
    tasks = [{"name": "month", "classes": 12, "domain": "speech"}, {"name": "melody", "classes": 6, "domain": "music"}]
    header, cells = task_table([ROW], tasks)
    assert header[2:] == ["month", "melody"]
    assert cells == [["regression", "0.5", "50.0", "41.0"], ["chance", "", "8.3", "16.7"]]


def test_small_tables() -> None:
    assert exactness_table({"aligned": 2.14e-6})[1] == [["aligned", "2.1e-06"]]
    assert with_interval(-1.0, (-3.0, 1.0), sign="+") == "-1.0 ±2.0"
    assert html_table(["a<b"], [["&"]]) == "<table><tr><th>a&lt;b</th></tr><tr><td>&amp;</td></tr></table>"
