"""Every signal by its name."""

from collections.abc import Callable
from functools import partial

import torch

from crossfade.features.basic_pitch import open_basic_pitch
from crossfade.features.constant_q import open_chroma, open_constant_q
from crossfade.features.crepe import open_crepe
from crossfade.features.musicnn import open_musicnn
from crossfade.features.signal import Signal
from crossfade.features.spectral import open_fbank, open_log_mel
from crossfade.features.tempogram import open_tempogram

SIGNALS: dict[str, Callable[[torch.device], Signal]] = {
    "fbank": open_fbank,
    "logmel": open_log_mel,
    "constant-q": open_constant_q,
    "chroma": open_chroma,
    "tempogram": open_tempogram,
    "basic-pitch": open_basic_pitch,
    "crepe-full": partial(open_crepe, "full"),
    "crepe-tiny": partial(open_crepe, "tiny"),
    "crepe-full-hidden": partial(open_crepe, "full", hidden=True),
    "crepe-tiny-hidden": partial(open_crepe, "tiny", hidden=True),
    "musicnn-mtt": partial(open_musicnn, "mtt"),
    "musicnn-msd": partial(open_musicnn, "msd"),
    "musicnn-mtt-front": partial(open_musicnn, "mtt", part="front"),
    "musicnn-msd-front": partial(open_musicnn, "msd", part="front"),
    "musicnn-mtt-tags": partial(open_musicnn, "mtt", part="tags"),
    "musicnn-msd-tags": partial(open_musicnn, "msd", part="tags"),
}
"""Name -> what opens it on a device. Raises InputError where the package with its weights is not installed."""

LICENCES = {name: "MIT" for name in SIGNALS if name.startswith("crepe-")}
LICENCES |= {name: "ISC" for name in SIGNALS if name.startswith("musicnn-")}
LICENCES |= {"basic-pitch": "Apache-2.0"}
"""Of the packages whose weights signals are read from; the others have none."""
