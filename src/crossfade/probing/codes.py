"""Frames in a byte each value: for signals that are kept of hours of sound."""

import torch
from torch import Tensor

STEPS = 255
"""Between the least and the largest value of a channel."""

HEADER = 8
"""Rows before the frames: the least value and the step of every channel, as the bytes of two float32."""


def quantise(frames: Tensor) -> Tensor:
    """Frames (layers, frames, width), float32, as bytes (layers, `HEADER` + frames, width) that describe themselves.

    Every channel of every layer is rounded to 256 even levels from its least to its largest value, so no value is
    further from its own than 1/510 of the channel's range, but for the rounding of float32.
    """
    frames = frames.float()
    least, largest = frames.amin(1), frames.amax(1)
    step = (largest - least) / STEPS
    codes = ((frames - least[:, None]) / step.where(step > 0, 1)[:, None]).round().to(torch.uint8)
    header = torch.stack([least, step], dim=1).contiguous().view(torch.uint8)
    return torch.cat([header.view(len(frames), HEADER, -1), codes], dim=1)


def split_codes(packed: Tensor) -> tuple[Tensor, Tensor]:
    """What `quantise` made as codes (layers, frames, width) and ranges (layers, 2, width) float32: least and step."""
    # A copy starts where a float32 may; bytes on disk start anywhere.
    header = packed[:, :HEADER].clone(memory_format=torch.contiguous_format).view(len(packed), 2, -1)
    return packed[:, HEADER:], header.view(torch.float32)


def dequantise(codes: Tensor, ranges: Tensor) -> Tensor:
    """Values (..., frames, width), float32, of codes and their ranges (..., 2, width)."""
    return ranges[..., :1, :] + ranges[..., 1:, :] * codes
