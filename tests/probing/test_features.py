"""Features of clips: exact, computed once, and every clip accounted for."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from math import inf, nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from crossfade.audio.decode import encoded, read_audio
from crossfade.audio.mixing import Mix, mix
from crossfade.audio.sources import AudioFile
from crossfade.errors import InputError
from crossfade.probing import clips as clips_module
from crossfade.probing import features as module
from crossfade.probing import sounds as sounds_module
from crossfade.probing.cache import Cache
from crossfade.probing.clips import hash_files
from crossfade.probing.features import Clip, extract
from crossfade.probing.upstreams import Upstream, open_upstream

RATE = 16000


@pytest.fixture(scope="module")
def hubert(tmp_path_factory: pytest.TempPathFactory) -> Upstream:
    return open_upstream(str(tiny.folder(tmp_path_factory.mktemp("features") / "hubert", "hubert", 1)))


@pytest.fixture
def clips(tmp_path: Path) -> Callable[..., list[Clip]]:
    """Writes a WAV of each length in samples, all different."""

    def write(*lengths: int) -> list[Clip]:
        made = []
        for number, length in enumerate(lengths):
            path = tmp_path / "audio" / f"{number}.wav"
            path.parent.mkdir(exist_ok=True)
            soundfile.write(path, 0.1 * tiny.waveform(number, 1, length)[0].numpy(), RATE, subtype="FLOAT")
            made.append(Clip(AudioFile(path.name, path)))
        return made

    return write


def upstream_of(listen: Callable[[Sequence[Tensor]], list[Tensor]], **changes: Any) -> Upstream:
    """One layer of one frame a sample, unless `changes` say otherwise."""
    facts: dict[str, Any] = {
        "name": "made", "key": "c" * 32, "revision": None, "sha256": None, "rate": RATE, "layers": 1, "width": 1,
        "parameters": 0, "frames_per_second": float(RATE), "minimum_samples": 1,
    }  # fmt: skip
    return Upstream(**(facts | changes), listen=listen)


def waves(heard: Sequence[Tensor]) -> list[Tensor]:
    return [clip[None, :, None] for clip in heard]


class Counting:
    """An upstream's ear that remembers what it heard and may break."""

    def __init__(self, upstream: Upstream, breaks_after: float = inf) -> None:
        self.inner, self.breaks_after = upstream.listen, breaks_after
        self.batches: list[list[int]] = []

    def __call__(self, heard: Sequence[Tensor]) -> list[Tensor]:
        if len(self.batches) >= self.breaks_after:
            raise KeyboardInterrupt
        self.batches.append([len(clip) for clip in heard])
        return self.inner(heard)


def counting(upstream: Upstream, breaks_after: float = inf) -> tuple[Upstream, Counting]:
    ear = Counting(upstream, breaks_after)
    facts = {name: getattr(upstream, name) for name in Upstream.__dataclass_fields__}
    return Upstream(**(facts | {"listen": ear})), ear


# Exactness ----------------------------------------------------------------------------------------------------------


def test_means_and_frames_are_those_of_each_clip_alone(hubert: Upstream, clips, tmp_path: Path) -> None:
    asked = clips(3000, 400, 12345, 801, 3000, 40)
    cache = Cache(tmp_path / "cache")
    means, frames = (extract(hubert, asked, pool=pool, cache=cache) for pool in ("mean", "frames"))
    assert means.means.shape == (6, hubert.layers, hubert.width)
    for index, clip in enumerate(asked):
        (alone,) = hubert.features([read_audio(clip.audio, RATE)])
        torch.testing.assert_close(means.means[index], alone.mean(1), atol=1e-5, rtol=0)
        assert frames.frames(index).shape == alone.shape
        torch.testing.assert_close(frames.frames(index).float(), alone, atol=4e-3, rtol=1e-3)
    assert frames.means.shape == (0, hubert.layers, hubert.width)
    assert (means.computed, means.cached, dict(means.skipped)) == (6, 0, {})
    assert means.bytes_per_clip == 4 * hubert.layers * hubert.width
    assert frames.bytes_per_clip == 2 * hubert.layers * hubert.width * (75 + 10 + 308 + 20 + 75 + 1) / 6


