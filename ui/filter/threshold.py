"""The threshold panel: histogram, line and exact counts at any threshold, all in the browser; and what the threshold trades."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import gradio as gr

from reft_studio.scoring.attacked import blind_to
from ui.widgets import widget

if TYPE_CHECKING:
    from reft_studio.studio.scores import FilterView
    from ui.shared.row_table import ServerFunction


LIVE = ("dom", "url", "threshold_math")


def threshold_panel(elem_id: str = "threshold") -> gr.HTML:
    """Its event "use" carries {t, dataset, key, rule}: the threshold a person wants to work with, and the rule that found it or None."""
    return widget("threshold", scripts=LIVE, elem_id=elem_id)


def rule_panel(srv_rule: ServerFunction, elem_id: str = "threshold-rule") -> gr.HTML:
    """Presets of the line, some of them rules with a promise; what is found moves the line of the threshold panel."""
    return widget("threshold_rule", scripts=LIVE, styles=("pills",), server_functions=[srv_rule], elem_id=elem_id)


def estimate_panel(srv_shift: ServerFunction, elem_id: str = "estimate") -> gr.HTML:
    """The share of harmful rows, what the line does by it, and what another share would mean. It fetches all that for its neighbours too.

    Takes the threshold panel's value. Its event "pace" carries {seconds}: how long reading a row takes.
    """
    return widget("estimate", scripts=(*LIVE, "prevalence_math"), server_functions=[srv_shift], elem_id=elem_id)


def slice_panel(srv_slices: ServerFunction, elem_id: str = "slices") -> gr.HTML:
    """Flagged share and false-positive rate by facet; a click on a slice narrows the row list."""
    return widget("slice_table", scripts=LIVE, styles=("pills",), server_functions=[srv_slices], elem_id=elem_id)


def tradeoff_panel(elem_id: str = "tradeoff") -> gr.HTML:
    """ROC, precision-recall and the cost of a miss; takes the same value as the threshold panel."""
    return widget("tradeoff", scripts=LIVE, elem_id=elem_id)


def drift_panel(elem_id: str = "drift") -> gr.HTML:
    """The file's scores beside the calibration's; takes the same value as the threshold panel."""
    return widget("drift", scripts=LIVE, elem_id=elem_id)


def changes_panel(srv_changes: ServerFunction, elem_id: str = "changes") -> gr.HTML:
    """Rows that another line or another scorer treats otherwise, to be listed."""
    return widget("changes", scripts=LIVE, styles=("pills",), server_functions=[srv_changes], elem_id=elem_id)


def threshold_value(
    view: FilterView, *, reviewed: Sequence[tuple[int, str]], note: str = "", unlabelled: str = "", seconds: float = 20
) -> str:
    """What the panels draw. JSON text, because Gradio would wrap every number of a list in a reactive object.

    `reviewed` holds (bin, action) where a person has decided rows; `note` is put behind the summary sentence, what it is blind to
    under it; `unlabelled` stands where recall and precision would be when the file carries no truth; `seconds` is what reading a row takes.
    """
    return json.dumps(
        {
            "dataset": view.score.dataset,
            "key": view.score.key,
            "bins": view.bins,
            "threshold": view.threshold,
            "calibrated": view.calibrated,
            "reviewed": reviewed,
            "seconds": seconds,
            "note": note,
            "blind": blind_to(view.info.name),
            "unlabelled": unlabelled,
            "measure": view.info.measure,
        },
        allow_nan=False,
    )
