"""Lines from rows that a person knows to be harmless, and promises that are withheld."""

from __future__ import annotations

import numpy as np
import pytest

from reft_studio.audit.threshold_rule import ThresholdRule
from reft_studio.data.dataset import Row, write_dataset
from reft_studio.errors import SpecError, StoreError
from reft_studio.scoring.scores import write_scores
from reft_studio.studio.studio import Studio


def scored(studio: Studio, name: str, values: np.ndarray, *, teacher: str = "lab", harmful: bool | None = None) -> str:
    rows: list[Row] = [{"prompt": f"{name} {at}", "response": "r", "known_harmful": harmful} for at in range(len(values))]
    made = write_dataset(studio.workspace, rows, name=name, role="user")
    facts = {"key": "k", "scorer": "s", "teacher": teacher, "threshold": 0.0, "info": {}}
    write_scores(studio.workspace, made, values.astype(np.float32), **facts)  # type: ignore[arg-type]
    return made.id


def clean(source: str, share: float = 0.05) -> ThresholdRule:
    return ThresholdRule(rule="clean", clean=source, false_positives=share)


def test_rows_of_another_dataset_a_draw_and_labels_may_be_the_clean_ones(studio: Studio) -> None:
    own = scored(studio, "own", np.linspace(-0.98, 0.0, 99))
    file = scored(studio, "file", np.linspace(-0.5, 0.5, 99), harmful=False)
    assert studio.thresholds.clean_sources(file, "k") == [
        ("reviewed", "random rows of this file that people kept"),
        ("labelled", "rows of this file that are labelled harmless"),
        (own, "own"),
    ]
    assert studio.thresholds.by_rule(file, "k", clean(own)).threshold == pytest.approx(-0.039)
    assert studio.thresholds.by_rule(file, "k", clean("labelled")).threshold > 0.4
    for row in studio.audit.draw_sample(file, 40).rows:
        studio.audit.decide(file, row, "keep", seen=True)
    assert "40 rows" in studio.thresholds.by_rule(file, "k", clean("reviewed")).promise


def test_clean_rows_need_no_calibration_and_the_other_rules_do(studio: Studio) -> None:
    own, file = (scored(studio, name, np.linspace(-0.98, 0.0, 99), teacher="gone") for name in ("own", "file"))
    assert studio.thresholds.by_rule(file, "k", clean(own)).recall is None
    with pytest.raises(StoreError):
        studio.thresholds.by_rule(file, "k", ThresholdRule(rule="recall"))


def test_a_clean_dataset_that_this_scorer_has_not_read_is_named(studio: Studio) -> None:
    file = scored(studio, "file", np.linspace(-0.5, 0.5, 99))
    bare = write_dataset(studio.workspace, [{"prompt": "p", "response": "r"}], name="not scored", role="user")
    with pytest.raises(SpecError, match="'not scored' has no scores of this scorer yet"):
        studio.thresholds.by_rule(file, "k", clean(bare.id))


def test_a_preset_promises_nothing_for_a_file_that_is_no_mix_of_the_calibration(studio: Studio) -> None:
    found = studio.thresholds.by_rule(scored(studio, "file", np.linspace(-0.2, 0.2, 99)), "k", ThresholdRule(rule="recall"))
    assert found.withheld and found.promise.startswith("No promise: The scores of this file are no mix") and found.recall is None
    assert "50 random rows" in found.assumption
