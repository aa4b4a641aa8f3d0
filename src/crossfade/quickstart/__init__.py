"""The main job on real data that ships with the package.

    run(output)         `crossfade quickstart`: merges two encoders in several ways and measures all of them
    encoder("speech")   the folder of an encoder in the package; ENCODERS has them all by name

Everything is imported at first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crossfade.quickstart.pack import ENCODERS as ENCODERS
    from crossfade.quickstart.pack import encoder as encoder
    from crossfade.quickstart.story import run as run

_HOMES = {"ENCODERS": "pack", "encoder": "pack", "run": "story"}
__all__ = ["ENCODERS", "encoder", "run"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'crossfade.quickstart' has no attribute '{name}'")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
