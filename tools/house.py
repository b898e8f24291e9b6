"""Counts how the code is divided: `python -m tools.house` prints a table and writes nothing.

python -m tools.house --names              also what is behind each count
python -m tools.house --at REV             of a commit instead of the working tree
python -m tools.house --against REV        two columns: that commit, and the working tree (or --at)
python -m tools.house --draw [--check]     the drawing in docs/development.md: make it anew, or say whether it is that of the code

Everything is read from the syntax of the files. An import inside a function counts like any other, one under `if TYPE_CHECKING` apart.
"""

from __future__ import annotations

import argparse
import ast
import io
import subprocess
import sys
import tarfile
import tempfile
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.house_code import PRODUCT, STUDIO, House, Module, circles, contracts, files, read_house
from tools.house_drawing import draw, outdated

ROOT = Path(__file__).resolve().parent.parent
TESTED = ("store", "audit", "training", "data")
"""Rooms whose ratio of tests to code is shown: what they do wrong costs most."""
SHORT = 60
BLOCK = 8
PAST = "imports past the studio, by pages and commands, of other than values"
"""Values are what the import contract of the same name leaves out."""
FORMER_CLI = ("verbs", "options", "console", "demo")
"""The command line's modules before they had a folder, with those named `*_cli` and `*_verb`."""


@dataclass(frozen=True)
class Count:
    """A row of the table; `names` are the things that were counted, where a list of them says more."""

    value: str
    names: tuple[str, ...] = ()
    listed: bool = False
    """Whether the names are always printed below the table."""


Figures = dict[str, Count]


def main(arguments: Sequence[str], root: Path = ROOT) -> int:
    """Print what is asked for; the exit code."""
    asked = argparse.ArgumentParser(prog="python -m tools.house", description="The figures of how the code is divided.")
    asked.add_argument("--at", metavar="REV", help="count this commit instead of the working tree")
    asked.add_argument("--against", metavar="REV", help="a column before, of this commit")
    asked.add_argument("--names", action="store_true", help="also print what was counted")
    asked.add_argument("--draw", action="store_true", help="write the drawing of the rooms into docs/development.md")
    asked.add_argument("--check", action="store_true", help="with --draw: write nothing, exit 1 if the drawing is not that of the code")
    given = asked.parse_args(arguments)
    if given.draw:
        return drawn(read_house(root), check=given.check)
    columns = {rev: figures_at(root, rev) for rev in (given.against, given.at) if rev}
    if not given.at:
        columns["now"] = figures(read_house(root), values_of(root))
    print(table(columns))
    print(lists(columns, everything=given.names), end="")
    return 0


def drawn(house: House, *, check: bool) -> int:
    """Write the drawing, or with `check` compare it with the code; the exit code."""
    if not check:
        draw(house)
        return 0
    if difference := outdated(house):
        print(f"The drawing of the rooms is not that of the code: {difference}. Run `python -m tools.house --draw`.", file=sys.stderr)
    return 1 if difference else 0


def figures_at(root: Path, rev: str) -> Figures:
    """The figures of a commit, by today's rules, unpacked to a temporary folder. Exits with git's words if there is no such commit."""
    with tempfile.TemporaryDirectory(prefix="house-") as folder:
        there = git(root, "ls-tree", "--name-only", rev).decode().split("\n")
        archive = git(root, "archive", rev, "--", *(name for name in (*PRODUCT, "tests") if name in there))
        with tarfile.open(fileobj=io.BytesIO(archive)) as packed:
            packed.extractall(folder, filter="data")
        return figures(read_house(Path(folder)), values_of(root))


def git(root: Path, *arguments: str) -> bytes:
    """What git prints. Exits with what it says if it fails."""
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True)
    if done.returncode:
        raise SystemExit(done.stderr.decode().strip())
    return done.stdout


def figures(house: House, values: Collection[tuple[str, str]] = ()) -> Figures:
    """Every figure by what it counts; `values` are those of `values_of`."""
    return {**sizes(house), **ratios(house), **shapes(house), **between_rooms(house, values), **repeated(house)}


def sizes(house: House) -> Figures:
    """Files and lines of each folder."""
    found: Figures = {}
    for folder in PRODUCT:
        python = [module.lines for module in house.modules.values() if module.name.partition(".")[0] == folder]
        found[f"`{folder}`: Python files / lines"] = Count(pair(python))
        if folder == "ui":
            found["`ui`: JS, CSS, HTML files / lines"] = Count(pair(lines(files(house.root / "ui", "js", "css", "html"))))
    found["all of these: Python files / lines"] = Count(pair([module.lines for module in house.modules.values()]))
    found["`tests`: Python files / lines"] = Count(pair(lines(files(house.root / "tests", "py"))))
    return found


def lines(paths: Iterable[Path]) -> list[int]:
    """The lines of each file."""
    return [len(path.read_text("utf-8").splitlines()) for path in paths]


def pair(counted: list[int]) -> str:
    """`files / lines`, or a dash where there are none."""
    return f"{len(counted)} / {sum(counted):,}" if counted else "-"


def ratios(house: House) -> Figures:
    """Lines of tests for one line of Python, of everything and of some rooms; `tests/ROOM/` and `tests/test_ROOM*.py` test a room."""
    tests = house.root / "tests"
    rooms = house.rooms(STUDIO)
    found = {"lines of tests for a line of code": ratio(lines(files(tests, "py")), house.modules.values())}
    for room in TESTED:
        paths = [*files(tests / room, "py"), *sorted(tests.glob(f"test_{room}*.py"))]
        found[f"the same of `{room}`"] = ratio(lines(paths), rooms.get(room, []))
    return found


