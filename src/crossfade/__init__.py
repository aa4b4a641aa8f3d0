"""Crossfade: two audio encoders in, one out, exactly aligned.

    crossfade.plan(reference, other)                        what would happen, from configs and headers alone
    crossfade.align(reference, other, audio, output=...)    OTHER rewritten in REFERENCE's basis, the same function
    crossfade.merge(reference, other, output, weight=0.9)   one encoder, an ordinary Hugging Face folder
    crossfade.distill(recipe, output)                       one small student of many unlike teachers
    crossfade.vectors.extract(student, base, output)        what training added to a base; .combine, .sweep, .search
    crossfade.probe(models, tasks, output)                  what frozen encoders know of tasks
    crossfade.compare(results, ...)                         which differences are real

Everything is imported at first use, so that `import crossfade` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crossfade import vectors as vectors
    from crossfade.alignment import align as align
    from crossfade.distillation.run import distill as distill
    from crossfade.encoders.plan import plan as plan
    from crossfade.errors import InputError as InputError
    from crossfade.merging import merge as merge
    from crossfade.probing import probe as probe
    from crossfade.probing.compare import compare as compare

__version__ = "0.1.0"

_HOMES = {
    "InputError": "crossfade.errors",
    "align": "crossfade.alignment",
    "compare": "crossfade.probing.compare",
    "distill": "crossfade.distillation.run",
    "merge": "crossfade.merging",
    "plan": "crossfade.encoders.plan",
    "probe": "crossfade.probing",
}
__all__ = ["InputError", "align", "compare", "distill", "merge", "plan", "probe", "vectors"]


def __getattr__(name: str) -> object:
    if name == "vectors":
        return import_module("crossfade.vectors")
    if name not in _HOMES:
        raise AttributeError(f"module 'crossfade' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
