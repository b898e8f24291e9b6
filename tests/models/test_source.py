"""Where a model comes from: every way in which it can be missing is named before a weight is read, and nothing here uses a network."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub as hub
import pytest
from huggingface_hub import errors

from reft_studio.errors import PrerequisiteError
from reft_studio.models import source
from reft_studio.models.source import locate
from tests.tiny_models import make_model

NAME = "someone/some-model"


def refused(kind: type[Exception]) -> Exception:
    """One of the hub's errors, as its client raises it."""
    if issubclass(kind, errors.HfHubHTTPError):
        return kind("401", response=SimpleNamespace(headers={}, status_code=401, request=None))  # type: ignore[arg-type]
    return kind("no answer")


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """The hub may be asked, but whatever was downloaded before lies elsewhere."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr(hub, "try_to_load_from_cache", lambda *_, **__: None)
    return monkeypatch


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (errors.GatedRepoError, "is gated: its owner asks you to agree to terms.*hf auth login"),
        (errors.RepositoryNotFoundError, "The hub has no model"),
        (errors.RevisionNotFoundError, "has no revision 'v9'"),
        (errors.NotASafetensorsRepoError, "no safetensors weights"),
        (errors.OfflineModeIsEnabled, "cannot be reached.*not downloaded before"),
        (errors.LocalEntryNotFoundError, "cannot be reached.*not downloaded before"),
        (errors.HfHubHTTPError, "refused to give"),
        (ConnectionError, "cannot be reached.*connect to the network, or give a local folder"),
    ],
)
def test_what_the_hub_answers_is_said_with_what_to_do(online: pytest.MonkeyPatch, kind: type[Exception], words: str) -> None:
    def answer(*_: Any, **__: Any) -> Any:
        raise refused(kind)

    online.setattr(hub.HfApi, "model_info", answer)
    with pytest.raises(PrerequisiteError, match=words):
        locate(NAME, revision="v9")


def test_offline_a_model_that_was_never_downloaded_is_refused_without_asking(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(hub.HfApi, "model_info", lambda *_, **__: pytest.fail("the hub was asked"))
    with pytest.raises(PrerequisiteError, match=r"not among the models downloaded before.*HF_HUB_OFFLINE=0"):
        locate(NAME)


def test_offline_a_model_that_was_downloaded_is_found_with_its_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = make_model(tmp_path / "snapshots" / "0a1b2c")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(hub, "try_to_load_from_cache", lambda *_, **__: str(folder / "config.json"))
    found = locate(NAME)
    assert (found.name, found.folder, found.revision) == (NAME, folder, "0a1b2c") and found.tensors


def test_a_model_on_the_hub_is_measured_before_it_is_downloaded(online: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    files = [SimpleNamespace(rfilename=name, size=size) for name, size in (("tokenizer.json", 9), ("model.safetensors", 16_000_000_000))]
    tensor = SimpleNamespace(dtype="BF16", shape=[4, 3])
    weights = SimpleNamespace(files_metadata={"model.safetensors": SimpleNamespace(tensors={"w": tensor})})
    online.setattr(hub.HfApi, "model_info", lambda *_, **__: SimpleNamespace(siblings=files, sha="c0ffee"))
    online.setattr(hub.HfApi, "get_safetensors_metadata", lambda *_, **__: weights)
    online.setattr(hub, "hf_hub_download", lambda *_, **__: str(tmp_path / "config.json"))
    found = locate(NAME)
    assert found.folder is None and found.revision == "c0ffee" and found.tensors["w"].numbers == 12 and found.size == 16_000_000_000
    online.setattr(source.shutil, "disk_usage", lambda _: SimpleNamespace(free=1_000_000_000))
    with pytest.raises(PrerequisiteError, match=r"a download of 16.0 GB, but 1.0 GB are free"):
        source.fetch(found)


@pytest.mark.parametrize("name", ["some model, please", "long" * 80, "org/my--model", "org/model.git"])
def test_what_is_neither_a_folder_nor_an_id_is_said(name: str) -> None:
    with pytest.raises(PrerequisiteError, match="neither a folder on this machine nor a Hub id"):
        locate(name)


def test_a_path_that_no_disk_can_hold_is_no_model_folder() -> None:
    with pytest.raises(PrerequisiteError, match="no model folder"):
        locate("/" + "long" * 80)


@pytest.mark.parametrize("named", [["model.safetensors"], {"a": 3}, {}])
def test_an_index_that_names_no_weight_files_is_not_whole(tmp_path: Path, named: object) -> None:
    folder = make_model(tmp_path / "model")
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": named}))
    with pytest.raises(PrerequisiteError, match="is not whole"):
        locate(str(folder))


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "model")
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    with pytest.raises(PrerequisiteError, match=r"1 of its 2 weight files are missing .*model-00002-of-00002"):
        locate(str(folder))


@pytest.mark.parametrize("kept", [4, 40, -100])
def test_a_weight_file_that_was_cut_off_is_found_by_its_header(tmp_path: Path, kept: int) -> None:
    weights = make_model(tmp_path / "model") / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:kept])
    with pytest.raises(PrerequisiteError, match=r"model.safetensors is cut off or no safetensors file: it has .* bytes"):
        locate(str(weights.parent))


def test_headers_tell_every_tensor_of_the_model(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    folder = make_model(tmp_path / "model", "qwen3")
    own = {name: tuple(value.shape) for name, value in AutoModelForCausalLM.from_pretrained(folder).state_dict().items()}
    assert {name: facts.shape for name, facts in locate(str(folder)).tensors.items()} == own
