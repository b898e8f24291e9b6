"""What must be settled before gradio is imported: no telemetry, no proxy for ourselves, no stub files, a quicker start."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def prepare() -> None:
    """Set the environment gradio reads at import and install the hook; safe to call twice, useless after gradio is imported."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    for name in ("NO_PROXY", "no_proxy"):
        listed = [host for host in os.environ.get(name, "").split(",") if host]
        os.environ[name] = ",".join([*listed, *(host for host in _LOOPBACK if host not in listed)])
    if "gradio" not in sys.modules and not any(isinstance(finder, NoStubs) for finder in sys.meta_path):
        sys.meta_path.insert(0, NoStubs())


@contextmanager
def one_app() -> Iterator[None]:
    """While pages are drawn, do not let gradio make a whole web app each time one is finished.

    It makes twelve for nine pages and throws eleven away, 2 s of the start on two busy cores; mounting makes the one that serves.
    """
    from gradio.routes import App

    real = App.create_app
    App.create_app = staticmethod(_no_app)
    try:
        yield
    finally:
        App.create_app = staticmethod(real)


class NoStubs(importlib.abc.MetaPathFinder):
    """Keeps gradio from writing `.pyi` files for every component at every import: 3.4 s became 2.2 s here.

    They only serve editors. If gradio renames the function, the app just starts slower; a test watches for that.
    """

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname != "gradio.component_meta":
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(importlib.abc.Loader):
    """Runs the real loader, then replaces the function that writes stubs."""

    def __init__(self, real: importlib.abc.Loader) -> None:
        self._real = real

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._real.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._real.exec_module(module)
        if hasattr(module, "create_or_modify_pyi"):
            vars(module)["create_or_modify_pyi"] = _write_nothing


def _no_app(*args: object, **options: object) -> None:
    return None


def _write_nothing(*args: object, **options: object) -> None:
    return None
