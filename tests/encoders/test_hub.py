import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from encoders.hub_server import COMMIT, Hub, serve
from huggingface_hub import close_session, constants
from safetensors.torch import save_file

from crossfade.encoders.checkpoint import open_checkpoint
from crossfade.encoders.hub import locate, locate_headers
from crossfade.errors import InputError

TENSORS = {f"encoder.layers.{layer}.weight": torch.randn(300, 300) for layer in range(12)}
SHAPES = dict.fromkeys(TENSORS, (torch.float32, (300, 300)))


def make_model(folder: Path, *kinds: str) -> None:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "hubert"}')
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    (folder / "modeling.py").write_text("raise SystemExit")
    if "safetensors" in kinds:
        save_file(TENSORS, folder / "model.safetensors")
    if "bin" in kinds:
        torch.save(TENSORS, folder / "pytorch_model.bin")
    if "legacy" in kinds:
        torch.save(TENSORS, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    if "sharded" in kinds:
        first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
        halves = dict(list(TENSORS.items())[:6]), dict(list(TENSORS.items())[6:])
        for shard, half in zip((first, second), halves, strict=True):
            save_file(half, folder / shard)
        weight_map = {name: first if name in halves[0] else second for name in TENSORS}
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def use(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    """Do what HF_ENDPOINT does, which is read only when the client is imported."""
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    for variable in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    with serve(tmp_path / "hub") as server:
        use(monkeypatch, server.endpoint)
        close_session()
        yield server
        close_session()


def shapes(infos) -> dict:
    return {name: (info.dtype, info.shape) for name, info in infos.items()}


@pytest.mark.parametrize("kind", ["safetensors", "bin", "sharded"])
def test_locate_fetches_weights_and_no_code(hub: Hub, kind: str) -> None:
    make_model(hub.root / "lab/speech", kind)
    files = locate("lab/speech")
    assert (files.name, files.revision) == ("lab/speech", COMMIT)
    assert not (files.folder / "modeling.py").exists()
    checkpoint = open_checkpoint(files.folder)
    assert all(torch.equal(checkpoint.read(name), tensor) for name, tensor in TENSORS.items())


def test_safetensors_win_over_pickles(hub: Hub) -> None:
    make_model(hub.root / "lab/both", "safetensors", "bin")
    files = locate(f"lab/both@{COMMIT}")
    assert not (files.folder / "pytorch_model.bin").exists()
    assert "pytorch_model.bin" not in hub.sent


@pytest.mark.parametrize("kind", ["safetensors", "bin", "sharded"])
def test_headers_come_without_the_weights(hub: Hub, kind: str) -> None:
    make_model(hub.root / "lab/speech", kind)
    headers = locate_headers("lab/speech")
    assert shapes(headers.infos) == SHAPES
    assert headers.revision == COMMIT
    assert json.loads((headers.folder / "config.json").read_text()) == {"model_type": "hubert"}
    weights = {path.name for path in hub.files("lab/speech") if path.stat().st_size > 1_000_000}
    weights |= {"model.safetensors.index.json"}
    assert headers.fetched == sum(sent for name, sent in hub.sent.items() if name in weights)
    assert 0 < headers.fetched < 200_000 < 4_000_000 < sum(info.bytes for info in headers.infos.values())


def test_headers_survive_a_server_without_ranges(hub: Hub) -> None:
    make_model(hub.root / "lab/speech", "safetensors")
    hub.ranges = False
    headers = locate_headers("lab/speech")
    assert shapes(headers.infos) == SHAPES
    assert headers.fetched == (hub.root / "lab/speech/model.safetensors").stat().st_size


def test_a_cached_model_works_offline(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    make_model(hub.root / "lab/speech", "bin")
    online = locate("lab/speech")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert locate("lab/speech") == online
    headers = locate_headers("lab/speech")
    assert (shapes(headers.infos), headers.fetched) == (SHAPES, 0)


def test_a_cached_model_works_when_the_hub_is_down(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    make_model(hub.root / "lab/speech", "safetensors")
    online = locate("lab/speech")
    use(monkeypatch, "http://127.0.0.1:9")
    assert locate("lab/speech") == online


def test_offline_without_the_weights(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    make_model(hub.root / "lab/speech", "safetensors")
    locate_headers("lab/speech")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for function in (locate, locate_headers):
        with pytest.raises(InputError, match=r"^lab/speech: .*not whole in the cache.*HF_HUB_OFFLINE"):
            function("lab/speech")


@pytest.mark.parametrize("function", [locate, locate_headers])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lab/nobody", "no folder of that name here and no model on the hub"),
        ("lab/speech@v9", "no revision 'v9' on the hub; expected a branch, tag or commit of lab/speech"),
        ("lab/gated", "gated; ask for access at http://127.0.0.1:.*/lab/gated"),
        ("lab/empty", "no weights on the hub; expected one of model.safetensors"),
        ("lab/sp eech", "neither a folder here nor a valid hub id"),
        ("./speech", "no such folder"),
        ("/lab/speech", "no such folder"),
        ("~/lab-speech", "no such folder"),
        ("lab/speech/deep", "no such folder"),
        ("", "no such folder"),
        ("file", "is a file, expected a model's folder"),
    ],
)
def test_names_that_lead_nowhere(hub: Hub, function, name: str, message: str) -> None:
    make_model(hub.root / "lab/speech", "safetensors")
    make_model(hub.root / "lab/empty")
    hub.gated.add("lab/gated")
    Path("file").touch()
    with pytest.raises(InputError, match=message) as caught:
        function(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("function", [locate, locate_headers])
def test_no_hub(hub: Hub, monkeypatch: pytest.MonkeyPatch, function) -> None:
    use(monkeypatch, "http://127.0.0.1:9")
    with pytest.raises(InputError, match=r"^lab/speech: no folder of that name here.*the hub cannot be reached"):
        function("lab/speech")


def test_the_hub_vanishes_before_the_headers(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    make_model(hub.root / "lab/speech", "safetensors")
    locate_headers("lab/speech")
    use(monkeypatch, "http://127.0.0.1:9")
    with pytest.raises(InputError, match="cannot be reached"):
        locate_headers("lab/speech")


def test_a_pickle_without_a_header_is_refused_unfetched(hub: Hub) -> None:
    make_model(hub.root / "lab/old", "legacy")
    with pytest.raises(InputError, match=r"format before torch 1.6, .*download the model and pass its folder"):
        locate_headers("lab/old")
    assert hub.sent["pytorch_model.bin"] < 200_000
    assert shapes(open_checkpoint(locate("lab/old").folder).infos) == SHAPES


def test_a_shard_that_the_hub_lacks(hub: Hub) -> None:
    make_model(hub.root / "lab/speech", "sharded")
    (hub.root / "lab/speech/model-00002-of-00002.safetensors").unlink()
    with pytest.raises(InputError, match=r"model-00002-of-00002.safetensors: missing on the hub"):
        locate_headers("lab/speech")


def test_a_local_folder_wins(hub: Hub) -> None:
    make_model(hub.root / "lab/speech", "safetensors")
    make_model(Path("lab/speech"), "bin")
    assert locate("lab/speech").folder == Path("lab/speech")
    headers = locate_headers("lab/speech")
    assert (headers.folder, headers.revision, headers.fetched) == (Path("lab/speech"), None, 0)
    assert shapes(headers.infos) == SHAPES
    assert hub.sent == {}
