"""Settings: the base models of this machine, those that can be added by name, and a field for one's own; progress and removal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from reft_studio.models.catalogue import DEFAULT
from reft_studio.studio.models import JOB, PROMPTS
from ui.events import FAST, SLOW, on, on_change, on_load, said, status
from ui.shared.jobs import job_panel
from ui.tables import Action, Column, table, table_value
from ui.text import count, seconds, show, size
from ui.widgets import fixed, widget

if TYPE_CHECKING:
    from reft_studio.studio.models import FirstModel, MissingModel, Offer
    from reft_studio.studio.studio import Studio

_LEAD = """<h2>Models</h2><p class="rs-small rs-muted">Base models of this machine, for every workspace, to be chosen by name wherever a
base is asked for. Weights are checked by hash before they are used.</p>"""
_MORE = """<p class="rs-small rs-muted">Instruct models people look for first, as their owners publish them on the model hub. Adding one
asks the hub and downloads it. A gated one asks you to agree to its owner's terms there first, and to log in here with
<code>hf auth login</code>.</p>"""
_NAME, _SIZE, _LANGUAGES = Column("name", "Name", "short"), Column("size", "Size", "num"), Column("languages", "Languages")
_LICENCE, _TIME = Column("licence", "Licence"), Column("time", f"{PROMPTS:,} prompts")
_HERE = (_NAME, Column("state", "State", "badge"), _SIZE, _LICENCE, _LANGUAGES, Column("kind", "Kind", "short"), _TIME)
_LISTED = (_NAME, Column("parameters", "Parameters", "num"), _SIZE, _LICENCE, _LANGUAGES, _TIME)
_REMOVE = Action("remove", "Remove", "Take it off this machine?")


@dataclass(frozen=True)
class ShelfCard:
    """The card's parts that are filled later."""

    first: gr.HTML
    here: gr.HTML
    more: gr.HTML
    source: gr.Textbox
    name: gr.Textbox
    add: gr.Button
    line: gr.HTML


def draw_models(studio: Studio) -> None:
    """Draw the card and wire it."""
    with gr.Column(elem_classes=["rs-card"], elem_id="models"):
        fixed(_LEAD)
        first = first_notice("models-first")
        here = table(_HERE, elem_id="models-here", empty="No model yet.", actions=(Action("add", "Add"), _REMOVE))
        panel = job_panel(studio, [JOB], elem_id="models-jobs")
        with gr.Row(equal_height=False, elem_classes=["rs-ends"]):
            info = "A folder with config.json, a .gguf file (of Ollama or LM Studio) or a folder with one, or a Hub id like org/name"
            source = gr.Textbox("", label="Add a model", info=info, elem_id="models-source", max_lines=1, scale=4, min_width=320)
            name = gr.Textbox("", label="Name", info="Optional", elem_id="models-name", max_lines=1, scale=1, min_width=160)
            add = gr.Button("Add", elem_id="models-add", scale=0, min_width=110)
        line = status("models-status")
        with gr.Accordion("Models that can be added by name", open=False, elem_id="models-more-sheet"):
            fixed(_MORE)
            confirm = Action("add", "Add", "Ask the model hub and download it?")
            more = table(_LISTED, elem_id="models-more", empty="Every model of the list is on this machine.", actions=(confirm,))
    _wire(studio, ShelfCard(first, here, more, source, name, add, line), panel)


def _wire(studio: Studio, card: ShelfCard, panel: gr.HTML) -> None:
    outputs = [card.here, card.more, card.first]

    def refresh() -> list[Any]:
        return [*listed(studio.models.offers()), first_value(studio.models.first())]

    def act(event: gr.EventData) -> tuple[Any, ...]:
        name = str(event.id)
        if event.act == "remove":
            gone = studio.models.remove(name)
            told = f"'{name}' is off the list; its folder stays." if gone.path else f"'{name}' is removed."
            return (*refresh(), said(told, "done"))
        studio.models.add(name)
        return (*refresh(), said(f"'{name}' is being added. The page can be left: the work goes on.", "note"))

    def bring() -> tuple[Any, ...]:
        studio.models.add(DEFAULT)
        return (*refresh(), said(f"'{DEFAULT}' is being added. The page can be left: the work goes on.", "note"))

    def add(source: str, name: str) -> tuple[Any, ...]:
        request = studio.models.look(source, name)
        studio.models.add(source, name=name)
        return "", "", said(f"'{show(request.name, 64)}' is being added. The page can be left: the work goes on.", "note")

    on_load(refresh, outputs=outputs)
    on_change(refresh, outputs=outputs)
    on(panel.done, refresh, outputs=outputs, refresh=True, **SLOW)
    on(card.first.act, bring, outputs=outputs, line=card.line, refresh=True, **SLOW)
    for listing in (card.here, card.more):
        on(listing.act, act, outputs=outputs, line=card.line, refresh=True, **SLOW)
    for listener in (card.add.click, card.source.submit):
        on(listener, add, inputs=[card.source, card.name], outputs=[card.source, card.name], line=card.line, refresh=True, **SLOW)


