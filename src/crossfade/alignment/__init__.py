"""Exact alignment: OTHER's channels rearranged to match REFERENCE's, its function unchanged."""

from crossfade.alignment.api import align as align
from crossfade.alignment.result import Alignment as Alignment
