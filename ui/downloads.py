"""Handing a finished file to the browser: only copies in the app's own temporary folder are ever served."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

import gradio as gr
from gradio.utils import get_upload_folder

from ui.text import size


def offer(path: Path, label: str = "Save") -> gr.DownloadButton:
    """A shown download button for a copy of `path`; the workspace itself is served to nobody. Copies are swept with Gradio's cache."""
    folder = Path(get_upload_folder()) / uuid.uuid4().hex
    folder.mkdir(parents=True)
    copy = folder / path.name
    shutil.copyfile(path, copy)
    return gr.DownloadButton(label=f"{label} ({size(copy.stat().st_size)})", value=str(copy), visible=True)
