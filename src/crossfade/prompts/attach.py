"""Prompts in a running encoder: hooks on a transformers model, which is left as it was when they go.

Between modules the stream holds frames alone. Every layer gets the prompts before its frames and gives them back: so
lengths, hidden states and whatever else hooks into the model stay what they are without prompts. Only attention weights
(`output_attentions`) show them, as the first rows and columns.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from threading import local
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn

from crossfade.encoders.families import FAMILIES
from crossfade.errors import InputError, nearest
from crossfade.prompts.config import PromptConfig


@dataclass(frozen=True)
class Site:
    """Where the frames of an encoder flow, as names of modules.

    A stack is known by its `marks`. What its `positions` make of the stream is added to it; the sum goes through the
    modules in `between` and then through the layers. `numbered`: positions are looked up by their number in a table,
    not made of the stream, and the stack itself tells hidden states; else what holds it does.
    """

    marks: tuple[str, ...]
    positions: str
    between: tuple[str, ...] = ()
    numbered: bool = False


CONVOLVED = Site(("pos_conv_embed", "layers"), "pos_conv_embed", ("layer_norm", "dropout"))
SITES: Mapping[str, Site] = {
    **{family.name: CONVOLVED for family in FAMILIES.values()},
    "whisper": Site(("conv1", "embed_positions", "layers"), "embed_positions", numbered=True),
}

_PROMPTED: WeakSet[nn.Module] = WeakSet()


class Handle:
    """Prompts in a model until `detach`; threads may share it.

    `vectors` is called once whenever the model runs and gives (layers, count, width), or (clips, layers, count, width)
    for a batch in which every clip hears others. Raises InputError as `SoftPrompts.attach`.
    """

    def __init__(self, model: nn.Module, config: PromptConfig, vectors: Callable[[], Tensor]) -> None:
        self._stack, self._config, self._vectors, self._now = _fitting_stack(model, config), config, vectors, local()
        site = SITES[config.family]
        positions = getattr(self._stack, site.positions)
        self._hooks = [positions.register_forward_pre_hook(self._start)]
        if config.place == "before":
            self._give_positions(positions, site)
        for number, layer in enumerate(self._stack.layers):
            if 0 < number < config.layers:
                self._hooks.append(layer.register_forward_pre_hook(self._renew(number)))
            self._pass(layer)
        told = self._stack if site.numbered else _holder(model, self._stack)
        if told is not None:
            self._hooks.append(told.register_forward_hook(self._shorten_first, prepend=True))
        _PROMPTED.add(self._stack)

    def detach(self) -> None:
        """Leave the model as it was before."""
        for hook in self._hooks:
            hook.remove()
        if self._hooks:
            _PROMPTED.discard(self._stack)
        self._hooks = []

    def _give_positions(self, positions: nn.Module, site: Site) -> None:
        enter = self._enter_table if site.numbered else self._enter
        self._hooks.append(positions.register_forward_pre_hook(enter, with_kwargs=True))
        self._hooks.append(positions.register_forward_hook(self._leave_added, prepend=True))
        stable = getattr(self._stack.config, "do_stable_layer_norm", False)  # then the norm follows the layers
        for name in site.between:
            if not (stable and name == "layer_norm"):
                self._pass(getattr(self._stack, name))

    def _pass(self, module: nn.Module) -> None:
        """Take the prompts through a module of the stream. What hooked into it before sees frames alone."""
        self._hooks.append(module.register_forward_pre_hook(self._enter, with_kwargs=True))
        self._hooks.append(module.register_forward_hook(self._leave, prepend=True))

    def _start(self, *_: Any) -> None:
        self._now.vectors = self._vectors()
        self._renew(0)()

    def _renew(self, number: int) -> Callable[..., None]:
        def renew(*_: Any) -> None:
            self._now.prompts, self._now.frames = self._now.vectors[..., number, :, :], None

        return renew

    def _enter(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        frames, *masks = args
        if frames is not self._now.frames:  # else they lie behind the prompts already: nothing is copied
            prompts = self._now.prompts.to(frames)
            self._now.prompts = prompts = prompts.expand(*frames.shape[:-2], *prompts.shape[-2:])
            self._now.stream = torch.cat([prompts, frames], dim=-2)
        longer = [longer_mask(mask, self._config.count) for mask in masks]
        if "attention_mask" in kwargs:
            kwargs = kwargs | {"attention_mask": longer_mask(kwargs["attention_mask"], self._config.count)}
        return (self._now.stream, *longer), kwargs

    def _enter_table(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        (numbers,) = args
        count, room = self._config.count, self._stack.embed_positions.num_embeddings
        if (taken := count + len(numbers)) > room:
            raise InputError(
                f"{count} prompts before {len(numbers)} frames need {taken} positions, this Whisper has {room}: hear "
                "shorter pieces, or place the prompts after positional information"
            )
        return (torch.arange(taken, device=numbers.device),), kwargs

    def _leave(self, _: nn.Module, __: Any, output: Any) -> Any:
        self._now.stream, *others = output if isinstance(output, tuple) else (output,)
        self._now.prompts, self._now.frames = self._split(self._now.stream)
        return (self._now.frames, *others) if isinstance(output, tuple) else self._now.frames

    def _leave_added(self, _: nn.Module, __: Any, positions: Tensor) -> Tensor:
        own, frames = self._split(positions)
        self._now.prompts = self._now.prompts.to(own) + own
        return frames

    def _split(self, stream: Tensor) -> tuple[Tensor, Tensor]:
        return stream[..., : self._config.count, :], stream[..., self._config.count :, :]

    def _shorten_first(self, _: nn.Module, __: Any, output: Any) -> Any:
        """transformers tells what the first layer read as hidden state 0: prompts too."""
        if isinstance(output, dict):
            return type(output)(**{key: self._shortened(value) for key, value in output.items()})
        return tuple(self._shortened(value) for value in output)

    def _shortened(self, value: Any) -> Any:
        states = isinstance(value, tuple) and value and isinstance(value[0], Tensor) and value[0].dim() == 3
        return (self._split(value[0])[1], *value[1:]) if states else value


def longer_mask(mask: Tensor | None, count: int) -> Tensor | None:
    """An attention mask of a layer's frames with `count` frames more before them, which all hear and are heard.

    (clips, frames), or (clips, heads, queries or 1, frames); bool (True: heard), numbers (not 0: heard) in two
    dimensions, summands (0: heard) in four. What prompts hear is what the first frame hears.
    """
    if mask is None:
        return None
    if mask.dim() == 4 and mask.shape[2] > 1:
        mask = torch.cat([mask[:, :, :1].expand(-1, -1, count, -1), mask], dim=2)
    summands = mask.dim() == 4 and mask.is_floating_point()
    heard = mask.new_full((*mask.shape[:-1], count), 0 if summands else 1)
    return torch.cat([heard, mask], dim=-1)


def layers_of(model: nn.Module) -> Sequence[nn.Module]:
    """The layers that prompts go through. Raises InputError for a model that takes none."""
    layers: Sequence[nn.Module] = _stack(model)[1].layers
    return layers


def _stack(model: nn.Module) -> tuple[str, Any]:
    """The family of a model, and the stack of layers in it."""
    kind = str(getattr(getattr(model, "config", None), "model_type", type(model).__name__))
    family = FAMILIES[kind].name if kind in FAMILIES else kind
    if family not in SITES:
        raise InputError(f"{kind}: no encoder that takes prompts; {nearest(kind, SITES)}")
    marks = SITES[family].marks
    stack = next((part for part in model.modules() if all(hasattr(part, mark) for mark in marks)), None)
    if stack is None:
        raise InputError(f"{type(model).__name__}: no module in it has {', '.join(marks)}; expected a {family} encoder")
    return family, stack


def _fitting_stack(model: nn.Module, config: PromptConfig) -> Any:
    """The stack of layers that prompts go into. Raises InputError for a model that they are not for."""
    family, stack = _stack(model)
    prompts = f"prompts for {config.base_model_name_or_path}"
    if family != config.family:
        raise InputError(f"{prompts}: expected an encoder of family {config.family}, received {family}")
    if stack in _PROMPTED:
        raise InputError(f"{prompts}: this model has prompts attached already; detach those first")
    if config.width != (width := stack.config.hidden_size):
        raise InputError(f"{prompts}: are {config.width} wide, this encoder is {width} wide; give theirs")
    if config.layers > (layers := len(stack.layers)):
        raise InputError(f"{prompts}: are for {config.layers} layers, this encoder has {layers}; give theirs")
    if SITES[family].numbered and config.count >= (room := stack.embed_positions.num_embeddings):
        raise InputError(f"{prompts}: {config.count} prompts, but the longest window of this encoder has {room} frames")
    return stack


def _holder(model: nn.Module, stack: nn.Module) -> nn.Module | None:
    return next((part for part in model.modules() if getattr(part, "encoder", None) is stack), None)
