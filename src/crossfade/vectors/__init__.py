"""Task vectors: what training added to a base, to be added, weighed, taken away and searched over."""

from crossfade.vectors.combine import combine as combine
from crossfade.vectors.search import search as search
from crossfade.vectors.sweep import sweep as sweep
from crossfade.vectors.vector import extract as extract
from crossfade.vectors.vector import open_vector as open_vector
