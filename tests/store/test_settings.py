from __future__ import annotations

import pytest

from reft_studio.errors import StoreError
from reft_studio.store import settings
from reft_studio.store.connection import transaction
from reft_studio.workspace import Workspace


def test_a_setting_outlives_the_app(workspace: Workspace) -> None:
    settings.set(workspace, "threshold", {"d1": 0.31, "größe": [1, None, True]})
    assert settings.get(Workspace.open(workspace.root), "threshold") == {"d1": 0.31, "größe": [1, None, True]}


def test_a_setting_nobody_made_is_its_default(workspace: Workspace) -> None:
    assert settings.get(workspace, "reviewer", "me") == "me"


def test_none_and_false_are_values_not_absences(workspace: Workspace) -> None:
    settings.set(workspace, "masked", False)
    settings.set(workspace, "dataset", None)
    assert settings.get(workspace, "masked", True) is False and settings.get(workspace, "dataset", "x") is None


def test_the_last_value_counts_and_can_be_forgotten(workspace: Workspace) -> None:
    settings.set(workspace, "a", 1)
    settings.set(workspace, "a", 2)
    assert settings.get(workspace, "a") == 2
    settings.remove(workspace, "a")
    settings.remove(workspace, "a")
    assert settings.get(workspace, "a") is None


def test_a_damaged_setting_is_named(workspace: Workspace) -> None:
    with transaction(workspace) as connection:
        connection.execute("INSERT INTO settings (key, value, at) VALUES ('reviewer', '{', '')")
    with pytest.raises(StoreError, match="The setting 'reviewer' is damaged"):
        settings.get(workspace, "reviewer")
