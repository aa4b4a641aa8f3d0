"""The least that a linear merge takes: `python bare_loop.py REFERENCE OTHER OUTPUT`, weight files all three."""

import sys

from safetensors import safe_open
from safetensors.torch import save_file

with safe_open(sys.argv[1], "pt") as reference, safe_open(sys.argv[2], "pt") as other:
    merged = {name: (reference.get_tensor(name) + other.get_tensor(name)) / 2 for name in reference.keys()}  # noqa: SIM118
save_file(merged, sys.argv[3], metadata={"format": "pt"})
