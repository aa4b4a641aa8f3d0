"""Several encoders as one: `A+B`."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
import whispers
from distilling import SHAPE
from folders import loaded
from hypothesis import given, settings
from hypothesis import strategies as st

from crossfade import distill, probe
from crossfade.distillation import run
from crossfade.distillation.recipe import DistilRecipe
from crossfade.errors import InputError
from crossfade.probing import upstreams
from crossfade.probing.upstreams import Upstream, open_upstream, short_name, split_name


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Encoders `speech` and `music`; `wide` ones, `deep` ones with a layer more, `slow` ones with half the frames."""
    home = tmp_path_factory.mktemp("side-by-side")
    tiny.folder(home / "speech", "hubert", 1)
    tiny.folder(home / "music", "hubert", 2)
    tiny.folder(home / "wide", "wavlm", 3)
    tiny.folder(home / "deep", "hubert", 4, num_hidden_layers=4)
    tiny.folder(home / "slow", "hubert", 5, conv_stride=[5, 4, 4])
    return home


def open_all(home: Path, *names: str, **options: Any) -> tuple[Upstream, list[Upstream]]:
    """Some encoders as one, and each alone."""
    paths = [str(home / name) for name in names]
    return open_upstream("+".join(paths), **options), [open_upstream(path, **options) for path in paths]


def waves(*lengths: int) -> list[torch.Tensor]:
    return [tiny.waveform(number, 1, length)[0] for number, length in enumerate(lengths)]


@pytest.fixture(scope="module")
def pair(home: Path) -> tuple[Upstream, list[Upstream]]:
    return open_all(home, "speech", "wide", "music")


@settings(max_examples=15)
@given(lengths=st.lists(st.integers(40, 1200), min_size=1, max_size=4))
def test_every_layer_is_the_models_layers_one_after_the_other(
    pair: tuple[Upstream, list[Upstream]], lengths: list[int]
) -> None:
    joined, parts = pair
    found, alone = joined.features(waves(*lengths)), [part.features(waves(*lengths)) for part in parts]
    for number, layers in enumerate(found):
        assert torch.equal(layers, torch.cat([own[number] for own in alone], dim=-1))
        assert layers.shape[::2] == (joined.layers, joined.width) == (4, 48 + 96 + 48)


def test_what_is_told_of_it(pair: tuple[Upstream, list[Upstream]]) -> None:
    joined, parts = pair
    assert joined.parameters == sum(part.parameters for part in parts)
    assert (joined.rate, joined.frames_per_second, joined.minimum_samples) == (16000, 400.0, 40)
    assert (joined.offset, joined.revision, joined.precision) == (parts[0].offset, None, "float32")
    assert joined.sha256 not in {None, *(part.sha256 for part in parts)}
    assert "192 at 400 Hz" in repr(joined)


def test_its_key_follows_from_the_keys_of_its_parts(home: Path, tmp_path: Path) -> None:
    tiny.folder(tmp_path / "elsewhere", "hubert", 1)
    joined, _ = open_all(home, "speech", "music")
    assert open_upstream(f"{tmp_path / 'elsewhere'}+{home / 'music'}").key == joined.key
    others = [open_all(home, *names)[0] for names in (("music", "speech"), ("speech", "speech"), ("speech", "wide"))]
    others += [open_all(home, "speech", "music", precision="bfloat16")[0]]
    assert len({one.key for one in [joined, *others]}) == 5
    assert len({one.sha256 for one in [joined, *others[:3]]}) == 4


def test_each_part_computes_as_it_does_alone(home: Path) -> None:
    """In half precision too, where a spectrum beside it stays exact."""
    joined, parts = open_all(home, "speech", "music", precision="bfloat16")
    assert joined.precision == "bfloat16"
    found, alone = joined.features(waves(900)), [part.features(waves(900)) for part in parts]
    assert torch.equal(found[0], torch.cat([own[0] for own in alone], dim=-1))
    spectra = open_upstream("logmel+fbank")
    assert (spectra.layers, spectra.width, spectra.sha256) == (1, 320, None)


