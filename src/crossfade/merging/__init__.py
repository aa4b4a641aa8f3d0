"""Merging: two encoders in, one out."""

from crossfade.merging.api import Merged as Merged
from crossfade.merging.api import input_statistics as input_statistics
from crossfade.merging.api import merge as merge
