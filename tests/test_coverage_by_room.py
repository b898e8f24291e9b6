"""Lines and branches that ran are summed by room."""

from __future__ import annotations

from typing import Any

from tools.coverage_by_room import by_room, room, table


def file(lines: int, lines_run: int, branches: int = 0, branches_run: int = 0) -> dict[str, Any]:
    counts = {"num_statements": lines, "covered_lines": lines_run, "num_branches": branches, "covered_branches": branches_run}
    return {"summary": counts}


def test_a_room_is_the_folder_in_the_package_however_deep_its_files_lie() -> None:
    assert room("reft_studio/data/reading/importer.py") == "reft_studio/data"
    assert room("reft_studio/stats.py") == "reft_studio"


def test_files_are_summed_by_room_and_all_rooms_in_the_last_row() -> None:
    rooms = by_room({"ui/app.py": file(10, 5), "reft_studio/data/a.py": file(6, 6, 4, 2), "reft_studio/data/b/c.py": file(2, 0, 4, 0)})
    assert table(rooms).splitlines()[2:] == [
        "| reft_studio/data | 8 | 75.0 | 8 | 25.0 |",
        "| ui | 10 | 50.0 | 0 | - |",
        "| all | 18 | 61.1 | 8 | 25.0 |",
    ]
