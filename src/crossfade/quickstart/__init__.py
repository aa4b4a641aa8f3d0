"""The main job on real data that ships with the package."""

from crossfade.quickstart.story import run as run
