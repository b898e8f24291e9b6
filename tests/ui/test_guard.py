"""What a stranger may do with the app, asked of the real server: nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import httpx
import pytest

from reft_studio.errors import PrerequisiteError, SpecError
from reft_studio.studio import Studio
from ui import app
from ui.guard import POLICY

EVIL = "https://evil.example"
TEXT = {"content-type": "text/plain"}


@pytest.fixture
def client(server: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server, trust_env=False, timeout=20) as opened:
        yield opened


def server_function(client: httpx.Client) -> dict[str, object]:
    """A call of the shell's own server function, as its page would make it."""
    config = client.get("/config").json()
    shell = next(part for part in config["components"] if part["props"].get("elem_id") == "rs-shell")
    return {"data": {"dots": False}, "component_id": shell["id"], "fn_name": "srv_state", "session_hash": "test"}


@pytest.mark.parametrize("host", ["evil.example", "evil.example:7860", "127.0.0.1.evil.example", "192.168.0.7:7860", "[::2]:7860", ""])
def test_another_host_name_is_refused_so_rebinding_a_name_gains_nothing(client: httpx.Client, host: str) -> None:
    assert client.get("/config", headers={"host": host}).status_code == 403


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]"])
def test_the_names_of_this_machine_are_served(client: httpx.Client, host: str) -> None:
    assert client.get("/healthz", headers={"host": f"{host}:{client.base_url.port}"}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": EVIL},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_another_page_cannot_call_a_function_of_ours(client: httpx.Client, headers: dict[str, str]) -> None:
    call = server_function(client)
    assert client.post("/gradio_api/component_server", json=call, headers=headers).status_code == 403


def test_our_own_page_can_call_a_function_of_ours(client: httpx.Client, server: str) -> None:
    own = {"origin": server, "sec-fetch-site": "same-origin"}
    answer = client.post("/gradio_api/component_server", json=server_function(client), headers=own)
    assert answer.status_code == 200 and answer.json()["ok"] is True


def test_another_page_cannot_fill_the_disk_with_uploads(client: httpx.Client, studio: Studio) -> None:
    incoming = studio.workspace.root / "uploads" / "incoming"
    before = sorted(incoming.rglob("*"))
    refused = client.post("/gradio_api/upload", files={"files": ("a.txt", b"x")}, headers={"origin": EVIL})
    assert refused.status_code == 403 and sorted(incoming.rglob("*")) == before


def test_our_own_page_can_upload_into_a_folder_only_this_user_reads(client: httpx.Client, studio: Studio, server: str) -> None:
    stored = client.post("/gradio_api/upload", files={"files": ("a.txt", b"x")}, headers={"origin": server})
    incoming = studio.workspace.root / "uploads" / "incoming"
    assert stored.status_code == 200 and stored.json()[0].startswith(str(incoming))
    assert incoming.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("path", ["/", "/data", "/config", "/theme.css", "/nothing-here", "/healthz"])
def test_every_answer_carries_the_policy_and_no_other_origin_may_read_it(client: httpx.Client, path: str) -> None:
    answer = client.get(path, headers={"origin": EVIL})
    assert answer.headers["content-security-policy"] == POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert not [name for name in answer.headers if name.startswith("access-control-")]
    assert "server" not in answer.headers


def test_the_refusal_itself_carries_the_policy(client: httpx.Client) -> None:
    assert client.get("/", headers={"host": "evil.example"}).headers["content-security-policy"] == POLICY


@pytest.mark.parametrize("path", ["/openapi.json", "/docs", "/redoc", "/gradio_api/runs", "/monitoring"])
def test_pages_nobody_needs_are_not_served(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code in (403, 404)


@pytest.mark.parametrize("path", ["/etc/passwd", "/proc/self/environ", "{root}/studio.sqlite", "{root}/../workspace/studio.sqlite"])
def test_files_are_not_handed_out_by_path(client: httpx.Client, studio: Studio, path: str) -> None:
    assert client.get(f"/gradio_api/file={path.format(root=studio.workspace.root)}").status_code in (403, 404)


def test_no_run_is_remembered_in_the_browser(client: httpx.Client) -> None:
    assert client.get("/config").json()["run_history"] is False


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "studio.example"])
def test_an_address_that_others_can_reach_is_refused_without_login(host: str) -> None:
    with pytest.raises(SpecError, match="no login"):
        app.require_loopback(host)


def test_publishing_by_environment_is_refused(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_SHARE", "True")
    with pytest.raises(SpecError, match="GRADIO_SHARE"):
        app.application(studio)


def test_a_taken_port_is_named_with_one_that_is_free(server: str) -> None:
    taken = httpx.URL(server).port or 0
    with pytest.raises(PrerequisiteError, match=rf"Port {taken} is taken .* --port \d+"):
        app.listen("127.0.0.1", taken)


def test_without_a_wish_the_next_free_port_is_used(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "PORT", httpx.URL(server).port)
    with closing(app.listen("127.0.0.1", None)) as found:
        assert app.PORT < found.getsockname()[1] < app.PORT + app.TRIES