def listed(offers: list[Offer]) -> list[Any]:
    """Values of the two tables: what is here (and the model that set-up brings), and the rest of the catalogue."""
    here = [offer for offer in offers if offer.here or offer.name == DEFAULT]
    more = [offer for offer in offers if not offer.here and offer.name != DEFAULT]
    return [table_value(_row(offer) for offer in here), table_value(_row(offer) for offer in more)]


def _row(offer: Offer) -> dict[str, Any]:
    return {
        "id": offer.name,
        "without": "add" if offer.here else "remove",
        "name": offer.name,
        "state": _state(offer),
        "parameters": f"{count(offer.parameters / 1e6)} M",
        "size": size(offer.size),
        "licence": (offer.licence or "not stated") + (", gated" if offer.gated else ""),
        "languages": offer.languages or "not stated",
        "kind": offer.kind,
        "time": _time(offer),
    }


def _time(offer: Offer) -> str:
    """How long it takes here, measured or estimated; too large for the memory that is free comes first."""
    if offer.fits is False:
        return "too large for free memory"
    if offer.seconds is None:
        return "fits, time not known" if offer.fits else "not known"
    return f"{seconds(offer.seconds)}, {'measured' if offer.measured else 'estimated'}"


def _state(offer: Offer) -> tuple[str, str]:
    if offer.broken:
        return "files missing", "flag"
    return ("here", "keep") if offer.here else ("not here", "quiet")


# --- the model that set-up brings, and a base that is missing --------------------------------------------------------------------------


def first_notice(elem_id: str) -> gr.HTML:
    """What is said while that model is not here; empty until it is given `first_value`. Its event `act` asks for the model."""
    return widget("ask", None, elem_id=elem_id)


def first_value(first: FirstModel) -> dict[str, Any] | None:
    """The notice, or None where there is nothing to say."""
    if first.state != "absent" or not first.reason:
        return None
    return {
        "title": f"The language model {first.name} is not on this machine",
        "text": f"Real text is scored with it ({size(first.download)} to fetch, Apache-2.0, English). {show(first.reason, 400)} "
        "The lab works without it.",
        "action": f"Add {first.name}",
    }


def missing_notice(elem_id: str) -> gr.HTML:
    """What to add where a teacher's base is not here; empty until it is given `missing_value`. Its event `act` adds it."""
    return widget("ask", None, elem_id=elem_id)


def _missing(studio: Studio, scorer_id: str | None) -> MissingModel | None:
    """What to add for a teacher or another scorer; None if nothing, or if there is none of that id."""
    chosen = next((one for one in studio.scorers.every() if one.id == scorer_id), None)
    return studio.models.missing(str(chosen.spec.get("model") or "lab")) if chosen is not None else None


def missing_value(studio: Studio, scorer_id: str | None) -> dict[str, Any] | None:
    """The notice for a teacher or scorer, or None if its base is here (or is no model that could be added)."""
    missing = _missing(studio, scorer_id)
    if missing is None:
        return None
    working = studio.models.working_on(missing.model)
    return {
        "title": "The base of this teacher is not on this machine" + (" yet" if working else ""),
        "text": "It is being added; Settings shows how far it is." if working else show(missing, 400),
        "action": "" if working else f"Add {show(missing.model, 60)}",
    }


def wire_missing(studio: Studio, chooser: gr.Dropdown, missing: gr.HTML, jobs: gr.HTML, line: gr.HTML) -> None:
    """Where the base of what is chosen is not on this machine, say so and offer to add it."""

    def look(chosen: str | None) -> Any:
        return missing_value(studio, chosen)

    def add(chosen: str | None) -> tuple[Any, ...]:
        told = add_missing(studio, chosen)
        return missing_value(studio, chosen), told

    for listener in (chooser.change, jobs.done):
        on(listener, look, inputs=[chooser], outputs=[missing], **FAST)
    on(missing.act, add, inputs=[chooser], outputs=[missing], line=line, refresh=True, **SLOW)


def add_missing(studio: Studio, scorer_id: str | None) -> dict[str, str]:
    """Add the base of a teacher or scorer: what the button of the notice does."""
    missing = _missing(studio, scorer_id)
    if missing is None:
        return said("The base of this teacher is on this machine.", "done")
    studio.models.add(missing.model)
    return said(f"'{show(missing.model, 60)}' is being added. Go on once it is done.", "note")
