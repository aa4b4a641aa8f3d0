"""What is kept of decoded sound, and how much of it."""

from pathlib import Path

import pytest
import tiny
import torch

from crossfade.audio.decode import UnreadableError
from crossfade.audio.sources import find_audio
from crossfade.probing import sounds as module
from crossfade.probing.clips import Clip, hear
from crossfade.probing.sounds import Sounds

RATE, SAMPLES = 16000, 4000


@pytest.fixture
def clips(tmp_path: Path) -> dict[str, Clip]:
    (files,) = find_audio(str(tiny.sounds(tmp_path / "sounds", 0, clips=3, seconds=SAMPLES / RATE)))
    return {str(number): Clip(file) for number, file in enumerate(files)}


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    heard: list[str] = []

    def watched(clip: Clip, rate: int, minimum_samples: int) -> torch.Tensor:
        heard.append(clip.name)
        return hear(clip, rate, minimum_samples)

    monkeypatch.setattr(module, "hear", watched)
    return heard


@pytest.mark.parametrize("kept", [0, 1, 2, 3])
def test_what_comes_first_is_kept_and_the_rest_decoded_again(
    kept: int, clips: dict[str, Clip], decoded: list[str]
) -> None:
    sounds = Sounds(most_bytes=kept * SAMPLES * 4 + 1)
    for _ in range(2):
        for entry, clip in clips.items():
            assert torch.equal(sounds.hear(entry, clip, RATE, 400), hear(clip, RATE, 400))
    names = [clip.name for clip in clips.values()]
    assert decoded == names + names[kept:]


def test_a_model_that_needs_more_than_is_kept_is_told_why(clips: dict[str, Clip]) -> None:
    sounds = Sounds()
    sounds.hear("0", clips["0"], RATE, 400)
    with pytest.raises(UnreadableError, match="too short: 4000 samples"):
        sounds.hear("0", clips["0"], RATE, SAMPLES + 1)


def test_lengths_are_what_headers_promise_and_read_once(
    clips: dict[str, Clip], monkeypatch: pytest.MonkeyPatch
) -> None:
    sounds = Sounds(most_bytes=0)
    expected = dict.fromkeys(clips, SAMPLES)
    assert sounds.lengths(clips, RATE) == expected

    def refuse(*_: object, **__: object) -> int:
        raise AssertionError("read again")

    monkeypatch.setattr(module, "promised_samples", refuse)
    assert sounds.lengths(clips, RATE) == expected
