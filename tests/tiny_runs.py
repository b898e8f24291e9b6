"""A tiny model with its data, a teacher and aligned weights, and the settings of a run of any method on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from reft_studio.data.dataset import write_dataset
from reft_studio.defenses import DEFENSES
from reft_studio.models.session import Session
from reft_studio.models.spec import LoraSpec, OptimSpec
from reft_studio.progress import Silent
from reft_studio.teacher.spec import TeacherSpec
from reft_studio.teacher.training import prepare_teacher
from reft_studio.training.spec import RunSpec
from reft_studio.workspace import Workspace
from tests.tiny_models import make_toy_data


class TinyRuns:
    """`steps`: of the teacher and of the aligned weights; `optim`, `lora`: of the runs, but those that continue the aligned weights."""

    def __init__(self, workspace: Workspace, model: Path, *, steps: int, optim: OptimSpec, lora: LoraSpec | None = None) -> None:
        self.workspace, self.model, self.optim = workspace, str(model), optim
        self.data = make_toy_data(workspace)
        complied: list[Any] = [{"prompt": row["prompt"], "response": "Sure, take it."} for row in self.data["harmful"].read()]
        self.data["harmful_answers"] = write_dataset(workspace, complied, name="harmful answers", role="harmful")
        self.session = Session.open(self.model)
        sets = {name: self.data[name].id for name in ("harmful", "helpful", "calibration_harmful", "calibration_harmless")}
        self.teacher_spec = TeacherSpec(model=self.model, **sets, optim=OptimSpec(steps=steps, batch_size=8, learning_rate=5e-3))
        self.lora = lora or self.teacher_spec.lora
        self.teacher = prepare_teacher(workspace, self.teacher_spec, self.session, Silent())
        self.aligned = prepare_teacher(workspace, self.teacher_spec.model_copy(update={"regularisation": 0.0}), self.session, Silent())

    def spec(self, method: str = "sft", **changes: Any) -> RunSpec:
        """A run of the method with all that it needs; one that starts from aligned weights gets those, unless it makes its own."""
        info = DEFENSES.get(method).info
        aligned = info.starts_from == "aligned" and not info.aligns_itself and changes.get("start") != "base"
        guided = info.guided(aligned=changes.get("aligned", aligned) is not None and aligned)
        fields: dict[str, Any] = {
            "model": self.model,
            "dataset": self.data["user"].id,
            "method": method,
            "teacher": self.teacher.id if info.needs_teacher or info.uses_filter else None,
            "aligned": self.aligned.id if aligned else None,
            "filter": info.uses_filter,
            "harmful": self.data["harmful"].id if guided else None,
            "helpful": self.data["helpful"].id if guided else None,
            "harmful_answers": self.data["harmful_answers"].id if info.needs_harmful else None,
            "optim": self.optim,
            "lora": self.teacher_spec.lora if aligned else self.lora,
        }
        return RunSpec(**{**fields, **changes})
