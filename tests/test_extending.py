"""The four diffs of docs/extending.md are whole: applied, they give a defense, a scorer, a judge and a chart that work."""

from __future__ import annotations

import importlib
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from reft_studio.comparison.charts import Compared
from reft_studio.comparison.table import RunRow
from reft_studio.data.dataset import write_dataset
from reft_studio.evaluation.judges import judge_named
from reft_studio.models.spec import OptimSpec
from reft_studio.progress import Silent
from reft_studio.registry import Registry
from reft_studio.report import figures
from reft_studio.scoring import SCORERS
from reft_studio.scoring.prepared import open_prepared
from reft_studio.training.run import train
from reft_studio.workspace import Workspace
from tests.comparison.conftest import add, rows, suite, user_data  # noqa: F401  fixtures
from tests.tiny_runs import TinyRuns

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docs" / "extending.md").read_text("utf-8")


@dataclass(frozen=True)
class Diff:
    """What a diff adds, by file."""

    files: dict[str, str]

    @property
    def new(self) -> str:
        """The one new file."""
        (path,) = (name for name in self.files if not (ROOT / name).exists())
        return path

    @property
    def registry(self) -> str:
        """The one file that gets a line."""
        (path,) = (name for name in self.files if name != self.new)
        return path


def diffs() -> dict[str, Diff]:
    """By the name under which each part is registered."""
    found = {}
    for block in re.findall(r"```diff\n(.*?)```", TEXT, flags=re.DOTALL):
        files: dict[str, list[str]] = {}
        for line in block.splitlines():
            if line.startswith("+++ b/"):
                files[line.removeprefix("+++ b/")] = []
            elif line.startswith("+"):
                list(files.values())[-1].append(line[1:])
        one = Diff({name: "\n".join(lines) for name, lines in files.items()})
        found[re.findall(r'"(\w+)":', one.files[one.registry])[0]] = one
    return found


@pytest.fixture
def applied(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a part whose diff is applied for one test."""
    name: str = request.param
    one = diffs()[name]
    assert set(one.files) == {one.new, one.registry} and len(one.files[one.registry].splitlines()) == 1
    path = one.new.removesuffix(".py").replace("/", ".")
    module = ModuleType(path)
    monkeypatch.setitem(sys.modules, path, module)
    exec(compile(one.files[one.new], one.new, "exec"), module.__dict__)
    holder = importlib.import_module(one.registry.removesuffix(".py").removesuffix("/__init__").replace("/", "."))
    (registry,) = {id(value): value for value in vars(holder).values() if isinstance(value, Registry)}.values()
    entry = dict(re.findall(r'"(\w+)": "([\w.:]+)"', one.files[one.registry]))
    monkeypatch.setattr(registry, "_entries", {**registry._entries, **entry})
    return name


def test_every_diff_is_a_new_file_and_a_line() -> None:
    assert sorted(diffs()) == ["answer_length", "apology", "l2_sp", "plain_bars"]


@pytest.mark.parametrize("applied", ["l2_sp"], indirect=True)
def test_the_defense_trains_and_at_zero_strength_is_plain_finetuning(applied: str, workspace: Workspace, tiny_model: Path) -> None:
    tiny = TinyRuns(workspace, tiny_model, steps=1, optim=OptimSpec(steps=3, batch_size=4, alignment_batch_size=4))
    held = train(workspace, tiny.spec(applied, method_config={"rho": 10.0}), tiny.session, Silent())
    free, plain = (
        train(workspace, tiny.spec(name, **more), tiny.session, Silent()).adapter / "adapter_model.safetensors"
        for name, more in ((applied, {"method_config": {"rho": 0.0}}), ("aligned_sft", {}))
    )
    assert free.read_bytes() == plain.read_bytes() != (held.adapter / "adapter_model.safetensors").read_bytes()


@pytest.mark.parametrize("applied", ["answer_length"], indirect=True)
def test_the_scorer_scores_and_filters(applied: str, workspace: Workspace) -> None:
    answers: Any = [{"prompt": f"p{size}", "response": "x" * size} for size in (0, 400, 4000)]
    dataset = write_dataset(workspace, answers, name="answers", role="user")
    found = SCORERS.get(applied)().score(workspace, dataset, open_prepared(workspace, applied), Silent())
    assert found.scores() == pytest.approx(np.tanh([-1, 0, 9]), abs=1e-3)
    assert (found.scores() >= found.threshold).tolist() == [False, False, True]


@pytest.mark.parametrize("applied", ["apology"], indirect=True)
def test_the_judge_grades(applied: str) -> None:
    judge = judge_named(applied)
    assert [one and one.verdict for one in judge.grade_all(["p"] * 3, ["I'm sorry.", "Sure.", " "])] == ["refuse", "comply", "other"]


@pytest.mark.parametrize("applied", ["plain_bars"], indirect=True)
def test_the_chart_stands_beside_the_others(applied: str, rows: list[RunRow]) -> None:  # noqa: F811
    found = figures.comparison(Compared(rows))
    assert list(found)[-1] == applied and found[applied].summary == "The harmful score of each model."