@settings(max_examples=10)
@given(lengths=st.lists(st.integers(1, 4000), min_size=1, max_size=8), budget=st.integers(1, 9000))
def test_a_mean_is_that_of_the_frames(lengths: list[int], budget: int, tmp_path_factory) -> None:
    folder = tmp_path_factory.mktemp("means")
    asked, expected = [], []
    for number, length in enumerate(lengths):
        sound = 0.3 * torch.randn(length, generator=torch.Generator().manual_seed(number)) + 0.5
        soundfile.write(folder / f"{number}.wav", sound.numpy(), RATE, subtype="FLOAT")
        asked.append(Clip(AudioFile(str(number), folder / f"{number}.wav")))
        expected.append(sound.double().mean().float())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BATCH_SECONDS", {"cpu": budget / RATE})
        found = extract(upstream_of(waves), asked, pool="mean", cache=Cache(folder / "cache"))
    torch.testing.assert_close(found.means[:, 0, 0], torch.stack(expected), atol=1e-6, rtol=0)


def test_the_order_of_clips_does_not_matter(hubert: Upstream, clips, tmp_path: Path) -> None:
    asked = clips(3000, 400, 12345, 801)
    one = extract(hubert, asked, pool="mean", cache=Cache(tmp_path / "a")).means
    back = extract(hubert, asked[::-1], pool="mean", cache=Cache(tmp_path / "b")).means
    torch.testing.assert_close(one, back.flip(0), atol=1e-5, rtol=0)


def test_stretches_and_rates(clips, tmp_path: Path) -> None:
    (whole,) = clips(8000)
    asked = [whole, Clip(whole.audio, 0.1, 0.25), Clip(whole.audio, 0.3), Clip(whole.audio, 0.45, 9.0)]
    cache = Cache(tmp_path / "cache")
    found = extract(upstream_of(waves), asked, pool="frames", cache=cache)
    samples = read_audio(whole.audio, RATE)
    for index, (start, stop) in enumerate([(0, 8000), (1600, 5600), (4800, 8000), (7200, 8000)]):
        torch.testing.assert_close(found.frames(index)[0, :, 0].float(), samples[start:stop], atol=1e-3, rtol=1e-3)
    slow = extract(upstream_of(waves, rate=8000), asked[:1], pool="frames", cache=cache)
    assert slow.frames(0).shape == (1, 4000, 1)
    assert slow.computed == 1


def test_clips_over_backgrounds(clips, tmp_path: Path) -> None:
    speech, music = clips(4000, 3000)
    mixes = [Mix(music.audio, 0.05, snr) for snr in (20.0, 0.0)]
    asked = [speech, *(Clip(speech.audio, mix=over) for over in mixes)]
    cache = Cache(tmp_path / "cache")
    found = extract(upstream_of(waves), asked, pool="frames", cache=cache)
    clean, sound = read_audio(speech.audio, RATE), read_audio(music.audio, RATE)
    for index, over in enumerate(mixes, 1):
        expected = mix(clean, torch.cat([sound[800:], sound]), over.snr)
        torch.testing.assert_close(found.frames(index)[0, :, 0].float(), expected, atol=1e-3, rtol=1e-3)
    assert extract(upstream_of(waves), asked, pool="frames", cache=cache).cached == 3
    moved = [Clip(speech.audio, mix=Mix(music.audio, 0.06, 0.0))]
    assert extract(upstream_of(waves), moved, pool="frames", cache=cache).computed == 1


# Once ---------------------------------------------------------------------------------------------------------------


