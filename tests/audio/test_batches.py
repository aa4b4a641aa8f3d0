import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from crossfade.audio import batches as module
from crossfade.audio.batches import Audio, Batch, Skipped, windows
from crossfade.errors import InputError

Write = Callable[..., Path]


def noise(seconds: float, rate: int = 16000, seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, round(seconds * rate))


def drawn(audio: Audio, seconds_per_batch: float = 20.0) -> list[str]:
    return [name for batch in audio.batches(seconds_per_batch) for name in batch.names]


def shares(audio: Audio) -> list[int]:
    counts = sum(torch.bincount(batch.source, minlength=len(audio.sources)) for batch in audio.batches())
    return counts.tolist() if isinstance(counts, torch.Tensor) else []


def same(one: list[Batch], other: list[Batch]) -> bool:
    return len(one) == len(other) and all(
        a.names == b.names and torch.equal(a.samples, b.samples) and torch.equal(a.source, b.source)
        for a, b in zip(one, other, strict=True)
    )


@pytest.fixture
def corpus(write: Write) -> list[Path]:
    """Six clips of speech at 16 kHz (0.5 to 1 s), and music at 44.1 kHz: 12.2 s, 4 s, 3.4 s and 1 s."""
    for index in range(6):
        write(f"speech/{index}.wav", noise(0.5 + index / 10, seed=index))
    for index, seconds in enumerate((12.2, 4.0, 3.4, 1.0)):
        write(f"music/{index}.flac", noise(seconds, 44100, seed=9 + index), 44100)
    folder = write("extra.wav", noise(1)).parent
    return [folder / "speech", folder / "music"]


# Windows


