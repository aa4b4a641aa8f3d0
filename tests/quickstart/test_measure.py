"""What the quickstart measures is what `probe` says, and its intervals."""

from pathlib import Path

import pytest
import torch

from crossfade.probing.exam import set_exam
from crossfade.probing.run import probe
from crossfade.quickstart.measure import correctness, interval, judge, resampled_accuracy
from crossfade.quickstart.pack import ENCODERS


def test_an_encoder_is_judged_as_probe_does(tmp_path: Path) -> None:
    tasks = ("note_instrument", "month")
    speech, music = judge(ENCODERS["speech"], set_exam(tasks, seed=3))
    assert [speech.task.name, music.task.name] == ["month", "note_instrument"]
    probed = probe(ENCODERS["speech"], tasks, seed=3, device="cpu", cache=tmp_path)
    assert [music.items, speech.items] == [result.items for result in probed]
    for result in (speech, music):
        assert result.protocol.head == "ridge"
        assert 100 * float(correctness(result).mean()) == pytest.approx(result.value)


def test_intervals_are_paired_and_as_wide_as_the_binomial() -> None:
    right = (torch.rand(400, generator=torch.Generator().manual_seed(4)) < 0.7).float()
    draws = resampled_accuracy({"task": right}, 0)["task"]
    low, high = interval(draws)
    share = float(right.mean())
    assert draws.mean() == pytest.approx(100 * share, abs=0.2)
    assert (high - low) / 2 == pytest.approx(196 * (share * (1 - share) / 400) ** 0.5, rel=0.1)
    worse = resampled_accuracy({"task": right * 0.5}, 0)["task"]
    torch.testing.assert_close(worse, draws / 2)
