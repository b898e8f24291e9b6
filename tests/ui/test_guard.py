"""What a stranger may do with the app, asked of the real server: nothing."""

from __future__ import annotations

import asyncio
import http.client
import os
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from reft_studio.errors import PrerequisiteError, SpecError
from reft_studio.studio.studio import Studio
from ui import app
from ui.access import NO_TOKEN, VARIABLE, Access, opening_file, token_from_environment
from ui.guard import OPEN, POLICY

EVIL = "https://evil.example"
TEXT = {"content-type": "text/plain"}


@pytest.fixture
def stranger(server: str) -> Iterator[httpx.Client]:
    """Somebody on this machine who has the address, but not its token."""
    with httpx.Client(base_url=server, trust_env=False, timeout=20) as opened:
        yield opened


@pytest.fixture
def client(stranger: httpx.Client, access: Access) -> httpx.Client:
    """A browser that opened the printed address."""
    assert stranger.get(access.link("")).status_code == 303
    assert len(stranger.cookies) == 1
    return stranger


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


@pytest.mark.parametrize(
    "path",
    [
        "/openapi.json",
        "/docs",
        "/redoc",
        "/monitoring",
        "/gradio_api/runs",
        "/gradio_api/info",
        "/gradio_api/info/?all_endpoints=true",
        "/gradio_api/openapi.json",
        "/gradio_api/call/set_mask",
        "/gradio_api/api/set_mask",
        "/gradio_api/proxy=https://evil.example",
        "/gradio_api/vibe-code/",
        "/gradio_api/deep_link",
    ],
)
def test_descriptions_of_the_api_and_pages_nobody_needs_are_not_served(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code == 404


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
        app.application(studio, access=None)


def test_a_taken_port_is_named_with_one_that_is_free(server: str) -> None:
    taken = httpx.URL(server).port or 0
    with pytest.raises(PrerequisiteError, match=rf"Port {taken} is taken .* --port \d+"):
        app.listen("127.0.0.1", taken)


def test_without_a_wish_the_next_free_port_is_used(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "PORT", httpx.URL(server).port)
    with closing(app.listen("127.0.0.1", None)) as found:
        assert app.PORT < found.getsockname()[1] < app.PORT + app.TRIES


def test_no_part_of_an_answer_waits_until_the_browser_has_confirmed_the_part_before() -> None:
    """An answer goes out as headers and body; a socket that gathers small parts holds the body back for 40 ms."""

    async def sends_at_once() -> bool:
        seen: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def accepted(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            seen.set_result(bool(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)))
            writer.close()

        listening = app.listen("127.0.0.1", 0)
        async with await asyncio.start_server(accepted, sock=listening):
            _, writer = await asyncio.open_connection(*listening.getsockname())
            writer.close()
            return await seen

    with ThreadPoolExecutor(1) as elsewhere:  # a browser of other tests keeps a loop running in this thread
        assert elsewhere.submit(lambda: asyncio.run(sends_at_once())).result()


# --- every route there is ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def routes(studio: Studio) -> list[tuple[str, str]]:
    """Method and path of every route of the app, mounted ones too, with something in the place of each parameter."""

    def walk(table: list[Any], before: str = "") -> Iterator[tuple[str, str]]:
        for route in table:
            path = before + str(getattr(route, "path", ""))
            inner = getattr(route, "routes", None) or getattr(getattr(route, "original_router", None), "routes", None)
            if inner:
                yield from walk(inner, path)
            for method in getattr(route, "methods", None) or ([] if inner else ["GET"]):
                yield method, re.sub(r"\{[^}]*\}", "x", path) or "/"

    with ThreadPoolExecutor(1) as elsewhere:  # a browser of other tests keeps a loop running in this thread
        found = elsewhere.submit(lambda: asyncio.run(_routes_of(studio))).result()
    return sorted(set(walk(found)))


async def _routes_of(studio: Studio) -> list[Any]:
    return list(app.application(studio, access=Access("0" * 20)).routes)


FOREIGN = {
    "no cookie": [],
    "a wrong cookie": [("cookie", "reft-studio-{port}=guessed")],
    "the cookie of another port": [("cookie", "reft-studio-1={session}")],
    "a wrong token": [("authorization", "Bearer guessed")],
    "another Host": [("host", "evil.example"), ("cookie", "{cookie}")],
    "two Hosts": [("host", "127.0.0.1:{port}"), ("host", "evil.example"), ("cookie", "{cookie}")],
    "another origin": [("origin", EVIL), ("cookie", "{cookie}")],
    "another scheme": [("origin", "https://127.0.0.1:{port}"), ("cookie", "{cookie}")],
    "another port": [("origin", "http://127.0.0.1:1"), ("cookie", "{cookie}")],
    "an origin that begins alike": [("origin", "http://127.0.0.1:{port}.evil.example"), ("cookie", "{cookie}")],
    "no origin at all": [("origin", "null"), ("cookie", "{cookie}")],
    "two origins": [("origin", "http://127.0.0.1:{port}"), ("origin", EVIL), ("cookie", "{cookie}")],
    "another site": [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "cors"), ("cookie", "{cookie}")],
    "another port of this machine": [("sec-fetch-site", "same-site"), ("sec-fetch-mode", "no-cors"), ("cookie", "{cookie}")],
}


