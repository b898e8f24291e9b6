from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from reft_studio.data.origin import hub
from reft_studio.errors import DataError, PrerequisiteError

SHA = "0123456789abcdef0123456789abcdef01234567"


class File:
    def __init__(self, rfilename: str, size: int = 10) -> None:
        self.rfilename, self.size = rfilename, size


class Info:
    def __init__(self, *names: str) -> None:
        self.sha, self.siblings = SHA, [File(name) for name in names]


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The hub's client with another answer; calls are noted."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")

    def answer(found: Any) -> list[tuple[str, str | None]]:
        asked: list[tuple[str, str | None]] = []

        def dataset_info(_self: Any, name: str, *, revision: str | None, files_metadata: bool) -> Any:
            asked.append((name, revision))
            reply = found(revision) if callable(found) else found
            if isinstance(reply, Exception):
                raise reply
            return reply

        monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", dataset_info)
        return asked

    return answer


def response(status: int) -> httpx.Response:
    return httpx.Response(status, request=httpx.Request("GET", "http://hub.invalid"))


def test_the_commit_is_recorded_and_splits_come_first(online: Any) -> None:
    asked = online(Info("README.md", "data/test-00000-of-00001.parquet", "data/train-00000-of-00001.parquet"))
    found = hub.look("org/name@main")
    assert found.revision == SHA and [part.name for part in found.parts] == ["train", "test"] and asked == [("org/name", "main")]


def test_names_that_lead_out_of_the_repository_are_left_out(online: Any) -> None:
    online(Info("train.jsonl", "/etc/secret.jsonl", "../other/secret.jsonl", "data/../../secret.parquet"))
    assert [part.files for part in hub.look("org/name").parts] == [("train.jsonl",)]


def test_rows_that_only_a_script_can_read_are_taken_from_the_converted_branch(online: Any) -> None:
    asked = online(lambda revision: Info("default/train/0000.parquet") if revision == hub.CONVERTED else Info("name.py"))
    assert [part.name for part in hub.look("org/name").parts] == ["default/train"]
    assert [revision for _, revision in asked] == [None, hub.CONVERTED]


def test_files_are_downloaded_at_the_commit_that_was_looked_at(online: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    online(Info("data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"))
    calls: list[Any] = []

    def download(name: str, file: str, *, repo_type: str, revision: str) -> str:
        calls.append((name, file, repo_type, revision))
        return str(tmp_path / Path(file).name)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    found = hub.look("org/name")
    assert len(hub.fetch(found, found.parts[0])) == 2 and len(hub.fetch(found, found.parts[0], first_only=True)) == 1
    assert {call[2:] for call in calls} == {("dataset", SHA)}


@pytest.mark.parametrize(
    ("error", "told"),
    [
        ("GatedRepoError", "agree to terms"),
        ("RepositoryNotFoundError", "no dataset 'org/name'"),
        ("RevisionNotFoundError", "no revision 'v9'"),
        ("HfHubHTTPError", "refused"),
    ],
)
def test_what_the_hub_refuses_is_said_with_what_to_do(online: Any, error: str, told: str) -> None:
    import huggingface_hub.errors as errors

    online(getattr(errors, error)("no", response=response(403)))
    with pytest.raises(PrerequisiteError, match=told):
        hub.look("org/name@v9")


@pytest.mark.parametrize("error", [OSError("no route"), httpx.ConnectError("no name service")])
def test_without_a_network_the_message_says_so(online: Any, error: Exception, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    online(error)
    with pytest.raises(PrerequisiteError, match=r"cannot be reached .* not downloaded before"):
        hub.look("org/never-downloaded")


def test_offline_an_earlier_download_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder = tmp_path / SHA
    folder.mkdir()
    (folder / "train.jsonl").write_text('{"prompt": "a", "response": "b"}\n')
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_args, **_kw: str(folder))
    found = hub.look("org/name")
    assert (found.place, found.revision, found.title) == ("hub", SHA, "org/name")
    assert hub.fetch(found, found.parts[0]) == [folder / "train.jsonl"]


def test_offline_and_never_downloaded_says_how_to_download(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(PrerequisiteError, match="HF_HUB_OFFLINE=0"):
        hub.look("org/never-downloaded")


@pytest.mark.parametrize(
    ("text", "is_id"),
    [
        ("org/name", True),
        ("org/name@refs/pr/1", True),
        ("somewhere/datasets/org/name", True),
        ("/data/rows.jsonl", False),
        ("./rows", False),
        ("~/rows", False),
        ("rows.jsonl", False),
        ("folder/rows.jsonl", False),
        ("a\\b", False),
        ("org/name with spaces", False),
    ],
)
def test_ids_and_paths_are_told_apart(text: str, is_id: bool) -> None:
    assert hub.names_a_dataset(text) is is_id


def test_a_repository_without_a_table_is_refused(online: Any) -> None:
    online(Info("weights.bin"))
    with pytest.raises(DataError, match="no table"):
        hub.look("org/name")
