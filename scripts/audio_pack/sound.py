"""Reading, trimming and writing the clips: 16 kHz mono, Ogg Opus, the same bytes on every run."""

import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

RATE = 16_000
PEAK = 0.7
COMPRESSION = 0.92  # libsndfile's scale: about 26 kbit/s, variable
HEADERLESS = {
    ".gsm": {"samplerate": 8000, "channels": 1, "format": "RAW", "subtype": "GSM610"},
    ".ALS": {"samplerate": 11025, "channels": 1, "format": "RAW", "subtype": "PCM_U8"},  # of the game Drascula
}

Samples = npt.NDArray[np.float32]


def read(path: Path) -> Samples:
    """A file of a package as 16 kHz mono."""
    return decode(path, **HEADERLESS.get(path.suffix, {}))


def decode(file: Path | BinaryIO, **how: object) -> Samples:
    """16 kHz mono of what `soundfile.read(file, **how)` gives."""
    samples, rate = soundfile.read(file, dtype="float32", always_2d=True, **how)
    return np.asarray(soxr.resample(samples.mean(axis=1), rate, RATE), dtype=np.float32)


def trim(samples: Samples, *, floor_db: float = -40.0, margin: float = 0.03) -> Samples:
    """Without the silence at both ends: 10 ms frames `floor_db` below the loudest; `margin` seconds of it stay."""
    frame = RATE // 100
    frames = samples[: len(samples) // frame * frame].reshape(-1, frame)
    power = (frames**2).mean(axis=1)
    loud = np.flatnonzero(power > power.max() * 10 ** (floor_db / 10))
    keep = round(margin * RATE)
    return samples[max(0, loud[0] * frame - keep) : (loud[-1] + 1) * frame + keep]


def fit(samples: Samples, longest: float, *, grid: float = 0.1, fade: float = 0.02) -> Samples:
    """As long as the next multiple of `grid` seconds, at most `longest`: cut with a linear fade, filled with silence.

    Clips of few different lengths can share batches without any padding.
    """
    step = round(grid * RATE)
    length = min(round(longest * RATE), -(-len(samples) // step) * step)
    fitted = np.zeros(length, dtype=np.float32)
    fitted[: len(samples)] = samples[:length]
    if len(samples) > length:
        ramp = round(fade * RATE)
        fitted[-ramp:] *= np.linspace(1, 0, ramp, dtype=np.float32)
    return fitted


def level(samples: Samples) -> Samples:
    """Scaled to a peak of `PEAK`, so that loudness tells nothing and the codec gets a full signal."""
    return samples * np.float32(PEAK / np.abs(samples).max())


def write(path: Path, samples: Samples) -> None:
    """Ogg Opus with a serial number taken from the name, where libsndfile would draw a random one."""
    soundfile.write(path, samples, RATE, format="OGG", subtype="OPUS", compression_level=COMPRESSION)
    path.write_bytes(_with_serial(path.read_bytes(), zlib.crc32(path.name.encode())))


def _with_serial(ogg: bytes, serial: int) -> bytes:
    pages, start = [], 0
    while start < len(ogg):
        segments = ogg[start + 26]
        end = start + 27 + segments + sum(ogg[start + 27 : start + 27 + segments])
        page = bytearray(ogg[start:end])
        page[14:18] = serial.to_bytes(4, "little")
        page[22:26] = bytes(4)
        page[22:26] = _ogg_checksum(page).to_bytes(4, "little")
        pages.append(bytes(page))
        start = end
    return b"".join(pages)


def _checksum_table() -> list[int]:
    table = []
    for byte in range(256):
        value = byte << 24
        for _ in range(8):
            value = (value << 1) ^ (0x04C11DB7 if value & 0x80000000 else 0)
        table.append(value & 0xFFFFFFFF)
    return table


_TABLE = _checksum_table()


def _ogg_checksum(page: bytearray) -> int:
    """CRC-32 as RFC 3533 has it: polynomial 0x04c11db7, most significant bit first, no inversion."""
    value = 0
    for byte in page:
        value = ((value << 8) & 0xFFFFFFFF) ^ _TABLE[(value >> 24) ^ byte]
    return value
