from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray

from crossfade.audio.decode import UnreadableError, audio_seconds, read_audio
from crossfade.audio.sources import AudioFile

Write = Callable[..., Path]


def tone(seconds: float, rate: int, hertz: float = 440.0, height: float = 0.5) -> NDArray[np.float64]:
    return height * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def noise(seconds: float, rate: int) -> NDArray[np.float64]:
    return np.random.default_rng(0).uniform(-0.5, 0.5, round(seconds * rate))


# (file, rate, subtype, largest error against the ideal sine): lossy codecs and 8 bits are allowed their own noise
FORMATS = [
    ("a.wav", 8000, "PCM_16", 1e-4),
    ("a.wav", 16000, "PCM_16", 1e-4),
    ("a.wav", 22050, "FLOAT", 1e-4),
    ("a.wav", 16000, "PCM_U8", 1e-2),
    ("a.wav", 8000, "ULAW", 2e-2),
    ("a.flac", 11025, "PCM_16", 1e-4),
    ("a.flac", 44100, "PCM_24", 1e-4),
    ("a.flac", 48000, "PCM_16", 1e-4),
    ("a.ogg", 22050, "VORBIS", 5e-2),
    ("a.ogg", 44100, "VORBIS", 5e-2),
    ("a.opus", 48000, "OPUS", 5e-2),
    ("a.mp3", 44100, "MPEG_LAYER_III", 5e-2),
    ("a.mp3", 16000, "MPEG_LAYER_III", 5e-2),
]


@pytest.mark.parametrize(("name", "native", "subtype", "tolerance"), FORMATS)
def test_a_sine_keeps_frequency_height_and_phase(
    write: Write, name: str, native: int, subtype: str, tolerance: float
) -> None:
    path = write(name, tone(2.0, native, 1000.0), native, subtype)
    samples = read_audio(path, 16000)
    assert samples.dtype == torch.float32
    assert samples.shape == (32000,)
    assert audio_seconds(path) == pytest.approx(2.0, abs=1e-4)
    inner = slice(4000, 28000)  # away from the ends, where the sine starts and stops
    ideal = torch.from_numpy(tone(2.0, 16000, 1000.0)).float()
    assert float((samples - ideal)[inner].abs().max()) < tolerance
    spectrum = torch.fft.rfft(samples[inner] * torch.hann_window(24000))
    assert int(spectrum.abs().argmax()) * 16000 / 24000 == 1000.0


@pytest.mark.parametrize(("native", "rate"), [(16000, 24000), (44100, 24000), (48000, 16000), (8000, 44100)])
def test_other_rates(write: Write, native: int, rate: int) -> None:
    samples = read_audio(write("a.wav", tone(1.5, native), native, "FLOAT"), rate)
    assert samples.shape == (round(1.5 * rate),)
    ideal = torch.from_numpy(tone(1.5, rate)).float()
    assert float((samples - ideal)[rate // 4 : -rate // 4].abs().max()) < 1e-4


def test_what_the_lower_rate_cannot_hold_is_removed(write: Write) -> None:
    samples = read_audio(write("a.wav", tone(1.0, 44100, 9000.0), 44100, "FLOAT"), 16000)
    assert float(samples[2000:-2000].abs().max()) < 1e-4


def test_channels_are_averaged(write: Write) -> None:
    left, right = tone(1.0, 16000, 300.0), tone(1.0, 16000, 700.0)
    samples = read_audio(write("a.wav", np.stack([left, right], 1), 16000, "FLOAT"), 16000)
    torch.testing.assert_close(samples, torch.from_numpy((left + right) / 2).float())


@pytest.mark.parametrize(
    ("name", "native", "subtype"),
    [
        ("a.wav", 8000, "PCM_16"),
        ("a.wav", 16000, "PCM_U8"),
        ("a.flac", 44100, "PCM_16"),
        ("a.flac", 44099, "PCM_16"),
        ("a.wav", 22050, "PCM_16"),
        ("a.ogg", 48000, "VORBIS"),
        ("a.opus", 48000, "OPUS"),
        ("a.mp3", 44100, "MPEG_LAYER_III"),
    ],
)
@pytest.mark.parametrize(("start", "seconds"), [(0.0, 1.0), (1.0, 0.5), (2.34567, 1.1), (4.9, 5.0), (3.0, None)])
def test_a_part_equals_the_slice_of_the_whole(
    write: Write, name: str, native: int, subtype: str, start: float, seconds: float | None
) -> None:
    path = write(name, noise(5.0, native), native, subtype)
    first = round(start * 16000)
    whole = read_audio(path, 16000)[first : None if seconds is None else first + round(seconds * 16000)]
    torch.testing.assert_close(read_audio(path, 16000, start, seconds), whole, rtol=0, atol=1e-6)


def test_a_part_reads_only_its_part(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("a.flac", noise(60.0, 44100), 44100)
    asked: list[int] = []
    read = soundfile.SoundFile.read
    monkeypatch.setattr(
        soundfile.SoundFile, "read", lambda self, n, **rest: (asked.append(n), read(self, n, **rest))[1]
    )
    read_audio(path, 16000, 30.0, 1.0)
    assert 44100 <= sum(asked) < 48000


def test_beyond_the_end_is_empty(write: Write) -> None:
    path = write("a.wav", noise(1.0, 44100), 44100)
    assert read_audio(path, 16000, 2.0, 1.0).shape == (0,)
    assert read_audio(write("b.wav", np.zeros(0)), 8000).shape == (0,)


def test_bytes_read_like_the_file(write: Write) -> None:
    path = write("a.flac", noise(1.0, 22050), 22050)
    inside = AudioFile("row", path.read_bytes)
    assert audio_seconds(inside) == 1.0
    assert torch.equal(read_audio(inside, 16000, 0.25, 0.5), read_audio(path, 16000, 0.25, 0.5))
    assert torch.equal(read_audio(AudioFile("row", lambda: path), 16000), read_audio(str(path), 16000))


def test_a_header_without_a_length_is_counted(write: Write) -> None:
    path = write("a.flac", noise(3.0, 16000))
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0  # the 36 bits of STREAMINFO that hold the number of samples: 0 is "unknown"
    content[22:26] = bytes(4)
    streamed = AudioFile("streamed", lambda: bytes(content))
    with soundfile.SoundFile(BytesIO(bytes(content))) as sound:
        assert sound.frames > 1 << 62
    assert audio_seconds(streamed) == 3.0
    assert torch.equal(read_audio(streamed, 16000), read_audio(path, 16000))
    assert torch.equal(read_audio(streamed, 16000, 1.0, 0.5), read_audio(path, 16000, 1.0, 0.5))


def test_reasons(write: Write, tmp_path: Path) -> None:
    flac = write("whole.flac", noise(2.0, 16000)).read_bytes()
    contents = {
        "empty.wav": b"",
        "junk.wav": b"not sound at all" * 99,
        "cut.flac": flac[: len(flac) // 2],
        "a.raw": b"12",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    for name, reason in {
        "empty.wav": "empty: no bytes",
        "junk.wav": "unreadable: not a known audio format",
        "a.raw": "unreadable: not a known audio format",
        "missing.wav": "cannot be opened: No such file or directory",
        "": "cannot be opened: Is a directory",
        "cut.flac": "broken: Error : flac decoder lost sync.",
    }.items():
        with pytest.raises(UnreadableError) as caught:
            read_audio(tmp_path / name, 16000)
        assert str(caught.value) == reason
    with pytest.raises(UnreadableError, match="empty"):
        audio_seconds(AudioFile("row", lambda: b""))