def test_frames_stand_for_the_same_moments(tmp_path: Path) -> None:
    """Whisper's first frame is centred 12.5 ms before that of a HuBERT, which is more than half a frame."""
    whispers.folder(tmp_path / "whisper", seed=3)
    strides = {"conv_kernel": [10, 3, 3, 3, 3, 2, 2], "conv_stride": [5, 2, 2, 2, 2, 2, 2], "conv_dim": [8] * 7}
    tiny.folder(tmp_path / "hubert", "hubert", 1, num_hidden_layers=2, **strides)
    joined, (whisper, hubert) = open_all(tmp_path, "whisper", "hubert", window="30")
    assert (joined.window, joined.offset) == ("30", pytest.approx(0.02))
    (found,), (left,), (right,) = (one.features(waves(6400)) for one in (joined, whisper, hubert))
    assert [one.shape[1] for one in (found, left, right)] == [19, 20, 19]
    assert torch.equal(found, torch.cat([left[:, 1:], right], dim=-1))
    assert joined.features(waves(joined.minimum_samples))[0].shape[1] == 1


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (("speech", "deep"), "cannot stand side by side: 4 and 5 layers; expected the same of all"),
        (("speech", "music", "slow"), "cannot stand side by side: 400 and 400 and 200 frames a second"),
    ],
)
def test_unlike_models(home: Path, names: tuple[str, ...], says: str) -> None:
    with pytest.raises(InputError) as refused:
        open_all(home, *names)
    assert says in str(refused.value)
    assert str(refused.value).startswith("+".join(str(home / name) for name in names))


def test_all_that_differs_is_said(home: Path, tmp_path: Path) -> None:
    tiny.folder(tmp_path / "fast", "hubert", 1, preprocessor={"sampling_rate": 24000}, num_hidden_layers=2)
    with pytest.raises(
        InputError, match="side by side: 16000 and 24000 Hz, 4 and 3 layers, 400 and 600 frames a second"
    ):
        open_upstream(f"{home / 'speech'}+{tmp_path / 'fast'}")


@pytest.mark.parametrize("name", ["+fbank", "fbank+", "fbank++logmel", "+"])
def test_nothing_on_one_side(name: str) -> None:
    with pytest.raises(InputError, match=r"expected a model on both sides of each '\+'"):
        open_upstream(name)


def test_a_folder_with_a_plus_is_that_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("c++", "a", "a+b", "a+b+c"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    assert split_name("a+b") == ["a+b"]
    assert split_name("a+b+c+d") == ["a+b+c", "d"]
    assert split_name("b+a+b+fbank") == ["b", "a+b", "fbank"]
    assert split_name("c+++a") == ["c++", "a"]
    assert split_name("lab/x@v1+a") == ["lab/x@v1", "a"]
    assert short_name(f"{tmp_path / 'a+b'}+lab/x@v1") == "a+b+x@v1"


@given(st.lists(st.from_regex(r"[a-z]{1,5}(/[a-z]{1,5})?(@[0-9a-f]{1,5})?", fullmatch=True), min_size=1, max_size=4))
def test_names_without_a_plus_are_found_again(names: list[str]) -> None:
    assert split_name("+".join(names)) == names


def test_revisions_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    opened, fbank = [], open_upstream("fbank")

    def known(name: str, *_: Any) -> Upstream:
        opened.append(name)
        return replace(fbank, name=name, revision=name.partition("@")[2] or None)

    monkeypatch.setattr(upstreams, "_open_signal", known)
    monkeypatch.setattr(upstreams, "SIGNALS", {"lab/a@main": None, "lab/b": None, "lab/c@v2": None})
    joined = open_upstream("lab/a@main+lab/b+lab/c@v2")
    assert opened == ["lab/a@main", "lab/b", "lab/c@v2"]
    assert joined.revision == "main++v2"


def test_it_is_probed(home: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    tiny.sounds(data / "a", 0, clips=12)
    tiny.sounds(data / "b", 1, clips=12)
    rows = [f"{kind}/{clip}.wav,{kind}" for kind in "ab" for clip in range(12)]
    (data / "manifest.csv").write_text("\n".join(["path,label", *rows]))
    pair = f"{home / 'speech'}+{home / 'music'}"
    (result,) = probe(pair, data, head="ridge", cache=tmp_path / "cache")
    assert (result.model.name, result.model.path) == ("speech+music", pair)
    assert (result.model.layers, result.model.width) == (4, 96)
    assert result.task.test == 24


def test_it_is_a_teacher(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "MEASURED_BATCHES", 1)
    (home / "speech" / "README.md").write_text("---\nlicense: mit\n---\n")
    tiny.sounds(tmp_path / "sound", 0, clips=4, seconds=0.5)
    pair = f"{home / 'speech'}+{home / 'wide'}"
    said = {
        "student": {"shape": SHAPE},
        "teachers": [{"model": pair, "layers": [3]}],
        "data": [{"source": str(tmp_path / "sound")}],
        "training": {"steps": 1, "batch_seconds": 1, "crop_seconds": 0.4, "workers": 0},
    }
    made = distill(DistilRecipe.model_validate(said), tmp_path / "student", device="cpu")
    assert loaded(made.path).config.hidden_size == 24
    card = (made.path / "README.md").read_text()
    assert "# Distilled from speech+wide\n" in card
    assert "| mit, unknown |" in card
    assert "base_model" not in card
    with pytest.raises(InputError, match="is one of the inputs"):
        distill(DistilRecipe.model_validate(said), home / "wide", device="cpu", overwrite=True)