@pytest.mark.parametrize("who", FOREIGN)
def test_every_route_of_the_app_refuses(who: str, client: httpx.Client, routes: list[tuple[str, str]]) -> None:
    """The route table is the app's own, so a route that comes with the next version of the toolkit is asked too."""
    name, session = next(iter(client.cookies.items()))
    port = httpx.URL(client.base_url).port
    told = {"port": port, "session": session, "cookie": f"{name}={session}"}
    headers = [(key, value.format(**told)) for key, value in FOREIGN[who]]
    if not any(key == "host" for key, _ in headers):
        headers.append(("host", f"127.0.0.1:{port}"))
    assert len(routes) > 90 and ("POST", "/gradio_api/component_server") in routes
    let_in = []
    with closing(http.client.HTTPConnection("127.0.0.1", port or 0, timeout=20)) as bare:
        for method, path in routes:
            open_to_all = path == OPEN and not {"host", "origin", "sec-fetch-site"} & {key for key, _ in FOREIGN[who]}
            bare.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for key, value in headers:
                bare.putheader(key, value)
            bare.putheader("content-length", "0")
            bare.endheaders()
            answer = bare.getresponse()
            answer.read()
            # uvicorn answers two Hosts itself, before any of our code
            if answer.status not in (403, 400) and not open_to_all:
                let_in.append((method, path, answer.status))
    assert let_in == []


def test_pages_and_calls_are_open_to_whoever_opened_the_printed_address(client: httpx.Client) -> None:
    for path in ("/", "/data", "/config", "/theme.css"):
        assert client.get(path).status_code == 200


def test_the_token_leaves_the_address_and_the_rest_of_it_stays(stranger: httpx.Client, access: Access) -> None:
    answer = stranger.get(f"/review?row=7&token={access.token}&side=flagged%20rows")
    assert answer.status_code == 303 and answer.headers["location"] == "/review?row=7&side=flagged+rows"
    given = answer.headers["set-cookie"]
    assert "HttpOnly" in given and "SameSite=Strict" in given and access.token not in given
    assert given.startswith(f"reft-studio-{stranger.base_url.port}=")


def test_a_browser_that_comes_from_elsewhere_goes_on_from_a_page_of_ours(stranger: httpx.Client, access: Access) -> None:
    """A strict cookie is not sent where a redirect of another site or of a file leads."""
    came = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    answer = stranger.get(access.link(""), headers=came)
    assert answer.status_code == 200 and 'content="0;url=/"' in answer.text and "set-cookie" in answer.headers


@pytest.mark.parametrize("path", ["//evil.example/x", "/\\evil.example", "/%0d%0aset-cookie:x=1", '/"><script>'])
def test_the_way_back_never_leads_elsewhere(access: Access, path: str) -> None:
    answer = access.sign_in("127.0.0.1:1", path, f"token={access.token}".encode(), elsewhere=False)
    assert answer is not None
    location = dict(answer.headers)[b"location"].decode()
    assert location.startswith("/") and not location.startswith(("//", "/\\")) and not set(location) & set('\r\n"<>')


