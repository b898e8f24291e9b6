"""Handing a finished file to the browser: only copies in the app's own temporary folder are ever served."""

from __future__ import annotations

import shutil
import uuid
import zipfile
from pathlib import Path

import gradio as gr
from gradio.utils import get_upload_folder

from reft_studio.errors import PrerequisiteError
from ui.text import size

LARGE = 2_000_000_000
"""Bytes up to which a folder is packed for the browser; a larger one is quicker copied from where it lies."""
_SPARE = 200_000_000


def offer(path: Path, label: str = "Save") -> gr.DownloadButton:
    """A shown download button for a copy of `path`; the workspace itself is served to nobody. Copies are swept with Gradio's cache."""
    copy = _place() / path.name
    shutil.copyfile(path, copy)
    return _button(copy, label)


def offer_folder(folder: Path, name: str, label: str = "Save") -> gr.DownloadButton:
    """The same for a folder, as one uncompressed archive `name`.zip: weights do not get smaller.

    Raises PrerequisiteError, with what is needed and what is free, where the disk of the temporary folder has no room.
    """
    place = _place()
    needed, free = sum(path.stat().st_size for path in folder.iterdir() if path.is_file()), shutil.disk_usage(place).free
    if needed + _SPARE > free:
        place.rmdir()
        raise PrerequisiteError(f"Packing takes {size(needed)} beside the folder, but {size(free)} are free. Copy the folder itself.")
    with zipfile.ZipFile(place / f"{name}.zip", "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, f"{name}/{path.name}")
    return _button(place / f"{name}.zip", label)


def _place() -> Path:
    folder = Path(get_upload_folder()) / uuid.uuid4().hex
    folder.mkdir(parents=True)
    return folder


def _button(file: Path, label: str) -> gr.DownloadButton:
    return gr.DownloadButton(label=f"{label} ({size(file.stat().st_size)})", value=str(file), visible=True)
