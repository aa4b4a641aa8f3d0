"""YAML files that cannot be read."""

from pathlib import Path

import pytest

from crossfade.documents import read_yaml
from crossfade.errors import InputError


def test_a_faulty_line_is_placed_and_not_repeated(tmp_path: Path) -> None:
    """It may hold a key."""
    (tmp_path / "model.yaml").write_text('kind: chat\nextra: {token: "sk-secret\n')
    with pytest.raises(InputError, match=r"model.yaml: not valid YAML \(line 3, column 1: found unexpected") as caught:
        read_yaml(tmp_path / "model.yaml")
    assert "secret" not in str(caught.value)
