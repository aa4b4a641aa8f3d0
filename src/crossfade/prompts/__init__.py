"""Soft prompts: learned vectors before the frames of a frozen speech encoder, and what they do."""

from crossfade.prompts.bank import PromptBank
from crossfade.prompts.config import PromptConfig
from crossfade.prompts.soft import SoftPrompts

__all__ = ["PromptBank", "PromptConfig", "SoftPrompts"]
