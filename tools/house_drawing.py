"""The drawing of the rooms in docs/development.md, made from the code: a flowchart of who imports whom, and a table."""

from __future__ import annotations

import re
from pathlib import Path

from tools.house_code import STUDIO, Arrows, House, Module, contracts, without_detours

PAGE = Path("docs/development.md")
BEGIN = "<!-- the house: made by python -m tools.house --draw -->"
END = "<!-- end -->"
BESIDE = "beside the folders"
_COUNTS = re.compile(r"\| ([\d,]+) \| ([\d,]+) \|$")
_ESCAPED = {"#": "#35;", '"': "#quot;", "<": "#lt;", ">": "#gt;"}


def draw(house: House) -> None:
    """Write the drawing between its two marks. Exits with a line that says so if they are not there."""
    page = house.root / PAGE
    before, _, after = parted(page)
    page.write_text(f"{before}{BEGIN}\n{drawing(house)}\n{END}{after}", "utf-8")


def outdated(house: House) -> str:
    """What the page has and the code would not give, or nothing. Files and lines are told roughly and may differ by a tenth."""
    _, block, _ = parted(house.root / PAGE)
    was, now = block.strip().splitlines(), drawing(house).splitlines()
    for old, new in zip(was, now, strict=False):
        if not alike(old, new):
            return f"`{old.strip()}` would be `{new.strip()}`"
    return "" if len(was) == len(now) else f"it has {len(was)} lines and would have {len(now)}"


def parted(page: Path) -> tuple[str, str, str]:
    """The page before, between and after the marks."""
    before, begin, rest = page.read_text("utf-8").partition(BEGIN)
    block, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{PAGE} has no place for the drawing: write the lines {BEGIN} and {END} where it belongs.")
    return before, block, after


def alike(old: str, new: str) -> bool:
    """Whether two lines are equal but for counts that differ by less than a tenth, or by one file or 50 lines."""
    if _COUNTS.sub("", old) != _COUNTS.sub("", new):
        return False
    was, now = (match.groups() if (match := _COUNTS.search(line)) else () for line in (old, new))
    limits = zip(was, now, (1, 50), strict=False)
    return all(abs(number(a) - number(b)) <= max(number(b) / 10, least) for a, b, least in limits)


def number(text: str) -> int:
    """A count as it stands in the table."""
    return int(text.replace(",", ""))


def drawing(house: House) -> str:
    """Flowchart and table of the rooms that are folders, from the top of the import contract down."""
    rooms = house.rooms(STUDIO, "ui", "benchmarks")
    words = {room: words_of(modules) for room, modules in rooms.items() if room != STUDIO and is_folder(modules)}
    arrows = house.arrows(words)
    order = top_down(arrows, layers(house.root))
    rows = [row(f"`{place(room, rooms[room])}`", words[room], rooms[room]) for room in order]
    beside = [module for room, modules in rooms.items() if room != STUDIO and room not in words for module in modules]
    if beside:
        rows.append(row(BESIDE, ", ".join(f"`{module.room}`" for module in beside), beside))
    head = ["", "| room | what it holds | files | lines, about |", "|---|---|---:|---:|"]
    return "\n".join([*flowchart(order, words, without_detours(arrows)), *head, *rows])


def is_folder(modules: list[Module]) -> bool:
    """Whether a room is a folder and not one file."""
    return len(modules) > 1 or modules[0].is_package


def words_of(modules: list[Module]) -> str:
    """What the folder's own `__init__.py` says of it, or nothing."""
    packages = sorted((module for module in modules if module.is_package), key=lambda module: len(module.name))
    return packages[0].words if packages else ""


def place(room: str, modules: list[Module]) -> str:
    """The folder of a room."""
    package = modules[0].name.partition(".")[0]
    return room if room == package else f"{package}/{room}"


def flowchart(order: list[str], words: dict[str, str], arrows: Arrows) -> list[str]:
    """Mermaid's text, in its Markdown fence. Nodes have a prefix, since `end` and others are words of mermaid's own."""
    boxes = [f'  r_{room}["{label(room, words[room])}"]' for room in order]
    lines = [f"  r_{room} --> {' & '.join(f'r_{aim}' for aim in order if aim in arrows[room])}" for room in order if arrows[room]]
    return ["```mermaid", "flowchart TD", *boxes, *lines, "```"]


def label(room: str, words: str) -> str:
    """A room's name and the first sentence about it; mermaid wraps it."""
    sentence = re.split(r"(?<=\.)\s", words)[0].rstrip(".").replace("`", "")
    lines = [room, sentence] if sentence else [room]
    return "<br/>".join("".join(_ESCAPED.get(letter, letter) for letter in line) for line in lines)


def row(name: str, words: str, modules: list[Module]) -> str:
    """A line of the table; lines of code with two digits that mean something."""
    lines = int(float(f"{sum(module.lines for module in modules):.2g}"))
    return f"| {name} | {words.replace('|', chr(92) + '|')} | {len(modules)} | {lines:,} |"


def layers(root: Path) -> list[str]:
    """The rooms of the first import contract with layers, from the highest down; one in parentheses may be missing."""
    order = next(contract["layers"] for contract in contracts(root) if contract["type"] == "layers")
    names = (name.strip(" ()").removeprefix("reft_studio.") for layer in order for name in re.split(r"[|:]", layer))
    return list(dict.fromkeys(name.partition(".")[0] for name in names))


def top_down(arrows: Arrows, order: list[str]) -> list[str]:
    """The rooms in the order of the layers; one that the contract does not name stands above the highest that it imports."""

    def height(room: str) -> tuple[float, str]:
        below = [order.index(aim) for aim in arrows[room] if aim in order]
        return (order.index(room) if room in order else min(below, default=len(order)) - 0.5), room

    return sorted(arrows, key=height)