@pytest.mark.parametrize("query", ["token=guessed", "token=", "token", "token=x&token=y"])
def test_a_wrong_token_is_refused_in_words_that_say_where_the_right_one_is(stranger: httpx.Client, query: str) -> None:
    answer = stranger.get(f"/?{query}", headers={"accept": "text/html"})
    assert answer.status_code == 403 and "terminal" in answer.text and "<h1>" in answer.text
    assert not stranger.cookies


def test_a_script_may_bring_the_token_in_a_header(stranger: httpx.Client, access: Access) -> None:
    assert stranger.get("/config", headers={"authorization": f"Bearer {access.token}"}).status_code == 200


def test_a_token_of_ones_own_is_taken_from_the_environment_and_no_worker_inherits_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "a-token-for-my-scripts")
    assert token_from_environment() == "a-token-for-my-scripts"
    assert VARIABLE not in os.environ and len(token_from_environment()) > 40


@pytest.mark.parametrize("token", ["short", "sixteen letters and blanks", "x" * 20 + "\u00e9"])
def test_a_token_that_can_be_guessed_or_is_no_part_of_an_address_is_refused(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, token)
    with pytest.raises(SpecError, match="at least 16"):
        token_from_environment()


def test_the_browser_is_started_with_a_file_that_only_this_user_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    page = opening_file("http://127.0.0.1:1/?token=abc")
    assert page.stat().st_mode & 0o077 == 0 and "url=http://127.0.0.1:1/?token=abc" in page.read_text()
    assert "every user" in NO_TOKEN


def upload_event(client: httpx.Client, file: dict[str, Any]) -> httpx.Response:
    """What the Data page sends when a file was dropped on it, with this file."""
    config = client.get("/config?page=data").json()
    drop = next(part["id"] for part in config["components"] if part["props"].get("elem_id") == "dataset-file")
    call = next(part for part in config["dependencies"] if [drop, "upload"] in part["targets"])
    body = {"data": [file], "fn_index": call["id"], "session_hash": "test", "trigger_id": drop}
    return client.post("/gradio_api/run/predict", json=body)


@pytest.mark.parametrize("scheme", ["http", "HTTP", "https", "ftp", "file"])
def test_a_file_given_as_an_address_is_refused_before_it_is_fetched(client: httpx.Client, scheme: str) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as trap:
        trap.settimeout(0.1)
        address = f"{scheme}://127.0.0.1:{trap.getsockname()[1]}/x.jsonl"
        answer = upload_event(client, {"path": address, "url": address, "orig_name": "x.jsonl", "meta": {"_type": "gradio.FileData"}})
        with pytest.raises(TimeoutError):
            trap.accept()
    assert answer.status_code == 500, answer.text[:300]


def test_a_file_that_was_never_uploaded_is_no_upload(client: httpx.Client, tmp_path: Path) -> None:
    mine = tmp_path / "private.jsonl"
    mine.write_text('{"prompt": "q", "response": "a"}\n')
    answer = upload_event(client, {"path": str(mine), "orig_name": "private.jsonl", "meta": {"_type": "gradio.FileData"}})
    assert answer.status_code == 500 and "/file=" not in answer.text


# --- an address without a page -----------------------------------------------------------------------------------------------------


def test_an_unknown_address_leads_home_in_words_once_somebody_is_signed_in(stranger: httpx.Client, access: Access) -> None:
    page = {"accept": "text/html,application/xhtml+xml"}
    assert stranger.get("/revieww", headers=page).status_code == 403
    assert stranger.get(access.link("")).status_code == 303
    found = stranger.get("/revi<b>%E2%80%AEww", headers=page)
    assert (found.status_code, found.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert (
        "There is no page /revi&lt;b&gt;⟨U+202E⟩ww here" in found.text
        and '<a class="rs-button" data-kind="primary" href="/">' in found.text
    )
    assert found.headers["content-security-policy"] == POLICY


@pytest.mark.parametrize(("method", "accept"), [("GET", "*/*"), ("GET", "application/json"), ("POST", "text/html")])
def test_whoever_opens_no_page_gets_no_page(client: httpx.Client, method: str, accept: str) -> None:
    answer = client.request(method, "/revieww", headers={"accept": accept})
    assert answer.status_code in (404, 405) and "There is no page" not in answer.text
