"""The look of the app: a Gradio theme with the system's own fonts (nothing is fetched) and one stylesheet."""

from __future__ import annotations

import inspect
from pathlib import Path

import gradio as gr
from gradio.themes.utils import sizes
from gradio.themes.utils.colors import Color

ASSETS = Path(__file__).resolve().parent.parent / "assets"
STYLESHEET = ASSETS / "theme.css"
SANS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Noto Sans", "Liberation Sans", "Arial", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Cascadia Mono", "Menlo", "Consolas", "DejaVu Sans Mono", "monospace")

_INK = Color("#f7f8fa", "#eff1f4", "#e3e6eb", "#cdd2da", "#98a1af", "#5d6675", "#454d5a", "#2b313a", "#1a1e25", "#13161b", "#0e1014")
_ACCENT = Color("#eef2ff", "#dfe6ff", "#c2cfff", "#9db2fb", "#7390f2", "#4a6be3", "#3856cc", "#2d45a6", "#26397f", "#1e2c5e", "#141d3d")


def theme() -> gr.themes.Base:
    """The theme object. Gradio's own variables point at ours wherever it allows, so that light and dark are decided in one place."""
    look = gr.themes.Base(
        primary_hue=_ACCENT,
        secondary_hue=_ACCENT,
        neutral_hue=_INK,
        font=SANS,
        font_mono=MONO,
        text_size=sizes.text_md,
        spacing_size=sizes.spacing_md,
        radius_size=sizes.radius_md,
    )
    known = inspect.signature(look.set).parameters
    values = {name: value for key, value in _VARIABLES.items() for name in (key, f"{key}_dark") if name in known}
    return look.set(**values, **_BEFORE_STYLES)


# Gradio paints these two before any stylesheet of ours is there: literal, or dark pages flash white.
_BEFORE_STYLES = {
    "body_background_fill": "#f5f6f8",
    "body_background_fill_dark": "#0f1216",
    "body_text_color": "#171b22",
    "body_text_color_dark": "#e7eaef",
}
_VARIABLES = {
    "body_text_color_subdued": "var(--rs-muted)",
    "background_fill_primary": "var(--rs-card)",
    "background_fill_secondary": "var(--rs-inset)",
    "border_color_primary": "var(--rs-line)",
    "border_color_accent": "var(--rs-accent)",
    "color_accent_soft": "var(--rs-accent-soft)",
    "link_text_color": "var(--rs-accent)",
    "link_text_color_hover": "var(--rs-accent)",
    "link_text_color_active": "var(--rs-accent)",
    "link_text_color_visited": "var(--rs-accent)",
    "block_background_fill": "var(--rs-card)",
    "block_border_color": "var(--rs-line)",
    "block_border_width": "0px",
    "block_shadow": "none",
    "block_label_background_fill": "transparent",
    "block_label_border_color": "transparent",
    "block_label_text_color": "var(--rs-muted)",
    "block_title_text_color": "var(--rs-ink)",
    "block_title_text_weight": "550",
    "block_info_text_color": "var(--rs-muted)",
    "block_padding": "0px",
    "panel_background_fill": "transparent",
    "panel_border_width": "0px",
    "input_background_fill": "var(--rs-field)",
    "input_background_fill_focus": "var(--rs-field)",
    "input_border_color": "var(--rs-field-line)",
    "input_border_color_focus": "var(--rs-accent)",
    "input_border_width": "1px",
    "input_shadow": "none",
    "input_shadow_focus": "0 0 0 3px var(--rs-focus)",
    "input_placeholder_color": "var(--rs-muted)",
    "checkbox_background_color": "var(--rs-field)",
    "checkbox_border_color": "var(--rs-field-line)",
    "checkbox_label_background_fill": "var(--rs-card)",
    "checkbox_label_background_fill_hover": "var(--rs-inset)",
    "checkbox_label_background_fill_selected": "var(--rs-accent-soft)",
    "checkbox_label_text_color_selected": "var(--rs-ink)",
    "checkbox_label_border_color": "var(--rs-line)",
    "checkbox_label_border_color_hover": "var(--rs-line)",
    "checkbox_label_border_width": "1px",
    "checkbox_label_shadow": "none",
    "slider_color": "var(--rs-accent)",
    "stat_background_fill": "var(--rs-accent-soft)",
    "table_border_color": "var(--rs-line)",
    "table_even_background_fill": "var(--rs-card)",
    "table_odd_background_fill": "var(--rs-card)",
    "table_row_focus": "var(--rs-accent-soft)",
    "button_border_width": "1px",
    "button_primary_shadow": "none",
    "button_secondary_shadow": "none",
    "button_medium_text_weight": "550",
    "button_large_text_weight": "550",
    "button_small_text_weight": "550",
    "button_primary_background_fill": "var(--rs-accent-fill)",
    "button_primary_background_fill_hover": "var(--rs-accent-strong)",
    "button_primary_border_color": "var(--rs-accent-fill)",
    "button_primary_border_color_hover": "var(--rs-accent-strong)",
    "button_primary_text_color": "#ffffff",
    "button_primary_text_color_hover": "#ffffff",
    "button_secondary_background_fill": "var(--rs-card)",
    "button_secondary_background_fill_hover": "var(--rs-inset)",
    "button_secondary_border_color": "var(--rs-field-line)",
    "button_secondary_border_color_hover": "var(--rs-field-line)",
    "button_secondary_text_color": "var(--rs-ink)",
    "button_secondary_text_color_hover": "var(--rs-ink)",
    "button_cancel_background_fill": "var(--rs-card)",
    "button_cancel_background_fill_hover": "var(--rs-flag-soft)",
    "button_cancel_border_color": "var(--rs-flag)",
    "button_cancel_border_color_hover": "var(--rs-flag)",
    "button_cancel_text_color": "var(--rs-flag-ink)",
    "button_cancel_text_color_hover": "var(--rs-flag-ink)",
    "error_background_fill": "var(--rs-flag-soft)",
    "error_border_color": "var(--rs-flag)",
    "error_text_color": "var(--rs-flag-ink)",
    "error_icon_color": "var(--rs-flag)",
}
