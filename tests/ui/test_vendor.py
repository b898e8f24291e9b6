from __future__ import annotations

import re

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from reft_studio.fingerprint import of_file
from ui import vendor


@pytest.fixture
def client() -> TestClient:
    app = Starlette()
    app.add_route(vendor.ROUTE, vendor.serve)
    return TestClient(app)


def test_what_a_page_asks_for_is_there_and_may_be_kept(client: TestClient) -> None:
    addresses = re.findall(r'(?:href|src)="([^"]+)"', vendor.UPLOT)
    assert len(addresses) == 2
    for address in addresses:
        answer = client.get(address)
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]


@pytest.mark.parametrize("address", ["/vendor/uplot-1.6.32/none.js", "/vendor/../theme.css", "/vendor/x/%2e%2e"])
def test_nothing_else_is_served(client: TestClient, address: str) -> None:
    assert client.get(address).status_code == 404


def test_libraries_are_as_their_authors_published_them() -> None:
    readme = (vendor.FOLDER / "README.md").read_text("utf-8")
    listed = {name: digest for digest, name in re.findall(r"^([0-9a-f]{64})  (\S+)$", readme, re.MULTILINE)}
    assert set(listed) == {path.relative_to(vendor.FOLDER).as_posix() for path in vendor.FOLDER.glob("*/*")}
    assert {name: of_file(vendor.FOLDER / name) for name in listed} == listed
