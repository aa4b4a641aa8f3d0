"""Translators: from the student's last layer to what each teacher says. They are not part of the student.

`build_translators` gives one to every teacher, or one to several that share it. All take (batch, frames, width), the
teacher's slice of the student, and give (batch, layers, frames, width of the teacher):

    linear     DistilHuBERT's (2110.01900): Linear(width -> layers · width), GELU, then of each width its own
               Linear(width -> teacher)
    conv       the convolutional one of 2506.07237: Linear(width -> 3/2 width), GELU, LayerNorm, Conv1d of 3 frames,
               ReLU, Linear(-> layers · width), LayerNorm, GELU, then of each width its own Linear(width -> teacher)
    layerwise  for every layer its own Linear(width -> teacher). Our reading of the paper's name: two linear maps per
               layer would be `linear` again, whose layers have nothing in common.

A hybrid (linear for speech, conv for music) is two teachers that say so; features split between teachers are slices.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from crossfade.distillation.recipe import Teacher, Translator
from crossfade.errors import InputError


class SplitLinear(nn.Module):
    """(batch, frames, parts · width) to (batch, parts, frames, out): every part by weights of its own.

    Weights and biases start as those of `parts` separate `nn.Linear`: uniform within ± width ** -0.5.
    """

    def __init__(self, parts: int, width: int, out: int) -> None:
        super().__init__()
        bound = width**-0.5
        self.weight = nn.Parameter(torch.empty(parts, width, out).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(parts, 1, out).uniform_(-bound, bound))

    def forward(self, hidden: Tensor) -> Tensor:
        batch, frames, _ = hidden.shape
        parts, width, _ = self.weight.shape
        rows = hidden.reshape(batch * frames, parts, width).transpose(0, 1)
        split = torch.baddbmm(self.bias, rows, self.weight)
        return split.view(parts, batch, frames, -1).transpose(0, 1)


class OverTime(nn.Module):
    """A convolution over the frames of (batch, frames, width); silence is heard past the ends."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(width, width, kernel, padding="same")

    def forward(self, hidden: Tensor) -> Tensor:
        convolved: Tensor = self.conv(hidden.transpose(1, 2))
        return convolved.transpose(1, 2)


class Layerwise(nn.Module):
    """A linear map for every layer: (batch, frames, width) to (batch, layers, frames, out)."""

    def __init__(self, width: int, layers: int, out: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(width, out) for _ in range(layers))

    def forward(self, hidden: Tensor) -> Tensor:
        return torch.stack([head(hidden) for head in self.heads], dim=1)


def linear(width: int, layers: int, out: int) -> nn.Module:
    """DistilHuBERT's prediction head."""
    return nn.Sequential(nn.Linear(width, layers * width), nn.GELU(), SplitLinear(layers, width, out))


def conv(width: int, layers: int, out: int) -> nn.Module:
    """The convolutional translator of 2506.07237, which sees a frame's neighbours."""
    middle, wide = width * 3 // 2, layers * width
    return nn.Sequential(
        nn.Linear(width, middle),
        nn.GELU(),
        nn.LayerNorm(middle),
        OverTime(middle, kernel=3),
        nn.ReLU(),
        nn.Linear(middle, wide),
        nn.LayerNorm(wide),
        nn.GELU(),
        SplitLinear(layers, width, out),
    )


TRANSLATORS: dict[Translator, Callable[[int, int, int], nn.Module]] = {
    "linear": linear,
    "conv": conv,
    "layerwise": Layerwise,
}
"""Name -> translator of (width of the slice, layers of the teacher, width of the teacher)."""


class Translators(nn.Module):
    """Every teacher's translator, by the teacher's number.

    `heads` holds each once, named `<number of the first teacher that has it>-<its model's or its shared name>`, so that
    the names in a state dict depend on the recipe's teachers alone. `spans` are the student's channels that it reads.
    """

    def __init__(self, heads: dict[str, nn.Module], names: Sequence[str], spans: Sequence[slice]) -> None:
        super().__init__()
        self.heads = nn.ModuleDict(heads)
        self.names, self.spans = tuple(names), tuple(spans)

    def forward(self, teacher: int, hidden: Tensor) -> Tensor:
        """(batch, layers, frames, width of the teacher) from the student's last layer (batch, frames, width)."""
        translated: Tensor = self.heads[self.names[teacher]](hidden[..., self.spans[teacher]])
        return translated


def build_translators(teachers: Sequence[Teacher], widths: Sequence[int], student_width: int) -> Translators:
    """Translators from a student of `student_width` channels to teachers of `widths`, a recipe's in its order.

    Weights are drawn from torch's own generator: seed it before. Raises InputError: a slice without a channel, teachers
    that share a translator but need different ones.
    """
    heads: dict[str, nn.Module] = {}
    names, spans = [], []
    sharing: dict[str, tuple[int, str, tuple[str, slice, int, int]]] = {}
    for number, (teacher, out) in enumerate(zip(teachers, widths, strict=True)):
        span, layers = _span(number, teacher, student_width), max(1, len(teacher.layers))
        needs = teacher.translator, span, layers, out
        name = f"{number}-{_plain(teacher.shared or teacher.model)}"
        if teacher.shared is not None:
            first, name, known = sharing.setdefault(teacher.shared, (number, name, needs))
            if known != needs:
                raise InputError(
                    f"teachers[{number}].shared {teacher.shared!r}: needs {_told(needs)}, but teachers[{first}] of the "
                    f"same name needs {_told(known)}: expected the same of both, or names of their own"
                )
        if name not in heads:
            heads[name] = TRANSLATORS[teacher.translator](span.stop - span.start, layers, out)
        names.append(name)
        spans.append(span)
    return Translators(heads, names, spans)


def _span(number: int, teacher: Teacher, width: int) -> slice:
    start, stop = (round(share * width) for share in teacher.slice)
    if start >= stop:
        raise InputError(
            f"teachers[{number}].slice {list(teacher.slice)}: holds none of the student's {width} channels, expected "
            "two shares that rise, such as [0, 0.5]"
        )
    return slice(start, stop)


def _told(needs: tuple[str, slice, int, int]) -> str:
    translator, span, layers, out = needs
    return f"{translator} from channels {span.start} to {span.stop} to {layers} layers of width {out}"


def _plain(name: str) -> str:
    """The last part of a model's name or path, in letters that a state dict's key may have."""
    last = name.rstrip("/").rpartition("/")[2]
    return "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in last)
