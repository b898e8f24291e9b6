"""The figures and the drawing of the rooms, counted on a project of a dozen files that can be checked by hand."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tools.house import PAST, ROOT, blocks, figures, main, values_of
from tools.house_code import circles, read_house, without_detours
from tools.house_drawing import BEGIN, END, drawing, label, outdated

EIGHT = "".join(f"    total += {n}\n" for n in range(8))
PROJECT = {
    "pyproject.toml": """
[tool.importlinter]
[[tool.importlinter.contracts]]
type = "forbidden"
[[tool.importlinter.contracts]]
type = "forbidden"
source_modules = ["ui", "reft_studio.cli"]
ignore_imports = ["** -> reft_studio.south.two", "ui.page -> reft_studio.south"]
[[tool.importlinter.contracts]]
type = "layers"
layers = ["reft_studio.cli", "ui", "reft_studio.studio",
  "reft_studio.north | reft_studio.south", "(reft_studio.data)", "reft_studio.errors"]
""",
    "reft_studio/__init__.py": '"""All of it."""\n',
    "reft_studio/errors.py": '"""Errors."""\n',
    "reft_studio/cli/__init__.py": '"""Commands. Thin."""\nfrom reft_studio.cli import app\n',
    "reft_studio/cli/app.py": "from reft_studio.studio import studio\nfrom reft_studio.errors import Oops\nimport reft_studio.data.rows\n",
    "reft_studio/studio/__init__.py": '"""What pages and commands call."""\n',
    "reft_studio/studio/studio.py": "import reft_studio.north.one, reft_studio.data.rows\n",
    "reft_studio/north/__init__.py": '"""Goes <north>\nand "up". Never south."""\n',
    "reft_studio/north/one.py": f"from ..south import two\nclass Part: ...\ndef early(total):\n{EIGHT}",
    "reft_studio/south/__init__.py": '"""Goes south."""\n',
    "reft_studio/south/two.py": f"def late(total):\n    from reft_studio.north import one\n# a comment\n\n{EIGHT}class Part: ...\n",
    "reft_studio/data/__init__.py": '"""Rows."""\n',
    "reft_studio/data/rows.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from reft_studio.cli.app import run\n",
    "ui/__init__.py": '"""Pages."""\n',
    "ui/page.py": "import typing\nimport reft_studio.north.one as one\nif typing.TYPE_CHECKING:\n    import reft_studio.data.rows\n",
    "ui/page.js": "one\ntwo\n",
    "ui/page.css": "one\n",
    "tests/data/test_rows.py": "1\n2\n3\n4\n5\n6\n",
    "tests/test_data_more.py": "1\n",
    "docs/development.md": f"# Before\n\n{BEGIN}\n{END}\n\n# After\n",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in PROJECT.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return tmp_path


@pytest.fixture
def value(root: Path) -> Callable[[str], str]:
    found = figures(read_house(root))
    return lambda label: found[label].value


@pytest.fixture
def names(root: Path) -> Callable[[str], tuple[str, ...]]:
    found = figures(read_house(root))
    return lambda label: found[label].names


# --- figures -----------------------------------------------------------------------------------------------------------------------


def test_files_and_lines_are_counted_for_each_folder_that_is_there(value: Callable[[str], str]) -> None:
    assert value("`ui`: Python files / lines") == "2 / 5"
    assert value("`ui`: JS, CSS, HTML files / lines") == "2 / 3"
    assert value("`tests`: Python files / lines") == "2 / 7"
    assert value("`benchmarks`: Python files / lines") == "-"


def test_the_tests_of_a_room_are_those_in_the_folder_of_its_name_and_in_files_of_its_name(value: Callable[[str], str]) -> None:
    assert value("the same of `data`") == f"{7 / 4:.2f}"
    assert value("the same of `store`") == "-"


def test_files_with_one_importer_are_found_and_the_doors_of_folders_are_not_among_them(names: Callable[[str], tuple[str, ...]]) -> None:
    assert names("files that one other file imports") == ("reft_studio.errors", "reft_studio.south.two", "reft_studio.studio.studio")


def test_short_files_are_counted_without_the_doors_of_folders(names: Callable[[str], tuple[str, ...]]) -> None:
    assert "ui.page" in names("files under 60 lines") and "ui" not in names("files under 60 lines")


def test_pages_and_commands_may_import_the_studio_the_errors_and_commands_each_other(names: Callable[[str], tuple[str, ...]]) -> None:
    past = ("reft_studio.cli.app → reft_studio.data.rows", "ui.page → reft_studio.north.one")
    assert names(PAST) == past
    assert names("the same for types only") == ("ui.page → reft_studio.data.rows",)


def test_values_are_what_the_import_contract_of_pages_and_commands_leaves_out(root: Path) -> None:
    assert values_of(root) == {("**", "reft_studio.south.two"), ("ui.page", "reft_studio.south")}
    (root / "ui/page.py").write_text("import reft_studio.south.two, reft_studio.north\nfrom reft_studio import south\n")
    (root / "ui/other.py").write_text("from reft_studio import south\n")
    past = figures(read_house(root), values_of(root))[PAST].names
    assert [line for line in past if line.startswith("ui.")] == ["ui.other → reft_studio.south", "ui.page → reft_studio.north"]


def test_the_pages_and_commands_of_this_project_go_through_the_studio() -> None:
    found = figures(read_house(ROOT), values_of(ROOT))
    assert (found[PAST].names, found["the same for types only"].names) == ((), ())


@pytest.mark.parametrize("name", ["verbs", "teacher_cli", "run_verb", "console"])
def test_the_files_of_the_command_line_count_as_one_before_they_have_a_folder(root: Path, name: str) -> None:
    (root / "reft_studio" / "options.py").write_text("")
    (root / f"reft_studio/{name}.py").write_text("import reft_studio.options, reft_studio.studio.studio, reft_studio.data.rows\n")
    past = figures(read_house(root))[PAST].names
    assert [line for line in past if line.startswith(f"reft_studio.{name} ")] == [f"reft_studio.{name} → reft_studio.data.rows"]


def test_two_rooms_that_import_each_other_are_a_circle_and_an_import_for_types_makes_a_larger_one(
    names: Callable[[str], tuple[str, ...]],
) -> None:
    assert names("circles of rooms") == ("north ↔ south",)
    assert names("the same with imports for types") == ("cli ↔ data ↔ studio", "north ↔ south")


def test_a_class_name_of_two_modules_is_named_with_both(names: Callable[[str], tuple[str, ...]]) -> None:
    assert names("class names of two or more modules") == ("Part: reft_studio.north.one, reft_studio.south.two",)


def test_equal_lines_are_found_whatever_stands_around_them(names: Callable[[str], tuple[str, ...]]) -> None:
    assert names("blocks of 8 or more equal lines") == ("reft_studio.south.two:5 as reft_studio.north.one:4",)


def code(root: Path, text: str) -> list[str]:
    (root / "reft_studio/north/one.py").write_text(text)
    house = read_house(root)
    return list(blocks([house.modules["reft_studio.north.one"]]))


def test_a_block_that_goes_on_counts_once_and_does_not_overlap_with_itself(root: Path) -> None:
    assert code(root, "x = 0\n" * 15) == []
    assert code(root, "x = 0\n" * 30) == ["reft_studio.north.one:9 as reft_studio.north.one:1"]


def test_imports_docstrings_and_comments_are_no_equal_lines(root: Path) -> None:
    twice = '"""A text\nof\nsome\nlines."""\nimport a\nimport b\n# why\n# so\n\nx = 1\n' * 2
    assert code(root, twice) == []


# --- arrows ------------------------------------------------------------------------------------------------------------------------


def test_an_arrow_that_a_longer_way_implies_is_left_out() -> None:
    assert without_detours({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == {"a": {"b"}, "b": {"c"}, "c": set()}


def test_a_circle_stays_a_circle_without_its_detours() -> None:
    arrows = {"a": {"b", "c"}, "b": {"a", "c"}, "c": {"a", "b"}}
    fewer = without_detours(arrows)
    assert circles(fewer) == circles(arrows) == [("a", "b", "c")]
    assert sum(map(len, fewer.values())) < 6


# --- the table ---------------------------------------------------------------------------------------------------------------------


def git(root: Path, *arguments: str) -> None:
    who = ["-c", "user.name=n", "-c", "user.email=n@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *who, *arguments], cwd=root, check=True, capture_output=True)


def test_a_commit_and_the_working_tree_stand_side_by_side_and_nothing_is_written(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["init"], ["add", "."], ["commit", "-m", "first"]):
        git(root, *command)
    (root / "ui/more.py").write_text("1\n" * 10)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert main(["--against", "HEAD"], root) == 0
    printed = capsys.readouterr().out
    assert "|  | HEAD | now |" in printed and "| `ui`: Python files / lines | 2 / 5 | 3 / 15 |" in printed
    assert "- Part: reft_studio.north.one, reft_studio.south.two" in printed and "- ui.page → " not in printed
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
    assert main(["--at", "HEAD", "--names"], root) == 0
    printed = capsys.readouterr().out
    assert "| `ui`: Python files / lines | 2 / 5 |" in printed and "- ui.page → reft_studio.north.one" in printed


def test_an_unknown_commit_is_said_in_the_words_of_git(root: Path) -> None:
    git(root, "init")
    with pytest.raises(SystemExit, match="nowhere"):
        main(["--at", "nowhere"], root)


# --- the drawing -------------------------------------------------------------------------------------------------------------------


def test_rooms_are_drawn_from_the_top_of_the_contract_down_with_arrows_and_a_table(root: Path) -> None:
    assert drawing(read_house(root)).splitlines() == [
        "```mermaid",
        "flowchart TD",
        '  r_cli["cli<br/>Commands"]',
        '  r_ui["ui<br/>Pages"]',
        '  r_studio["studio<br/>What pages and commands call"]',
        '  r_north["north<br/>Goes #lt;north#gt; and #quot;up#quot;"]',
        '  r_south["south<br/>Goes south"]',
        '  r_data["data<br/>Rows"]',
        "  r_cli --> r_studio",
        "  r_ui --> r_north",
        "  r_studio --> r_north & r_data",
        "  r_north --> r_south",
        "  r_south --> r_north",
        "```",
        "",
        "| room | what it holds | files | lines, about |",
        "|---|---|---:|---:|",
        "| `reft_studio/cli` | Commands. Thin. | 2 | 5 |",
        "| `ui` | Pages. | 2 | 5 |",
        "| `reft_studio/studio` | What pages and commands call. | 2 | 2 |",
        '| `reft_studio/north` | Goes <north> and "up". Never south. | 2 | 13 |',
        "| `reft_studio/south` | Goes south. | 2 | 14 |",
        "| `reft_studio/data` | Rows. | 2 | 4 |",
        "| beside the folders | `errors` | 1 | 1 |",
    ]


def test_a_room_that_the_contract_does_not_name_stands_above_those_it_imports(root: Path) -> None:
    (root / "benchmarks").mkdir()
    (root / "benchmarks/race.py").write_text("import reft_studio.data.rows\n")
    (root / "benchmarks/clock.py").write_text("import reft_studio.north.one\n")
    drawn = drawing(read_house(root)).splitlines()
    assert drawn.index('  r_benchmarks["benchmarks"]') == drawn.index('  r_studio["studio<br/>What pages and commands call"]') + 1


def test_a_box_has_the_name_of_the_room_and_its_first_sentence() -> None:
    assert label("jobs", "Runs `work` of arXiv:2506.07356 apart. More.") == "jobs<br/>Runs work of arXiv:2506.07356 apart"
    assert label("jobs", "") == "jobs"


def test_the_drawing_is_written_between_its_marks_and_then_passes_its_check(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = root / "docs/development.md"
    assert main(["--draw", "--check"], root) == 1
    assert "python -m tools.house --draw" in capsys.readouterr().err
    assert page.read_text("utf-8") == PROJECT["docs/development.md"]
    assert main(["--draw"], root) == 0
    written = page.read_text("utf-8")
    assert written.startswith(f"# Before\n\n{BEGIN}\n```mermaid\n") and written.endswith(f"| 1 | 1 |\n{END}\n\n# After\n")
    assert main(["--draw", "--check"], root) == 0
    assert main(["--draw"], root) == 0
    assert page.read_text("utf-8") == written


def test_the_check_allows_a_few_more_lines_but_no_other_arrow(root: Path) -> None:
    main(["--draw"], root)
    rows = root / "reft_studio/data/rows.py"
    rows.write_text(rows.read_text("utf-8") + "\n" * 40)
    assert outdated(read_house(root)) == ""
    rows.write_text(rows.read_text("utf-8") + "\n" * 40)
    assert outdated(read_house(root)) == "`| `reft_studio/data` | Rows. | 2 | 4 |` would be `| `reft_studio/data` | Rows. | 2 | 84 |`"
    rows.write_text(PROJECT["reft_studio/data/rows.py"])
    south = root / "reft_studio/south/two.py"
    south.write_text(f"import reft_studio.data.rows\n{south.read_text('utf-8')}")
    assert outdated(read_house(root)) == "`r_studio --> r_north & r_data` would be `r_studio --> r_north`"


def test_a_page_without_the_marks_is_refused_and_left_alone(root: Path) -> None:
    page = root / "docs/development.md"
    page.write_text("nothing\n")
    with pytest.raises(SystemExit, match="no place for the drawing"):
        main(["--draw"], root)
    assert page.read_text("utf-8") == "nothing\n"


def test_the_drawing_in_the_docs_is_that_of_the_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--draw", "--check"], ROOT) == 0, capsys.readouterr()
