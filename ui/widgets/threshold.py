"""The threshold panel: histogram, line and exact counts at any threshold, all in the browser; and what the threshold trades."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import gradio as gr

from ui.widgets.compose import composed

if TYPE_CHECKING:
    from reft_studio.views.filtering import FilterView
    from ui.widgets.row_table import ServerFunction


def threshold_panel(elem_id: str = "threshold") -> gr.HTML:
    """Its event "use" carries {t, dataset, key, rule}: the threshold a person wants to work with, and the rule that found it or None."""
    return composed("threshold", parts=("dom", "threshold_math"), elem_id=elem_id)


def tradeoff_panel(elem_id: str = "tradeoff") -> gr.HTML:
    """ROC, precision-recall, cost of a miss, precision at another share of harmful rows; takes the same value as the threshold panel."""
    return composed("tradeoff", parts=("dom", "threshold_math"), elem_id=elem_id)


def rule_panel(srv_rule: ServerFunction, elem_id: str = "threshold-rule") -> gr.HTML:
    """Rules that find the threshold, and what each promises; what it finds moves the line of the threshold panel."""
    return composed("threshold_rule", parts=("dom", "threshold_math"), server_functions=[srv_rule], elem_id=elem_id)


def threshold_value(view: FilterView, *, reviewed: Sequence[tuple[float, str]], note: str = "", unlabelled: str = "") -> str:
    """What both panels draw. JSON text, because Gradio would wrap every number of a list in a reactive object.

    `reviewed` holds (score, action) of the rows a person has decided; `note` is put behind the summary sentence;
    `unlabelled` stands where recall and precision would be when the file carries no truth.
    """
    return json.dumps(
        {
            "dataset": view.score.dataset,
            "key": view.score.key,
            "bins": view.bins,
            "threshold": view.threshold,
            "calibrated": view.calibrated,
            "reviewed": [[round(score, 3), action] for score, action in reviewed],
            "note": note,
            "unlabelled": unlabelled,
        },
        allow_nan=False,
    )
