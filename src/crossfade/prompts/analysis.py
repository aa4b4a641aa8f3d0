"""Everything that can be told of prompts without a transcript: norms, drift, attention, shift."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from crossfade.prompts.attention import Listener, attention_mass, shift
from crossfade.prompts.drift import drift
from crossfade.prompts.soft import SoftPrompts


def inspection(
    prompts: SoftPrompts, listen: Listener, clips: Sequence[Tensor], trusted: SoftPrompts | None = None
) -> dict[str, Any]:
    """JSON values: `norms` (see `drift.drift`), and by layer what `clips` (samples,) show.

    `attention`: share of their attention that frames give to prompts, mean over heads, and `heads`, of each; `even`:
    the share of prompts among what is attended to. `cosine`, `cka`: see `attention.Shift`; they begin with what enters
    the transformer, so they are one longer. `trusted`: the same prompts from where nobody could change them.
    """
    given, moved = attention_mass(listen, prompts, clips), shift(listen, prompts, clips)
    return {
        "count": prompts.config.count,
        "clips": len(clips),
        "norms": drift(prompts.vectors, prompts.config.record, trusted.vectors if trusted else None),
        "attention": given.mass.mean(1).tolist(),
        "heads": given.mass.tolist(),
        "even": given.even,
        "cosine": list(moved.cosine),
        "cka": list(moved.cka),
    }