def ratio(tests: list[int], code: Iterable[Module]) -> Count:
    """Tests to code, with two decimals, or a dash without code."""
    total = sum(module.lines for module in code)
    return Count(f"{sum(tests) / total:.2f}" if total else "-")


def shapes(house: House) -> Figures:
    """Files that may be too small to stand alone; the `__init__.py` of a folder has to be there and is not counted."""
    own = [module for module in house.modules.values() if not module.is_package]
    short = {module.name for module in own if module.lines < SHORT}
    single = {module.name for module in own if len(house.importers[module.name]) == 1}
    return {
        "files that one other file imports": counted(single),
        f"files under {SHORT} lines": counted(short),
        "both of these": counted(short & single),
    }


def counted(names: Iterable[str], *, listed: bool = False) -> Count:
    """How many there are, and which."""
    ordered = tuple(sorted(names))
    return Count(f"{len(ordered):,}", ordered, listed)


def between_rooms(house: House, values: Collection[tuple[str, str]]) -> Figures:
    """Rooms, arrows between them, circles, and who goes past the studio."""
    rooms = house.rooms(STUDIO, "ui").keys() - {STUDIO}
    arrows, with_types = house.arrows(rooms), house.arrows(rooms, typing=True)
    return {
        PAST: counted(past_the_studio(house, values, typing=False)),
        "the same for types only": counted(past_the_studio(house, values, typing=True)),
        "rooms": counted(rooms),
        "arrows between rooms": counted(f"{room} → {aim}" for room, aims in arrows.items() for aim in aims),
        "circles of rooms": counted((" ↔ ".join(circle) for circle in circles(arrows)), listed=True),
        "the same with imports for types": counted((" ↔ ".join(circle) for circle in circles(with_types)), listed=True),
    }


def past_the_studio(house: House, values: Collection[tuple[str, str]], *, typing: bool) -> Iterator[str]:
    """Imports by pages and commands of anything in the package but the studio, the errors, values and, for commands, other commands."""
    for module in house.modules.values():
        if module.room == "ui" or is_command(module):
            for aim in map(house.modules.__getitem__, module.typing if typing else module.uses):
                among_commands = is_command(module) and is_command(aim)
                allowed = {("**", aim.name), (module.name, aim.name)} & set(values) or among_commands
                if aim.name.startswith(f"{STUDIO}.") and aim.room not in ("studio", "errors") and not allowed:
                    yield f"{module.name} → {aim.name}"


def values_of(root: Path) -> frozenset[tuple[str, str]]:
    """Who (`**`: anybody) may import what past the studio: what the import contract of pages and commands leaves out."""
    for contract in contracts(root):
        if contract["type"] == "forbidden" and {"ui", f"{STUDIO}.cli"} <= set(contract.get("source_modules", ())):
            pairs = (line.partition(" -> ")[::2] for line in contract.get("ignore_imports", ()))
            return frozenset((module, aim) for module, aim in pairs)
    return frozenset()


def is_command(module: Module) -> bool:
    """Whether it belongs to the command line, before or after that became a folder."""
    return module.name.startswith(f"{STUDIO}.") and (module.room in ("cli", *FORMER_CLI) or module.room.endswith(("_cli", "_verb")))


def repeated(house: House) -> Figures:
    """Names and lines that are there more than once."""
    places = defaultdict(list)
    for module in house.modules.values():
        for node in module.tree.body:
            if isinstance(node, ast.ClassDef):
                places[node.name].append(module.name)
    twice = {f"{name}: {', '.join(sorted(modules))}" for name, modules in places.items() if len(modules) > 1}
    return {
        "class names of two or more modules": counted(twice, listed=True),
        f"blocks of {BLOCK} or more equal lines": counted(blocks(house.modules.values())),
    }


def code_lines(module: Module) -> list[tuple[int, str]]:
    """Number and text of each line, without indentation, empty lines, comments, docstrings and imports."""
    left_out: set[int] = set()
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import | ast.ImportFrom) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            left_out.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    stripped = ((number, line.strip()) for number, line in enumerate(module.text.splitlines(), 1) if number not in left_out)
    return [(number, line) for number, line in stripped if line and not line.startswith("#")]


def blocks(modules: Iterable[Module]) -> Iterator[str]:
    """Each run of at least BLOCK code lines that is also elsewhere before it, by where it begins, as long as it goes on."""
    first: dict[tuple[str, ...], tuple[str, int, int]] = {}
    for module in modules:
        numbered = code_lines(module)
        texts = [line for _, line in numbered]
        inside = False
        for place in range(len(texts) - BLOCK + 1):
            name, index, line = first.setdefault(tuple(texts[place : place + BLOCK]), (module.name, place, numbered[place][0]))
            again = name != module.name or index + BLOCK <= place
            if again and not inside:
                yield f"{module.name}:{numbered[place][0]} as {name}:{line}"
            inside = again


def table(columns: dict[str, Figures]) -> str:
    """The figures side by side, in Markdown."""
    rows = [["", *columns], ["---"] + ["---:"] * len(columns)]
    rows += [[label, *(column[label].value for column in columns.values())] for label in next(iter(columns.values()))]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def lists(columns: dict[str, Figures], *, everything: bool) -> str:
    """What was counted, of the last column: for the figures whose list is always shown, or for all of them."""
    last = list(columns)[-1]
    shown = {label: count.names for label, count in columns[last].items() if count.names and (count.listed or everything)}
    return "".join(
        f"\n{label[0].upper()}{label[1:]}, {last}:\n\n" + "".join(f"- {name}\n" for name in names) for label, names in shown.items()
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