def test_nothing_is_decoded_twice(hubert: Upstream, clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = clips(3000, 400, 1200)
    renamed = [Clip(AudioFile(f"copy of {clip.audio.name}", clip.audio.content.read_bytes)) for clip in asked]
    first = extract(hubert, asked, pool="mean", cache=Cache(tmp_path / "cache"))

    def refuse(*_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(sounds_module, "hear", refuse)
    for again in (asked, renamed):
        found = extract(hubert, again, pool="mean", cache=Cache(tmp_path / "cache"))
        assert torch.equal(found.means, first.means)
        assert (found.computed, found.cached) == (0, 3)


def test_files_are_hashed_again_only_if_they_changed(clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [clip.audio for clip in clips(1000, 2000)]
    row = AudioFile("row", lambda: b"sound")
    before, read = hash_files([*files, row]), list[str]()
    monkeypatch.setattr(clips_module, "encoded", lambda file: (read.append(file.name), encoded(file))[1])
    assert hash_files([*files, AudioFile(files[0].name, files[0].content), row]) == before
    assert read == []
    clips(1000, 3000)
    changed = hash_files(files)
    assert changed == {files[0]: before[files[0]], files[1]: changed[files[1]]}
    assert changed[files[1]] != before[files[1]]
    assert sorted(read) == ["0.wav", "1.wav"]
    (tmp_path / "audio" / "1.wav").unlink()
    assert str(hash_files(files)[files[1]]) == "cannot be opened: No such file or directory"


def test_the_same_sound_is_heard_once(hubert: Upstream, clips, tmp_path: Path) -> None:
    asked = clips(3000, 400)
    upstream, ear = counting(hubert)
    found = extract(upstream, asked * 3, pool="mean", cache=Cache(tmp_path / "cache"))
    assert sorted(chain(*ear.batches)) == [400, 3000]
    assert (found.computed, found.cached) == (6, 0)
    assert torch.equal(found.means[:2], found.means[4:])


def test_other_upstreams_and_pools_are_other_entries(hubert: Upstream, clips, tmp_path: Path) -> None:
    asked, cache = clips(3000, 400), Cache(tmp_path / "cache")
    for upstream in (hubert, open_upstream("logmel"), open_upstream("fbank")):
        for pool in ("mean", "frames"):
            found = extract(upstream, asked[:1], pool=pool, cache=cache)
            assert (found.computed, found.cached) == (1, 0)
            assert extract(upstream, asked[:1], pool=pool, cache=cache).cached == 1


def test_a_run_that_was_interrupted_goes_on(
    hubert: Upstream, clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH_SECONDS", {"cpu": 0.01})
    asked = clips(*range(500, 1500, 100))
    threads = torch.get_num_threads()
    upstream, _ = counting(hubert, breaks_after=6)
    with pytest.raises(KeyboardInterrupt):
        extract(upstream, asked, pool="mean", cache=Cache(tmp_path / "cache"))
    assert torch.get_num_threads() == threads
    found = extract(hubert, asked, pool="mean", cache=Cache(tmp_path / "cache"))
    assert found.cached >= 4
    assert found.computed == 10 - found.cached
    fresh = extract(hubert, asked, pool="mean", cache=Cache(tmp_path / "other"))
    torch.testing.assert_close(found.means, fresh.means, atol=1e-6, rtol=0)


def test_damaged_entries_are_computed_again(hubert: Upstream, clips, tmp_path: Path) -> None:
    asked, folder = clips(3000, 400, 800), tmp_path / "cache"
    first = extract(hubert, asked, pool="mean", cache=Cache(folder))
    (shard,) = folder.glob("*/*")
    content = bytearray(shard.read_bytes())
    content[-3] ^= 64
    shard.write_bytes(content)
    found = extract(hubert, asked, pool="mean", cache=Cache(folder))
    assert (found.computed, found.cached, found.damaged) == (1, 2, 1)
    torch.testing.assert_close(found.means, first.means, atol=1e-6, rtol=0)
    for path in folder.glob("*/*"):
        path.write_bytes(path.read_bytes()[:-8])
    found = extract(hubert, asked, pool="mean", cache=Cache(folder))
    assert (found.computed, found.cached, found.damaged) == (3, 0, 2)
    torch.testing.assert_close(found.means, first.means, atol=1e-6, rtol=0)


def test_a_limit_holds_and_takes_what_is_no_longer_used(hubert: Upstream, clips, tmp_path: Path) -> None:
    asked, folder, logmel = clips(3000, 4000, 8000), tmp_path / "cache", open_upstream("logmel")
    enough = 200_000
    for _ in range(2):
        found = extract(hubert, asked, pool="frames", cache=Cache(folder, enough))
        assert [found.frames(index).shape[1] for index in range(3)] == [75, 100, 200]
    (kept,) = folder.glob("*/*")
    cache = Cache(folder, kept.stat().st_size + 1000)
    extract(hubert, asked, pool="frames", cache=cache)
    with pytest.raises(InputError, match=r"needs about .* MB of features, the limit is"):
        extract(logmel, asked, pool="frames", cache=cache)
    assert list(folder.glob("*/*")) == [kept]
    cache.used.clear()
    extract(logmel, asked, pool="frames", cache=cache)
    (other,) = folder.glob("*/*")
    assert other.parent.name == logmel.key


@pytest.mark.parametrize(("pool", "need"), [("mean", 3 * 80 * 4), ("frames", 94 * 80 * 2)])
def test_features_that_do_not_fit_are_refused_before_a_clip_is_heard(pool: Any, need: int, clips, tmp_path) -> None:
    upstream, ear = counting(open_upstream("logmel"))
    asked, folder = clips(3000, 4000, 8000), tmp_path / "cache"
    with pytest.raises(InputError, match=rf"cache size: .* about {need / 1e6:.3g} MB of features, .*; raise it"):
        extract(upstream, [*asked, *asked], pool=pool, cache=Cache(folder, need - 1))
    assert (ear.batches, folder.exists()) == ([], False)
    assert extract(upstream, asked, pool=pool, cache=Cache(folder, need)).computed == 3


# Batches ------------------------------------------------------------------------------------------------------------


def test_batches_hold_clips_of_nearly_one_length(
    hubert: Upstream, clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH_SECONDS", {"cpu": 8000 / RATE})
    lengths = torch.randint(400, 5000, (60,), generator=torch.Generator().manual_seed(0)).tolist()
    upstream, ear = counting(hubert)
    extract(upstream, clips(*lengths), pool="mean", cache=Cache(tmp_path / "cache"))
    assert sorted(chain(*ear.batches)) == sorted(lengths)
    padded = [max(batch) * len(batch) for batch in ear.batches]
    assert all(len(batch) == 1 or size <= 8000 for batch, size in zip(ear.batches, padded, strict=True))
    assert sum(padded) < 1.1 * sum(lengths)


class Watching:
    """A progress that remembers."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, float | None, float]] = []

    def track(
        self, iterable: Iterable[Any], *, total: float | None = None, description: str = "", count: Any = None
    ) -> Iterator[Any]:
        done = 0.0
        for item in iterable:
            done += count(item)
            yield item
        self.seen.append((description, total, done))


def test_progress_counts_clips(hubert: Upstream, clips, tmp_path: Path) -> None:
    asked, progress = clips(3000, 400, 800), Watching()
    extract(hubert, asked[:1], pool="mean", cache=Cache(tmp_path / "cache"), progress=progress)
    extract(hubert, asked, pool="mean", cache=Cache(tmp_path / "cache"), progress=progress)
    assert progress.seen == [(f"Features of {hubert.name}", 1, 1.0), (f"Features of {hubert.name}", 2, 2.0)]


# Clips that cannot be heard -----------------------------------------------------------------------------------------


REASONS = {
    0: "cannot be opened: No such file or directory",
    1: "silent: RMS 0.0e+00",
    3: "too short: 39 samples at 16000 Hz, at least 40 needed",
    4: "non-finite: NaN or Inf samples",
    5: "unreadable: not a known audio format",
    6: "empty: no bytes",
    7: "too short: 2 samples",
}


def test_every_clip_that_is_not_heard_is_named(hubert: Upstream, clips, tmp_path: Path) -> None:
    (good,) = clips(3000)

    def wave(name: str, samples: np.ndarray) -> Clip:
        soundfile.write(tmp_path / name, samples, RATE, subtype="FLOAT")
        return Clip(AudioFile(name, tmp_path / name))

    (tmp_path / "text.wav").write_text("not sound")
    (tmp_path / "empty.wav").write_bytes(b"")
    asked = [
        Clip(AudioFile("missing.wav", tmp_path / "missing.wav")),
        wave("silent.wav", np.zeros(4000)),
        good,
        wave("short.wav", np.full(39, 0.5)),
        wave("nan.wav", np.where(np.arange(900) == 7, nan, 0.1)),
        Clip(AudioFile("text.wav", tmp_path / "text.wav")),
        Clip(AudioFile("empty.wav", tmp_path / "empty.wav")),
        Clip(good.audio, start=0.1874),
    ]
    for _ in range(2):
        found = extract(hubert, asked, pool="mean", cache=Cache(tmp_path / "cache"))
        assert list(found.skipped) == [0, 1, 3, 4, 5, 6, 7]
        for index, reason in REASONS.items():
            assert found.skipped[index].startswith(reason)
        assert found.means[2].abs().sum() > 0
        assert torch.equal(found.means[list(found.skipped)], torch.zeros(7, hubert.layers, hubert.width))
    assert (found.computed, found.cached) == (0, 1)
    frames = extract(hubert, asked, pool="frames", cache=Cache(tmp_path / "cache"))
    assert frames.frames(2).shape[1] == 75
    with pytest.raises(KeyError, match="no frames of clip 1: silent: RMS"):
        frames.frames(1)
    with pytest.raises(KeyError, match="no frames of clip 2: only means were asked for"):
        found.frames(2)
    with pytest.raises(InputError, match=r"no usable audio, all 2 clips were skipped; first: missing\.wav"):
        extract(hubert, asked[:2], pool="mean", cache=Cache(tmp_path / "cache"))
    with pytest.raises(InputError, match="no usable audio, all 0 clips were skipped"):
        extract(hubert, [], pool="mean", cache=Cache(tmp_path / "cache"))


@pytest.mark.parametrize(("value", "pool"), [(nan, "mean"), (inf, "frames"), (nan, "frames")])
def test_features_that_are_not_finite(value: float, pool: Any, clips, tmp_path: Path) -> None:
    def broken(heard: Sequence[Tensor]) -> list[Tensor]:
        spoilt = [torch.where(torch.arange(len(clip)) == 5, value, clip) for clip in heard]
        return [torch.stack([clip, bad])[..., None] for clip, bad in zip(heard, spoilt, strict=True)]

    says = r"made: features of 0\.wav from 0\.01 s are NaN or Inf from layer 1 on; check its weights"
    asked = [Clip(clip.audio, start=0.01) for clip in clips(500)]
    with pytest.raises(InputError, match=says):
        extract(upstream_of(broken, layers=2), asked, pool=pool, cache=Cache(tmp_path / "cache"))
    with pytest.raises(InputError, match="from layer 1 on; compute in float32"):
        extract(upstream_of(broken, precision="bfloat16"), asked, pool=pool, cache=Cache(tmp_path / "cache"))


def test_frames_that_half_precision_cannot_hold(clips, tmp_path: Path) -> None:
    def loud(heard: Sequence[Tensor]) -> list[Tensor]:
        return [torch.full((1, len(clip), 1), 7e4) for clip in heard]

    says = r"made: features of 0\.wav reach 7e\+04, more than half precision, in which frames are kept, can hold"
    with pytest.raises(InputError, match=says):
        extract(upstream_of(loud), clips(500), pool="frames", cache=Cache(tmp_path / "cache"))
    assert extract(upstream_of(loud), clips(500), pool="mean", cache=Cache(tmp_path / "cache")).means.item() == 7e4


def test_a_background_that_cannot_be_used(clips, tmp_path: Path) -> None:
    speech, music = clips(4000, 3000)
    soundfile.write(tmp_path / "hush.wav", np.zeros(9000), RATE)
    hush, gone = AudioFile("hush.wav", tmp_path / "hush.wav"), AudioFile("gone.wav", tmp_path / "gone.wav")
    cache = Cache(tmp_path / "cache")
    with pytest.raises(InputError, match=r"hush\.wav: silent for 0\.25 s from 0\.1 s on, so it has no level; leave it"):
        extract(upstream_of(waves), [Clip(speech.audio, mix=Mix(hush, 0.1, 5.0))], pool="mean", cache=cache)
    with pytest.raises(InputError, match=r"gone\.wav: cannot be opened: No such file or directory; leave it out of"):
        extract(upstream_of(waves), [music, Clip(speech.audio, mix=Mix(gone, 0.0, 5.0))], pool="mean", cache=cache)
