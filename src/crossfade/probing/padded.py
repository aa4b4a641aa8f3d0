"""Clips of unequal length in one batch, each heard as if it were alone.

Padding changes what a model of these families says in five places, and none of them is left: the scale of the waveform
(each clip is scaled by its own samples); GroupNorm after the first convolution, whose statistics run over time, and the
edges of the other convolutions (the CNN hears clips of one length together, and long ones a piece at a time); the
positional convolutions (what they read is zero past a clip's end, as it is when the clip is alone); attention (masked).
"""

from collections.abc import Callable, Sequence
from itertools import islice, takewhile
from threading import local
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d, pad
from torch.nn.utils import parametrize
from torch.nn.utils.rnn import pad_sequence

from crossfade.encoders.layout import Layout
from crossfade.encoders.sidecars import Preprocessing, normalise

PIECE_VALUES = {"cpu": 3 << 20, "cuda": 64 << 20}
"""Values that the first convolution writes at a time: a processor takes longer where it writes fresh memory, and longer
too where short clips come one by one."""


def pad_frames(clips: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
    """Clips (frames, width) as one batch (clips, longest, width), zero past their ends, and where they are heard.

    The mask (clips, longest) is True up to each clip's end; None when all are equally long.
    """
    lengths = torch.tensor([len(clip) for clip in clips], device=clips[0].device)
    padded = pad_sequence(list(clips), batch_first=True)
    if len({len(clip) for clip in clips}) == 1:
        return padded, None
    return padded, torch.arange(padded.shape[1], device=lengths.device) < lengths[:, None]


def split_layers(layers: Sequence[Tensor], clips: Sequence[Tensor]) -> list[Tensor]:
    """From batches (clips, longest, width), one a layer, to (layers, frames, width) for each of `clips`."""
    return [torch.stack([layer[index, : len(clip)] for layer in layers]) for index, clip in enumerate(clips)]


def fold_group_norm(conv: nn.Conv1d, norm: nn.GroupNorm, samples: Tensor) -> tuple[Tensor, Tensor]:
    """Weight and bias of one convolution that does to `samples` what `conv` and `norm`, a group a channel, do.

    The mean and variance over time of a channel with weights w are w'm and w'Sw, where m and S are the mean and the
    covariance of the windows that the convolution reads; so they are known before anything is convolved.
    """
    windows = samples.double().unfold(0, conv.kernel_size[0], conv.stride[0])
    mean = windows.mean(0)
    covariance = (windows - mean).T @ (windows - mean) / len(windows)
    weight = conv.weight[:, 0].double()
    variance = ((weight @ covariance) * weight).sum(1)
    scale = norm.weight.double() / (variance + norm.eps).sqrt()
    # A bias of the convolution is a part of the mean, which goes.
    bias = norm.bias.double() - scale * (weight @ mean)
    return (conv.weight * scale[:, None, None]).float(), bias.float()


def _folded(conv: nn.Conv1d, norm: nn.GroupNorm, clips: Tensor) -> Callable[[Tensor], Tensor]:
    """What does to pieces (clips, 1, samples) of `clips` (clips, samples) what `conv` and `norm` do to the whole."""
    folded = [fold_group_norm(conv, norm, clip) for clip in clips]

    def convolve(pieces: Tensor) -> Tensor:
        sounds = zip(pieces, folded, strict=True)
        return torch.stack([conv1d(piece, weight, bias, conv.stride) for piece, (weight, bias) in sounds])

    return convolve


class PaddedEncoder:
    """A transformers encoder of a family of ours that takes clips of any lengths at once; threads may share it.

    It takes over `model`: hooks are left in it, and its weight-normed convolution becomes a plain one.
    """

    def __init__(self, model: Any, layout: Layout, preprocessing: Preprocessing) -> None:
        self.model, self.layout, self.preprocessing = model, layout, preprocessing
        self._running = local()
        for module in list(self.model.encoder.pos_conv_embed.modules()):
            if isinstance(module, nn.Conv1d):
                if parametrize.is_parametrized(module, "weight"):
                    parametrize.remove_parametrizations(module, "weight")
                module.register_forward_pre_hook(self._silence)
        self.model.encoder.layers[0].register_forward_pre_hook(lambda _, inputs: self._keep(inputs))
        for layer in self.model.encoder.layers:
            layer.register_forward_hook(lambda _, __, output: self._keep(output))

    def __call__(self, clips: Sequence[Tensor]) -> list[Tensor]:
        """(layers + 1, frames, width) of every clip (samples,): what enters the transformer, then each layer's output.

        These are transformers' `hidden_states` of the clip alone, to float rounding.
        """
        alone = self._convolve(clips)
        frames, self._running.mask = pad_frames(alone)
        self._running.layers = []
        projected = self.model.feature_projection(frames)
        stream = projected[0] if isinstance(projected, tuple) else projected
        self.model.encoder(stream, attention_mask=self._running.mask)
        return split_layers(self._running.layers, alone)

    def _convolve(self, clips: Sequence[Tensor]) -> list[Tensor]:
        """The CNN's output (frames, channels) of every clip; neighbours of one length are heard together."""
        heard = [normalise(clip, self.preprocessing) for clip in clips]
        most = self._frames_at_once(clips[0].device)
        alone: list[Tensor] = []
        while len(alone) < len(heard):
            samples = len(heard[len(alone)])
            same = takewhile(lambda clip: len(clip) == samples, heard[len(alone) :])  # noqa: B023  # used at once
            alone += self._together(torch.stack(list(islice(same, max(1, most // self._frames(samples))))), most)
        return alone

    def _together(self, clips: Tensor, most: int) -> Tensor:
        """The CNN's output (clips, frames, channels) of clips (clips, samples), `most` frames of each at a time."""
        first, *others = self.model.feature_extractor.conv_layers
        if isinstance(getattr(first, "layer_norm", None), nn.GroupNorm):
            others.insert(0, first.activation)
            first = _folded(first.conv, first.layer_norm, clips)
        field, stride = self.layout.receptive_field, self.layout.stride
        frames, pieces = self._frames(clips.shape[1]), []
        for start in range(0, frames, most):
            last = min(start + most, frames) - 1
            stream = first(clips[:, None, start * stride : last * stride + field])  # which overlaps with the next
            for block in others:
                stream = block(stream)
            pieces.append(stream.transpose(1, 2))
        return torch.cat(pieces, dim=1)

    def _frames(self, samples: int) -> int:
        return (samples - self.layout.receptive_field) // self.layout.stride + 1

    def _frames_at_once(self, device: torch.device) -> int:
        """As many as the first convolution writes `PIECE_VALUES` for, at least one."""
        channels, stride = (int(self.layout.settings[key][0]) for key in ("conv_dim", "conv_stride"))
        return max(1, PIECE_VALUES[device.type] * stride // (channels * self.layout.stride))

    def _silence(self, _: nn.Module, inputs: tuple[Tensor]) -> Tensor | None:
        mask: Tensor | None = self._running.mask
        if mask is None:
            return None
        before = inputs[0].shape[-1] - mask.shape[1]  # soft prompts, which are heard
        return inputs[0] * pad(mask, (before, 0), value=True)[:, None, :]

    def _keep(self, output: Tensor | tuple[Tensor, ...]) -> None:
        self._running.layers.append(output[0] if isinstance(output, tuple) else output)
