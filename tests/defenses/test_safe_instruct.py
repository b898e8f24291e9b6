"""SafeInstruct is finetuning on user rows and refusals as one set: vinid/safety-tuned-llamas@36a4b8d, `training/finetuning.py`."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from reft_studio import fingerprint
from reft_studio.data.dataset import write_dataset
from reft_studio.models.batching import Example
from reft_studio.models.spec import LoraSpec, OptimSpec
from reft_studio.progress import Silent
from reft_studio.training import run as running
from reft_studio.training.run import train
from reft_studio.training.run_folder import RunInfo
from reft_studio.workspace import Workspace
from tests.tiny_runs import TinyRuns

OPTIM = OptimSpec(steps=9, batch_size=4, alignment_batch_size=4, learning_rate=5e-3)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> TinyRuns:
    return TinyRuns(Workspace.open(tmp_path_factory.mktemp("safe-instruct")), tiny_model, steps=5, optim=OPTIM)


def adapter(run: RunInfo) -> str:
    return fingerprint.of_file(run.adapter / "adapter_model.safetensors")


def rows_of(tiny: TinyRuns, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> tuple[RunInfo, list[Example]]:
    """A run with these settings, and the rows that it was trained on."""
    seen: list[Example] = []
    finetune = running.finetune

    def watched(spec: Any, run: Any, defense: Any, rows: list[Example], *rest: Any, **named: Any) -> Any:
        seen.extend(rows)
        return finetune(spec, run, defense, rows, *rest, **named)

    with monkeypatch.context() as patch:
        patch.setattr(running, "finetune", watched)
        return train(tiny.workspace, tiny.spec("safe_instruct", **settings), tiny.session, Silent()), seen


def times_mixed(rows: Sequence[Example], user: int) -> Counter[tuple[int, ...]]:
    return Counter(tuple(row.ids) for row in rows[user:])


@pytest.mark.parametrize(("share", "mixed"), [(0.1, 2), (0.25, 6), (2.0, 48), (2.5, 60)])
def test_the_promised_number_of_refusals_is_mixed_in_each_once_before_any_twice(
    tiny: TinyRuns, monkeypatch: pytest.MonkeyPatch, share: float, mixed: int
) -> None:
    run, rows = rows_of(tiny, monkeypatch, method_config={"share": share})
    assert run.result["kept"] == 24 and run.result["mixed"] == mixed == len(rows) - 24
    refusals = {tuple(row.ids) for row in tiny.session.encoder.examples(tiny.data["harmful"].read())}
    counts = times_mixed(rows, 24)
    assert counts.keys() <= refusals and sorted({counts[row] for row in refusals}) == ([0, 1] if mixed < 50 else [1, 2])
    assert [row.index for row in rows] == list(range(24 + mixed))


def test_another_seed_mixes_other_refusals_in(tiny: TinyRuns, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = (times_mixed(rows_of(tiny, monkeypatch, seed=seed)[1], 24) for seed in (0, 1))
    assert one != two


@pytest.mark.parametrize("adapters", ["continue", "fresh"])
def test_it_takes_the_steps_of_plain_finetuning_on_the_union(tiny: TinyRuns, monkeypatch: pytest.MonkeyPatch, adapters: str) -> None:
    mixed, rows = rows_of(tiny, monkeypatch, adapters=adapters, seed=7)
    by_tokens = {tuple(tiny.session.encoder.example(row, 0).ids): row for row in tiny.data["harmful"].read()}
    union: list[Any] = [*tiny.data["user"].read(), *(by_tokens[tuple(row.ids)] for row in rows[24:])]
    fields = ("prompt", "response", "known_harmful")
    together = write_dataset(tiny.workspace, [{name: row[name] for name in fields} for row in union], name="union", role="user")  # type: ignore[misc]
    plain = train(tiny.workspace, tiny.spec("aligned_sft", dataset=together.id, adapters=adapters, seed=7), tiny.session, Silent())
    assert [line["loss"] for line in mixed.log()] == [line["loss"] for line in plain.log()]
    assert adapter(mixed) == adapter(plain)


def test_a_step_is_one_pass_whatever_is_mixed_in(tiny: TinyRuns) -> None:
    run = train(tiny.workspace, tiny.spec("safe_instruct"), tiny.session, Silent())
    costs = run.costs()
    assert costs is not None and costs["passes"] == {"teacher": 0, "forward": 9, "backward": 9}


def test_what_is_mixed_in_does_not_depend_on_who_aligned_the_base(tiny: TinyRuns, tmp_path: Path) -> None:
    """The first run makes the aligned weights, the second finds them: both draw the same refusals."""
    place = Workspace.open(Path(shutil.copytree(tiny.workspace.root, tmp_path / "own")))
    spec = tiny.spec("safe_instruct", aligned=None, harmful=tiny.data["harmful"].id, helpful=tiny.data["helpful"].id, lora=LoraSpec(rank=4))
    first = train(place, spec, tiny.session, Silent())
    shutil.rmtree(first.folder)
    second = train(place, spec, tiny.session, Silent())
    assert second.result["stages"][0]["shared"] and not first.result["stages"][0]["shared"]
    assert adapter(first) == adapter(second)
