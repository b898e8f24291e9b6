"""Makes what ships beside the lab's base model: its teacher, its aligned weights, and the finished example project.

python -m tools.ship            all three, with the settings that the app uses (docs/lab.md)
python -m tools.ship example    only the example, with the teacher and the aligned weights that ship
python -m tools.ship details    only what the teachers' folders say about layers, positions and neighbours, without training
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from reft_studio.cli.console import Console
from reft_studio.evaluation.subject import base_id, find
from reft_studio.evaluation.suite import lab_suite
from reft_studio.integrity import sealed_folder
from reft_studio.models.session import Session
from reft_studio.studio import example
from reft_studio.tasks import lab_data
from reft_studio.tasks.demo import DemoSpec, demo, teacher_spec
from reft_studio.tasks.evaluate import evaluate_adapter
from reft_studio.tasks.teacher import prepared
from reft_studio.teacher.material import Material
from reft_studio.teacher.teacher import LAB, TeacherInfo, open_teacher
from reft_studio.teacher.training import complete
from reft_studio.workspace import Workspace, read_json, write_json


def main() -> None:
    """Make everything anew in a temporary workspace and put it into assets/lab."""
    with tempfile.TemporaryDirectory(prefix="reft-studio-ship-") as folder:
        workspace = Workspace.open(Path(folder))
        console = Console()
        session = Session.open("lab")
        spec = teacher_spec(lab_data.alignment(workspace))
        for name, changes in (("lab", {}), ("lab-aligned", {"regularisation": 0.0})):
            console.stage(f"prepare {name}", 1, 2)
            _ship(prepared(workspace, spec.model_copy(update=changes), session, console), name)
        _example(workspace, session, console)


def example_alone() -> None:
    """Make the example anew in a temporary workspace and put it into assets/lab."""
    with tempfile.TemporaryDirectory(prefix="reft-studio-ship-") as folder:
        workspace = Workspace.open(Path(folder))
        _example(workspace, Session.open("lab"), Console())


def _example(workspace: Workspace, session: Session, console: Console) -> None:
    console.stage("make the example", 2, 2)
    result = demo(workspace, DemoSpec(shipped_teacher=True), console, session=session)
    subjects = [base_id("lab"), "teacher--lab", "aligned--lab-aligned"]
    for name in subjects[1:]:
        subject = find(workspace, name)
        evaluate_adapter(workspace, session, name, session.ensure("evaluated", subject.adapter), lab_suite(), console)
    example.pack(workspace, dataset=result.datasets[0], runs=result.runs, subjects=subjects, made_on=datetime.now(UTC).date().isoformat())
    console.done()


def details() -> None:
    """Measure the shipped teachers on the prompts they were made of, and put the files of `teacher.details` into their folders."""
    with tempfile.TemporaryDirectory(prefix="reft-studio-ship-") as folder:
        workspace = Workspace.open(Path(folder))
        console, session = Console(), Session.open("lab")
        spec = teacher_spec(lab_data.alignment(workspace))
        for name in LAB:
            console.stage(f"measure {name}", 1, 1)
            complete(open_teacher(workspace, name), Material(workspace, spec, session, console))
        console.done()


def _ship(info: TeacherInfo, name: str) -> None:
    title = "Lab teacher" if info.regularised else "Lab aligned weights"
    with sealed_folder(LAB[name]) as building:
        shutil.copytree(info.folder, building, dirs_exist_ok=True)
        write_json(building / "teacher.json", {**read_json(info.folder / "teacher.json"), "title": title})


if __name__ == "__main__":
    {"details": details, "example": example_alone}.get(" ".join(sys.argv[1:]), main)()
