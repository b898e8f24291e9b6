"""Harmful rows of one's own, mixed into any dataset at a chosen ratio."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

from reft_studio.errors import SpecError
from ui.events import SLOW, on, said
from ui.text import count, show
from ui.widgets import fixed

if TYPE_CHECKING:
    from reft_studio.studio.studio import Studio

_TITLE = """<h2>Mix harmful rows into a file</h2>
<p class="rs-lead">Every row of the file stays; as many harmful rows are added as make the share, and none whose prompt the file has.
Bring harmful rows as a file first, with the answers that are to be trained.</p>"""


class MixForm:
    """The card; `choices` are the values of its two lists of datasets."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        with gr.Column(elem_classes=["rs-card"]):
            fixed(_TITLE)
            with gr.Row():
                self.user = gr.Dropdown([], label="Into this dataset", elem_id="mix-user", interactive=True)
                self.harmful = gr.Dropdown([], label="Harmful rows from", elem_id="mix-harmful", interactive=True)
            with gr.Row():
                self.share = gr.Slider(1, 50, value=10, step=1, label="Harmful rows, % of the result", elem_id="mix-share")
                self.seed = gr.Number(0, label="Seed", precision=0, elem_id="mix-seed", min_width=100)
            self.button = gr.Button("Mix", variant="primary", size="md", elem_id="mix-make", elem_classes=["fit"])

    @property
    def outputs(self) -> list[gr.Dropdown]:
        return [self.user, self.harmful]

    def choices(self) -> list[Any]:
        """Both lists, with the dataset in work as the file and nothing chosen beside it."""
        files, anything = (
            [(f"{show(one.name, 80)} ({count(one.rows)} rows)", one.id) for one in found]
            for found in (self.studio.datasets.every(), self.studio.datasets.every(None))
        )
        current = self.studio.state().dataset
        return [gr.update(choices=files, value=current.id if current else None), gr.update(choices=anything, value=None)]

    def wire(self, line: gr.HTML) -> None:
        """Queue the mix; what is wrong with the choices is told in the line."""
        inputs = [self.user, self.harmful, self.share, self.seed]
        on(self.button.click, self._make, inputs=inputs, line=line, refresh=True, **SLOW)

    def _make(self, user: str | None, harmful: str | None, share: float, seed: float) -> dict[str, str]:
        if not user or not harmful:
            raise SpecError("Choose a dataset, and the dataset that harmful rows are taken from.")
        if user == harmful:
            raise SpecError("Both are the same dataset. Choose another one to take harmful rows from.")
        self.studio.imports.mix(user, harmful, poison_ratio=share / 100, seed=int(seed or 0))
        return said("The mix is queued.", "note")
