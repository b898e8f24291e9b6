"""The Python code of a project as values: its modules, what each imports, and the rooms they stand in. Nothing is imported or run.

A room is a folder or module of the first level of `reft_studio`, or another package as a whole.
"""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from typing import Any

STUDIO = "reft_studio"
PRODUCT = (STUDIO, "ui", "benchmarks", "tools")
Arrows = dict[str, set[str]]
"""Who imports whom."""


@dataclass(frozen=True)
class Module:
    """A product file; `uses` are the modules it imports when it runs, `typing` those it imports for types only."""

    name: str
    path: Path
    text: str
    tree: ast.Module
    uses: frozenset[str]
    typing: frozenset[str]

    @property
    def lines(self) -> int:
        """Lines of the file, empty ones too."""
        return len(self.text.splitlines())

    @property
    def room(self) -> str:
        """The room it stands in; the package `reft_studio` itself is a room of its own name."""
        package, *rest = self.name.split(".")
        return rest[0] if package == STUDIO and rest else package

    @property
    def is_package(self) -> bool:
        """Whether it is the `__init__.py` of a folder."""
        return self.path.name == "__init__.py"

    @property
    def words(self) -> str:
        """The first paragraph of its docstring, on one line."""
        lines = (ast.get_docstring(self.tree) or "").splitlines()
        return " ".join(line.strip() for line in takewhile(str.strip, lines))


@dataclass(frozen=True)
class House:
    """The product's modules by name, and the folder they were read from."""

    root: Path
    modules: dict[str, Module]

    @cached_property
    def importers(self) -> Arrows:
        """For each module, the product modules that import it, for types too."""
        found: Arrows = {name: set() for name in self.modules}
        for module in self.modules.values():
            for target in module.uses | module.typing:
                found[target].add(module.name)
        return found

    def rooms(self, *packages: str) -> dict[str, list[Module]]:
        """The modules of each room, of these packages only."""
        held: dict[str, list[Module]] = {}
        for module in self.modules.values():
            if module.name.partition(".")[0] in packages:
                held.setdefault(module.room, []).append(module)
        return held

    def arrows(self, rooms: Iterable[str], *, typing: bool = False) -> Arrows:
        """Imports between these rooms, with `typing` also those for types only."""
        arrows: Arrows = {room: set() for room in rooms}
        for module in self.modules.values():
            for target in module.uses | (module.typing if typing else frozenset()):
                room = self.modules[target].room
                if module.room in arrows and room in arrows and room != module.room:
                    arrows[module.room].add(room)
        return arrows


def read_house(root: Path) -> House:
    """Parse every Python file of the product's folders, those that exist."""
    paths = {name_of(path.relative_to(root)): path for folder in PRODUCT for path in files(root / folder, "py")}
    modules = {}
    for name, path in paths.items():
        text = path.read_text("utf-8")
        tree = ast.parse(text)
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        uses: set[str] = set()
        typing: set[str] = set()
        for node, for_types in imports(tree):
            (typing if for_types else uses).update(targets(node, package, paths.keys()))
        modules[name] = Module(name, path, text, tree, frozenset(uses - {name}), frozenset(typing - uses - {name}))
    return House(root, modules)


def contracts(root: Path) -> list[dict[str, Any]]:
    """The import contracts of a project, as pyproject.toml has them."""
    found: list[dict[str, Any]] = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    return found


def files(folder: Path, *endings: str) -> list[Path]:
    """Files below a folder with one of these endings, in order; none if there is no such folder."""
    return sorted(path for ending in endings for path in folder.rglob(f"*.{ending}"))


def name_of(path: Path) -> str:
    """The name a file is imported by."""
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def imports(node: ast.AST, for_types: bool = False) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    """Every import statement below a node, and whether it stands under `if TYPE_CHECKING`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, for_types
        elif isinstance(child, ast.If) and ast.unparse(child.test).rpartition(".")[2] == "TYPE_CHECKING":
            yield from imports(ast.Module(child.body, []), True)
            yield from imports(ast.Module(child.orelse, []), for_types)
        elif isinstance(child, ast.stmt | ast.ExceptHandler | ast.match_case):
            yield from imports(child, for_types)


def targets(node: ast.Import | ast.ImportFrom, package: str, known: Iterable[str]) -> set[str]:
    """The modules among `known` that a statement in `package` imports; `from a import b` means `a.b` if that is one, else `a`."""
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    else:
        above = package.split(".")[: -(node.level - 1) or None] if node.level else []
        names = [".".join([*above, *filter(None, [node.module]), alias.name]) for alias in node.names]
    longest = (next((name for name in ancestors(one) if name in known), None) for one in names)
    return {name for name in longest if name}


def ancestors(name: str) -> Iterator[str]:
    """`a.b.c`, `a.b`, `a`."""
    while name:
        yield name
        name = name.rpartition(".")[0]


def reachable(arrows: Arrows, start: str) -> set[str]:
    """Every room on a way of at least one arrow from `start`."""
    seen: set[str] = set()
    ahead = list(arrows[start])
    while ahead:
        room = ahead.pop()
        if room not in seen:
            seen.add(room)
            ahead += arrows[room]
    return seen


def circles(arrows: Arrows) -> list[tuple[str, ...]]:
    """Sets of two or more rooms that reach each other, in order of their names."""
    reached = {room: reachable(arrows, room) for room in arrows}
    found = {tuple(sorted({other for other in reached[room] if room in reached[other]} | {room})) for room in arrows}
    return sorted(circle for circle in found if len(circle) > 1)


def without_detours(arrows: Arrows) -> Arrows:
    """The same ways with as few arrows as possible: one that a longer way implies is left out. Who reaches whom stays, circles too."""
    kept = {room: set(aims) for room, aims in arrows.items()}
    for room in sorted(kept):
        for aim in sorted(kept[room]):
            kept[room].remove(aim)
            if aim not in reachable(kept, room):
                kept[room].add(aim)
    return kept