@given(st.integers(1, 10**7), st.integers(1, 10**6))
def test_windows_cover_all_but_a_short_tail(samples: int, window: int) -> None:
    cuts = windows(samples, max(window, samples // 1000))
    window = max(window, samples // 1000)
    assert [start for start, _ in cuts] == [index * window for index in range(len(cuts))]  # no overlap, no gap
    assert all(length == window for _, length in cuts[:-1])
    assert 0 < cuts[-1][1] <= window
    lost = samples - sum(length for _, length in cuts)
    assert 0 <= 2 * lost < window
    assert samples > window or cuts == [(0, samples)]
    assert len(cuts) == 1 or 2 * cuts[-1][1] >= window


@pytest.mark.parametrize(
    ("samples", "cuts"),
    [
        (3, [(0, 3)]),
        (10, [(0, 10)]),
        (14, [(0, 10)]),
        (15, [(0, 10), (10, 5)]),
        (20, [(0, 10), (10, 10)]),
        (29, [(0, 10), (10, 10), (20, 9)]),
    ],
)
def test_windows(samples: int, cuts: list[tuple[int, int]]) -> None:
    assert windows(samples, 10) == cuts


# What is drawn


def test_everything_comes_exactly_once(corpus: list[Path]) -> None:
    audio = Audio(corpus, rate=16000, seconds=2.0)
    expected = [str(corpus[0] / f"{index}.wav") for index in range(6)]
    # 12.2 s: six windows, the tail of 0.2 s dropped; 4 s: two; 3.4 s: one and a tail of 1.4 s; 1 s: whole
    for index, starts in enumerate(((0, 2, 4, 6, 8, 10), (0, 2), (0, 2), (0,))):
        name = str(corpus[1] / f"{index}.flac")
        expected += [f"{name} from {start} s" if start else name for start in starts]
    assert sorted(drawn(audio)) == sorted(expected)
    assert len(audio) == 17
    assert audio.total_seconds == pytest.approx(4.5 + 12 + 4 + 3.4 + 1, abs=1e-3)
    assert audio.skipped == []
    assert repr(audio) == "Audio(17 clips, 24.9 s at 16000 Hz, 2 sources)"


def test_samples_are_the_named_stretch(write: Write) -> None:
    sound = noise(5.0)
    path = write("a.wav", sound, subtype="FLOAT")
    for batch in Audio(path, rate=16000, seconds=2.0).batches(2.0):
        (name,) = batch.names
        start = round(float(name.split(" from ")[1].removesuffix(" s")) * 16000) if " from " in name else 0
        expected = torch.from_numpy(sound[start : start + 32000]).float()
        torch.testing.assert_close(batch.samples[0], expected)


def test_batches_hold_equal_lengths_up_to_their_size(corpus: list[Path]) -> None:
    audio = Audio(corpus, rate=16000, seconds=1.0)
    sizes = Counter()
    for batch in audio.batches(4.0):
        assert batch.samples.dtype == torch.float32
        assert batch.source.dtype == torch.int64
        assert len(batch.samples) == len(batch.source) == len(batch.names)
        assert batch.samples.numel() <= 4 * 16000
        sizes[batch.samples.shape[1]] += len(batch.samples)
    # 1 s of speech and 12 + 4 + 3 + 1 of music fill whole windows; the shorter speech is left as it is
    assert sizes == {16000: 21, 8000: 1, 9600: 1, 11200: 1, 12800: 1, 14400: 1}
    assert [len(batch.samples) for batch in audio.batches(0.1)] == [1] * 26  # never less than one clip


def test_sources_share_equally_and_are_mixed(corpus: list[Path]) -> None:
    audio = Audio(corpus, rate=16000, clips=10, seconds=1.0)
    assert len(audio) == 10
    assert shares(audio) == [5, 5]
    assert shares(Audio(corpus, rate=16000, clips=18, seconds=1.0)) == [6, 12]  # speech runs out
    assert shares(Audio(corpus, rate=16000, clips=500, seconds=1.0)) == [6, 20]
    assert sorted(shares(Audio(corpus, rate=16000, clips=7, seconds=1.0))) == [3, 4]
    mixed = [batch.source for batch in Audio(corpus[1:] * 2, rate=16000, clips=32, seconds=1.0).batches(8.0)]
    assert all(0 < source.sum() < 8 for source in mixed)


def test_different_files_come_before_further_windows(corpus: list[Path]) -> None:
    for seed in range(5):
        names = drawn(Audio(corpus[1], rate=16000, clips=4, seconds=1.0, seed=seed))
        assert sorted(Path(name.split(" from ")[0]).stem for name in names) == ["0", "1", "2", "3"]
    starts = {name for seed in range(20) for name in drawn(Audio(corpus[1] / "0.flac", rate=16000, clips=1, seed=seed))}
    assert len(starts) == 2  # windows of 5 s: any of the two


def test_few_clips_do_not_always_come_from_the_first_sources(corpus: list[Path]) -> None:
    files = sorted(corpus[0].iterdir())
    assert len({drawn(Audio(files, rate=16000, clips=1, seed=seed))[0] for seed in range(20)}) > 3


def test_a_seed_decides_everything(corpus: list[Path]) -> None:
    first = Audio(corpus, rate=16000, clips=12, seconds=1.0, seed=3)
    again = Audio(corpus, rate=16000, clips=12, seconds=1.0, seed=3)
    assert same(list(first.batches()), list(again.batches()))
    assert same(list(first.batches()), list(again.batches()))
    assert drawn(first) != drawn(Audio(corpus, rate=16000, clips=12, seconds=1.0, seed=4))
    # Written down: the draw must not depend on the machine, the folder or the version of anything.
    assert ", ".join(Path(name).name.removesuffix(" s") for name in drawn(first)) == (
        "0.flac from 10, 1.flac from 3, 5.wav, 1.flac from 1, 3.flac, 2.flac from 2, 2.flac from 1, 4.wav, 0.wav, "
        "3.wav, 1.wav, 2.wav"
    )


# What is skipped


@pytest.fixture
def faulty(write: Write, tmp_path: Path) -> Path:
    """Two good files among everything that can be wrong."""
    flac = write("all/cut.flac", noise(2.0)).read_bytes()
    (tmp_path / "all/cut.flac").write_bytes(flac[: len(flac) // 2])
    (tmp_path / "all/empty.wav").write_bytes(b"")
    (tmp_path / "all/junk.wav").write_bytes(b"not sound" * 99)
    write("all/good.wav", noise(1.0))
    write("all/fine.wav", noise(1.0, seed=1))
    write("all/nothing.wav", np.zeros(0))
    write("all/short.wav", noise(0.02))
    write("all/silent.wav", np.zeros(16000))
    write("all/quiet.wav", noise(1.0) * 1e-4, subtype="FLOAT")
    for name, value in (("nan", np.nan), ("inf", np.inf)):
        sound = noise(1.0, 8000)
        sound[100] = value
        write(f"all/{name}.wav", sound, 8000, "FLOAT")
    return tmp_path / "all"


def test_faults_are_skipped_with_their_reason(faulty: Path) -> None:
    audio = Audio(faulty, rate=16000)
    for _ in range(2):  # a second pass reports the same, not twice as much
        assert sorted(Path(name).stem for name in drawn(audio)) == ["fine", "good"]
        reasons = {Path(skip.name).stem: skip.reason for skip in audio.skipped}
        assert len(audio.skipped) == 9
        assert reasons == {
            "cut": "broken: Error : flac decoder lost sync.",
            "empty": "empty: no bytes",
            "inf": "non-finite: NaN or Inf samples",
            "junk": "unreadable: not a known audio format",
            "nan": "non-finite: NaN or Inf samples",
            "nothing": "too short: 0 samples at 16000 Hz, at least 400 needed",
            "quiet": "silent: RMS 2.9e-05",
            "short": "too short: 320 samples at 16000 Hz, at least 400 needed",
            "silent": "silent: RMS 0.0e+00",
        }


@pytest.mark.parametrize("seed", range(6))
def test_skipped_clips_are_replaced(faulty: Path, seed: int) -> None:
    assert sorted(Path(name).stem for name in drawn(Audio(faulty, rate=16000, clips=2, seed=seed))) == ["fine", "good"]


def test_a_skipped_clip_is_replaced_from_its_own_source(write: Write, tmp_path: Path) -> None:
    for index in range(8):
        write(f"one/{index}.wav", noise(1.0, seed=index))
        write(f"two/{index}.wav", noise(1.0) * (index % 2))
    audio = Audio([tmp_path / "one", tmp_path / "two"], rate=16000, clips=8)
    assert shares(audio) == [4, 4]
    assert {skip.reason for skip in audio.skipped} == {"silent: RMS 0.0e+00"}


def test_the_true_length_rules_where_a_header_lies(write: Write, tmp_path: Path) -> None:
    for name in ("whole", "cut"):
        write(f"all/{name}.wav", noise(1.0), subtype="FLOAT")
    ogg = write("all/long.ogg", noise(4.0, 44100), 44100)
    content = ogg.read_bytes()
    last = content.rindex(b"OggS")  # the last page says where the sound ends; without it there is less than promised
    ogg.write_bytes(content[: last // 2] + content[last:])
    promised = soundfile.info(ogg).frames / 44100
    audio = Audio(tmp_path / "all", rate=16000)
    lengths = {name: batch.samples.shape[1] for batch in audio.batches() for name in batch.names}
    assert promised == pytest.approx(4.0, abs=0.01)
    assert lengths.pop(str(ogg)) < 3 * 16000
    assert set(lengths.values()) == {16000}


def test_all_skipped_is_refused(faulty: Path) -> None:
    for name in ("good.wav", "fine.wav", "cut.flac"):
        (faulty / name).unlink()
    audio = Audio(faulty, rate=16000, clips=5)
    with pytest.raises(InputError) as caught:
        drawn(audio)
    message = str(caught.value)
    assert message.startswith("no usable audio, all 8 clips were skipped (")
    for part in ("2 silent", "2 too short", "2 non-finite", "1 empty", "1 unreadable", "first: ", "; give other audio"):
        assert part in message
    assert "\n" not in message
    assert audio.skipped[0] == Skipped(audio.skipped[0].name, audio.skipped[0].reason)


def test_a_missing_file_of_a_manifest_is_skipped(write: Write, tmp_path: Path) -> None:
    write("a.wav", noise(1.0))
    (tmp_path / "m.csv").write_text("path\na.wav\ngone.wav\n")
    audio = Audio(tmp_path / "m.csv", rate=16000)
    assert drawn(audio) == [str(tmp_path / "a.wav")]
    assert audio.skipped == [Skipped(str(tmp_path / "gone.wav"), "cannot be opened: No such file or directory")]


# How it runs


def test_only_the_headers_of_what_is_drawn_are_read(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(40):
        write(f"{index}.wav", noise(0.1))
    read: list[str] = []
    seconds = module.audio_seconds
    monkeypatch.setattr(module, "audio_seconds", lambda file: (read.append(file.name), seconds(file))[1])
    audio = Audio(tmp_path, rate=16000, clips=7)
    assert read == []
    assert len(audio) == len(drawn(audio)) == 7
    assert len(read) == len(set(read)) == 7


def test_one_batch_is_decoded_ahead_and_no_more(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for index in range(12):
        write(f"{index}.wav", noise(1.0, seed=index))
    decoded: list[str] = []
    read = module.read_audio
    monkeypatch.setattr(module, "read_audio", lambda file, *rest: (decoded.append(file.name), read(file, *rest))[1])
    threads = threading.active_count()
    running = Audio(tmp_path, rate=16000).batches(2.0)
    assert decoded == []
    next(running)
    next(running)
    assert len(decoded) <= 6
    running.close()
    assert threading.active_count() == threads
    assert len(decoded) <= 6


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"clips": 0}, "clips: expected at least 1, got 0"),
        ({"seconds": 0.0}, "seconds: expected at least 0.025, got 0"),
        ({"seconds": float("nan")}, "seconds: expected at least 0.025, got nan"),
        ({"seconds": 0.02}, "seconds: expected at least 0.025, got 0.02"),
    ],
)
def test_values_out_of_range(corpus: list[Path], values: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Audio(corpus, rate=16000, **values)


def test_batch_size_out_of_range(corpus: list[Path]) -> None:
    for size in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="seconds_per_batch: expected a positive number"):
            Audio(corpus, rate=16000).batches(size)
