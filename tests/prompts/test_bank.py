"""Prompts of known noises for one that nobody knows."""

from itertools import pairwise
from math import log
from pathlib import Path

import pytest
import soxr
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from crossfade.audio.corruption import COLOURS, Colour
from crossfade.audio.mixing import mix
from crossfade.errors import InputError
from crossfade.prompts import PromptBank, PromptConfig, SoftPrompts
from crossfade.prompts.bank import noise_of, noise_profile

RATE = 16000


def speech(seed: int, seconds: float = 1.0) -> Tensor:
    """A buzz that comes and goes, as syllables do."""
    time = torch.arange(round(seconds * RATE)) / RATE
    pitch = 90 + 20 * seed
    buzz = sum(torch.sin(2 * torch.pi * pitch * harmonic * time) / harmonic for harmonic in range(1, 20))
    return torch.as_tensor(0.1 * buzz * (torch.sin(2 * torch.pi * (3 + seed % 2) * time) > 0.2))


def noisy(colour: Colour, seed: int, snr: float) -> Tensor:
    clip = speech(seed)
    return mix(clip, COLOURS[colour](len(clip), RATE, torch.Generator().manual_seed(seed)), snr)


def prompts(number: int, profile: Tensor | None, **changes: object) -> SoftPrompts:
    noise = None if profile is None else noise_of(f"noise {number}", [profile])
    fitting = {"base_model_name_or_path": "x", "family": "hubert", "count": 2, "width": 4, "noise": noise}
    return SoftPrompts(PromptConfig.model_validate(fitting | changes), seed=number)


@pytest.fixture(scope="module")
def bank() -> PromptBank:
    """White and pink noise at 10 dB, learned from clips 0 to 3."""
    profiles = {
        colour: torch.stack([noise_profile(noisy(colour, seed, 10.0), RATE) for seed in range(4)]).mean(0)
        for colour in COLOURS
    }
    return PromptBank(tuple(prompts(number, profile) for number, profile in enumerate(profiles.values())))


def test_a_profile_tells_noise_from_noise(bank: PromptBank) -> None:
    for number, colour in enumerate(COLOURS):
        for seed in (11, 12):
            for snr in (5.0, 10.0):
                profile = noise_profile(noisy(colour, seed, snr), RATE)
                assert torch.equal(bank.nearest(profile), bank.prompts[number].vectors)
                assert float(bank.weights(profile)[number]) > 0.5


def test_a_profile_knows_the_level_under_speech_not_the_recording(bank: PromptBank) -> None:
    levels = [float(noise_profile(noisy("pink", 3, snr), RATE).mean()) for snr in (30.0, 20.0, 10.0, 0.0)]
    assert all(louder - quieter > 0.5 for quieter, louder in pairwise(levels))
    assert levels[1] - levels[0] == pytest.approx(log(10), abs=0.3)  # while most of the energy is still speech
    clip = noisy("pink", 5, 5.0)
    torch.testing.assert_close(noise_profile(7 * clip, RATE), noise_profile(clip, RATE), atol=1e-3, rtol=0)
    assert noise_profile(clip, RATE).shape == (80,)


def test_a_profile_at_another_rate() -> None:
    clip = noisy("pink", 5, 5.0)
    up = torch.from_numpy(soxr.resample(clip.numpy(), RATE, 48000, quality="HQ"))
    gap = noise_profile(up, 48000) - noise_profile(clip, RATE)
    assert float(gap[:78].abs().max()) < 0.1  # above are the edges of two resampling filters
    with pytest.raises(InputError, match="noise profile: 399 samples at 16000 Hz; expected 25 ms or more"):
        noise_profile(torch.ones(399), RATE)


@given(seed=st.integers(0, 999), near=st.floats(0.0, 1.0))
def test_weights_go_from_the_nearest_to_the_average(seed: int, near: float) -> None:
    random = torch.Generator().manual_seed(seed)
    profiles = torch.randn(3, 80, generator=random)
    bank = PromptBank(tuple(prompts(number, profile) for number, profile in enumerate(profiles)))
    heard = torch.lerp(profiles[0], profiles[1], near)
    weights = bank.weights(heard)
    assert float(weights.sum()) == pytest.approx(1.0)
    assert weights.argsort().tolist() == bank.distances(heard).argsort(descending=True).tolist() or near == 0.5
    torch.testing.assert_close(bank.weighted(profiles[2], 0.01), bank.nearest(profiles[2]))
    torch.testing.assert_close(bank.weighted(heard, 1e4), bank.averaged(), atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(bank.averaged(), sum(one.vectors.detach() for one in bank.prompts) / 3)


def test_a_distance_is_in_nepers(bank: PromptBank) -> None:
    known = torch.tensor(bank.noises[0].profile)
    assert bank.distances(known + 2.0)[0] == pytest.approx(2.0, rel=1e-5)
    with pytest.raises(InputError, match="temperature: expected a number above 0, received 0"):
        bank.weights(known, 0.0)


def test_a_folder_gives_back_the_bank(bank: PromptBank, tmp_path: Path) -> None:
    bank.save_pretrained(tmp_path / "bank")
    found = PromptBank.from_pretrained(tmp_path / "bank")
    assert torch.equal(found.vectors, bank.vectors)
    assert found.noises == bank.noises
    with pytest.raises(InputError, match="already exists"):
        bank.save_pretrained(tmp_path / "bank")
    PromptBank(bank.prompts[:1]).save_pretrained(tmp_path / "bank", overwrite=True)
    assert len(PromptBank.from_pretrained(tmp_path / "bank").prompts) == 1
    with pytest.raises(InputError, match="no folders of prompts; expected what `crossfade prompt-tune bank` writes"):
        PromptBank.from_pretrained(tmp_path)


def test_prompts_that_make_no_bank() -> None:
    profile = torch.zeros(80)
    for others, line in (
        ((), "bank: no prompts; expected at least one"),
        (
            (prompts(0, profile), prompts(1, None)),
            "bank: prompts 2: tuned under no noise; expected prompts of a recipe",
        ),
        (
            (prompts(0, profile), prompts(1, profile, count=3)),
            "bank: prompts 2 has count 3, prompts 1 2; expected the same",
        ),
        (
            (prompts(0, profile), prompts(1, profile, place="before")),
            "prompts 2 has place before, prompts 1 after",
        ),
        ((prompts(0, profile), prompts(1, profile, base_sha256="ab")), "prompts 2 is for .*; expected prompts of one"),
        ((prompts(0, profile), prompts(0, profile)), "prompts 2 holds the same vectors as prompts 1; leave one out"),
    ):
        with pytest.raises(InputError, match=line):
            PromptBank(others)
