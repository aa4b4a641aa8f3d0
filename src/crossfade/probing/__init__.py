"""What frozen encoders know: tasks as data, features once, heads, statistics that can be trusted."""

from crossfade.probing.run import probe as probe
