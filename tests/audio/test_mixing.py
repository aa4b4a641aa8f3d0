"""Levels, repeats and draws of backgrounds."""

from collections.abc import Callable
from math import inf, nan
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crossfade.audio.mixing import Mix, draw_backgrounds, mix, read_background
from crossfade.audio.sources import AudioFile
from crossfade.errors import InputError

Write = Callable[..., Path]


def noise(samples: int, seed: int = 0, level: float = 1.0) -> torch.Tensor:
    return level * torch.randn(samples, generator=torch.Generator().manual_seed(seed))


@given(st.integers(1, 3000), st.integers(1, 3000), st.floats(-60, 60), st.floats(1e-3, 1e3))
def test_the_level_is_the_ratio_of_powers_over_the_clip(clip: int, background: int, snr: float, level: float) -> None:
    speech = noise(clip, 1, level)
    mixed = mix(speech, noise(background, 2), snr)
    added = mixed.double() - speech.double()
    found = 10 * torch.log10(speech.double().square().mean() / added.square().mean())
    assert mixed.dtype == torch.float32
    assert float(found) == pytest.approx(snr, abs=0.02)


def test_the_background_is_repeated_and_cut() -> None:
    speech, short = noise(1000), noise(300, 1)
    added = mix(speech, short, 0.0) - speech
    torch.testing.assert_close(added[:300], added[300:600], atol=1e-6, rtol=0)
    torch.testing.assert_close(added[:100], added[900:], atol=1e-6, rtol=0)
    assert torch.equal(mix(speech, noise(5000, 1), 3.0), mix(speech, noise(5000, 1)[:1000], 3.0))


def test_a_background_far_below_leaves_the_clip_alone() -> None:
    speech = noise(1000)
    torch.testing.assert_close(mix(speech, noise(1000, 1), 200.0), speech, atol=1e-8, rtol=0)


@pytest.mark.parametrize(
    ("clip", "background", "snr", "says"),
    [
        (torch.zeros(10), torch.ones(10), 0.0, "the clip is silent, so it has no level in dB"),
        (torch.ones(10), torch.zeros(10), 0.0, "the background is silent, so it has no level in dB"),
        (torch.ones(10), torch.cat([torch.zeros(10), torch.ones(5)]), 0.0, "the background is silent"),
        (torch.ones(10), torch.ones(0), 0.0, "expected sound, got 10 samples over 0 of background"),
        (torch.ones(0), torch.ones(4), 0.0, "expected sound, got 0 samples"),
        (torch.ones(10), torch.ones(10), nan, "snr: expected a level in dB, got nan"),
        (torch.ones(10), torch.ones(10), inf, "snr: expected a level in dB, got inf"),
        (torch.full((10,), nan), torch.ones(10), 0.0, "the clip is silent"),
    ],
)
def test_what_cannot_be_mixed(clip: torch.Tensor, background: torch.Tensor, snr: float, says: str) -> None:
    with pytest.raises(InputError, match=says):
        mix(clip, background, snr)


def test_a_background_starts_again_where_it_ends(write: Write) -> None:
    sound = np.linspace(-0.5, 0.5, 800)
    file = AudioFile("hum", write("hum.wav", sound, subtype="FLOAT"))
    heard = read_background(Mix(file, 600 / 16000, 0.0), 16000, 500)
    torch.testing.assert_close(heard[:500], torch.from_numpy(np.concatenate([sound[600:], sound[:300]])).float())


def draws(files: list[AudioFile], ids: list[str], snr: float = 10.0, seed: int = 0) -> list[Mix]:
    return draw_backgrounds(files, ids, snr, seed)


def test_a_draw_depends_on_the_clip_and_the_seed_alone(write: Write) -> None:
    files = [
        AudioFile(f"{number}", write(f"{number}.wav", noise(16000 * (1 + number), number).numpy() * 0.1))
        for number in range(4)
    ]
    ids = [f"clip {number}" for number in range(200)]
    found = dict(zip(ids, draws(files, ids), strict=True))
    assert draws(files[::-1], ids[::-1][:50]) == [found[name] for name in ids[::-1][:50]]
    assert {mix.background.name for mix in found.values()} == {"0", "1", "2", "3"}
    assert all(0 <= mix.offset < 1 + int(mix.background.name) for mix in found.values())
    assert draws(files, ids, seed=1) != draws(files, ids)
    louder = draws(files, ids, snr=0.0)
    assert [(mix.background, mix.offset) for mix in louder] == [(m.background, m.offset) for m in found.values()]
    assert {mix.snr for mix in louder} == {0.0}


def test_backgrounds_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="backgrounds: no files"):
        draw_backgrounds([], ["a"], 10.0)
    (tmp_path / "broken.wav").write_bytes(b"RIFF nothing")
    broken = AudioFile("broken.wav", tmp_path / "broken.wav")
    for use in (lambda: draws([broken], ["a"]), lambda: read_background(Mix(broken, 0.0, 1.0), 16000, 10)):
        with pytest.raises(InputError, match=r"broken\.wav: unreadable: .*; leave it out of the backgrounds"):
            use()
