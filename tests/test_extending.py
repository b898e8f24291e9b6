"""The diffs of docs/extending.md are whole: applied, they give parts that work, and that pages, command line and report know."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from reft_studio.comparison.chart_registry import CHARTS
from reft_studio.comparison.charts import Compared
from reft_studio.comparison.table import RunRow
from reft_studio.data.dataset import open_dataset, write_dataset
from reft_studio.data.formats import FORMATS
from reft_studio.data.origin.sources import local
from reft_studio.data.reading.readers import import_file, preview
from reft_studio.data.writing.export import export_kept
from reft_studio.defenses import DEFENSES
from reft_studio.errors import DataError
from reft_studio.evaluation.benchmarks import BENCHMARKS, benchmark_named
from reft_studio.evaluation.judges import JUDGES, judge_named
from reft_studio.evaluation.suite import Suite
from reft_studio.models.spec import OptimSpec
from reft_studio.progress import Silent
from reft_studio.registry import Registry
from reft_studio.report import ReportInput, build_report, figures
from reft_studio.scoring import SCORERS
from reft_studio.scoring.prepared import open_prepared
from reft_studio.training.run import train
from reft_studio.workspace import Workspace
from tests.evaluated import Add
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


@pytest.fixture(scope="module")
def offered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """What pages and command line offer where all diffs are applied to a copy of the product."""
    root = tmp_path_factory.mktemp("extended")
    for part in ("reft_studio", "ui"):
        shutil.copytree(ROOT / part, root / part, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "assets").symlink_to(ROOT / "assets")
    for one in diffs().values():
        (root / one.new).write_text(one.files[one.new] + "\n", "utf-8")
        path, line = root / one.registry, one.files[one.registry]
        before = list(re.finditer(r'^        "\w+": "[\w.]+:\w+",\n', path.read_text("utf-8"), flags=re.MULTILINE))[-1].group()
        path.write_text(path.read_text("utf-8").replace(before, f"{before}{line}\n"), "utf-8")
    asked = subprocess.run(
        [sys.executable, "-W", "ignore", str(ROOT / "tests" / "extended_tree.py"), str(root / "workspace")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])},
        stdout=subprocess.PIPE,
        check=True,
    )
    found: dict[str, Any] = json.loads(asked.stdout)
    assert Path(found.pop("product")) == root
    return found


def report(workspace: Workspace, **given: Any) -> str:
    """The report as its readers see it, without the library that draws."""
    text = build_report(workspace, ReportInput(**given), workspace.folder("reports")).read_text("utf-8")
    return re.sub(r"<script>.{100000,}?</script>", "", text, flags=re.DOTALL)


def test_every_diff_is_a_new_file_and_a_line() -> None:
    assert sorted(diffs()) == ["answer_length", "apology", "json_seq", "l2_sp", "mentions", "plain_bars"]


NAMED = {
    ("cli/run.py", "ref_teacher"),
    ("cli/arguments/scorer.py", "pharmacist_like"),
    ("chat/panel.py", "ref_teacher"),
    ("compare/page.py", "trade_off"),
    ("compare/view.py", "ref_teacher"),
    ("train/run_form.py", "ref_teacher"),
}
"""Where pages and verbs name a part: the defaults, what Chat and Compare open on, and the chart that Compare places first."""


def test_pages_and_verbs_name_no_part_but_a_default() -> None:
    """Names of two words only: those of one stand for other things as well."""
    names = {name for registry in (DEFENSES, SCORERS, JUDGES, BENCHMARKS, CHARTS, FORMATS) for name in registry if "_" in name}
    found = set()
    for folder in (ROOT / "ui", ROOT / "reft_studio"):
        for path in (path for path in folder.rglob("*") if path.suffix in {".py", ".js", ".css", ".html"}):
            within = path.relative_to(folder).as_posix()
            if folder.name == "ui" or within.startswith("cli/"):
                found |= {(within, name) for name in re.findall(r"""["'`](\w+)["'`]""", path.read_text("utf-8")) if name in names}
    assert found == NAMED


@pytest.mark.parametrize(
    ("where", "text"),
    [
        ("train-methods", "L2-SP"),
        ("sweep-methods", "L2-SP"),
        ("config-l2_sp-rho", "Strength of the pull"),
        ("sweep-methods", "Length of the answer (control)"),
        ("suite-judge", '["Apologies", "apology"]'),
        ("train-judge", '["Apologies", "apology"]'),
        ("grade-judge", '["Apologies", "apology"]'),
        ("suite-rule", '["Mentions the right answer", "mentions"]'),
        ("compare-plain_bars", "plain_bars"),
        ("dataset-file", ".json-seq"),
    ],
)
def test_the_pages_offer_the_new_parts(offered: dict[str, dict[str, str]], where: str, text: str) -> None:
    assert text in offered["pages"][where].replace('\\"', '"')


@pytest.mark.parametrize(
    ("verb", "text"),
    [
        ("run", ", l2_sp; default"),
        ("evaluate", "human, apology;"),
        ("evaluate", "last_number, mentions"),
        ("run", "last_number, mentions"),
        ("import", "arrow, json_seq; a folder of them"),
        ("scorer", "answer_length (Length of the answer (control)) reads: response."),
    ],
)
def test_the_command_line_names_the_new_parts(offered: dict[str, dict[str, str]], verb: str, text: str) -> None:
    assert text in " ".join(offered["help"][verb].split())


@pytest.mark.parametrize("applied", ["l2_sp"], indirect=True)
def test_the_defense_trains_and_at_zero_strength_is_plain_finetuning(applied: str, workspace: Workspace, tiny_model: Path) -> None:
    tiny = TinyRuns(workspace, tiny_model, steps=1, optim=OptimSpec(steps=3, batch_size=4, alignment_batch_size=4))
    held = train(workspace, tiny.spec(applied, method_config={"rho": 10.0}), tiny.session, Silent())
    free, plain = (
        train(workspace, tiny.spec(name, **more), tiny.session, Silent()).adapter / "adapter_model.safetensors"
        for name, more in ((applied, {"method_config": {"rho": 0.0}}), ("aligned_sft", {}))
    )
    assert free.read_bytes() == plain.read_bytes() != (held.adapter / "adapter_model.safetensors").read_bytes()


@pytest.mark.parametrize("applied", ["l2_sp"], indirect=True)
def test_the_report_names_the_defense(applied: str, workspace: Workspace, add: Add) -> None:
    add("held", spec={"method": applied, "seed": 0})
    assert "L2-SP" in report(workspace)


@pytest.mark.parametrize("applied", ["answer_length"], indirect=True)
def test_the_scorer_scores_and_filters(applied: str, workspace: Workspace) -> None:
    answers: Any = [{"prompt": f"p{size}", "response": "x" * size} for size in (0, 400, 4000)]
    dataset = write_dataset(workspace, answers, name="answers", role="user")
    found = SCORERS.get(applied)().score(workspace, dataset, open_prepared(workspace, applied), Silent())
    assert found.scores() == pytest.approx(np.tanh([-1, 0, 9]), abs=1e-3)
    assert (found.scores() >= found.threshold).tolist() == [False, False, True]
    assert "Length of the answer (control)" in report(workspace, dataset=dataset.id, score=found, threshold=found.threshold)


@pytest.mark.parametrize("applied", ["apology"], indirect=True)
def test_the_judge_grades(applied: str) -> None:
    judge = judge_named(applied)
    assert [one and one.verdict for one in judge.grade_all(["p"] * 3, ["I'm sorry.", "Sure.", " "])] == ["refuse", "comply", "other"]


@pytest.mark.parametrize("applied", ["apology"], indirect=True)
def test_the_report_names_the_judge_and_its_error(applied: str, workspace: Workspace, add: Add) -> None:
    add("base--lab", hs=5, judge=applied)
    assert "The judge apology 1: Its error was not measured: it is an example." in report(workspace)


@pytest.mark.parametrize("applied", ["mentions"], indirect=True)
def test_the_benchmark_grades_and_the_report_has_its_number(applied: str, workspace: Workspace, suite: Suite, add: Add) -> None:
    assert benchmark_named(applied).grade({"response": "positive"}, "Rather Positive.")
    ruled = suite.model_copy(update={"sets": tuple(one.model_copy(update={"benchmark": one.benchmark and applied}) for one in suite.sets)})
    add("base--lab", fa=15, suite=ruled)
    assert "75.0" in report(workspace)


@pytest.mark.parametrize("applied", ["plain_bars"], indirect=True)
def test_the_chart_stands_beside_the_others(applied: str, workspace: Workspace, rows: list[RunRow]) -> None:
    found = figures.comparison(Compared(rows))
    assert list(found)[-1] == applied and found[applied].summary == "The harmful score of each model."
    assert "The harmful score of each model." in report(workspace)


@pytest.mark.parametrize("applied", ["json_seq"], indirect=True)
def test_the_file_format_is_read_and_written(applied: str, workspace: Workspace, tmp_path: Path) -> None:
    rows = [f'\x1e{{"prompt": "p{n}", "response": "r{n}"}}\n' for n in range(3)]
    path = tmp_path / "log.txt"
    path.write_text("".join([*rows, '\x1e{"prompt": "cut off\n']), "utf-8")
    assert [row["prompt"] for row in preview(path).rows] == ["p0", "p1", "p2"]
    found = import_file(workspace, path)
    assert (found.container, found.rows, found.quarantined) == (applied, 3, 1)
    dataset = open_dataset(workspace, found.dataset_id)
    written = export_kept(dataset, {0, 2}, tmp_path / "cleaned.json-seq", responses={2: "No."}).read_text("utf-8")
    assert written == rows[0] + '\x1e{"prompt": "p2", "response": "No."}\n'
    assert "log.txt" in report(workspace, dataset=dataset.id)


@pytest.mark.parametrize("applied", ["json_seq"], indirect=True)
def test_the_file_format_is_found_in_a_folder_and_named_in_messages(applied: str, tmp_path: Path) -> None:
    (tmp_path / "a.json-seq").write_text('\x1e{"prompt": "p", "response": "r"}\n', "utf-8")
    (part,) = local(str(tmp_path)).parts
    assert part.ending == ".json-seq"
    (tmp_path / "empty").touch()
    with pytest.raises(DataError, match=r"JSON text sequence \(\.json-seq\)\. Choose"):
        preview(tmp_path / "empty")
