"""Libraries of others that pages load, served from `assets/vendor` with their licences: nothing comes from elsewhere."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse

from ui.theme import ASSETS

FOLDER = ASSETS / "vendor"
ROUTE = "/vendor/{library}/{name}"
_KEPT = "private, max-age=31536000, immutable"
"""The version stands in the address, so a browser never has to ask again."""
_UPLOT = "/vendor/uplot-1.6.32"
UPLOT = f'<link rel="stylesheet" href="{_UPLOT}/uPlot.min.css"><script src="{_UPLOT}/uPlot.iife.min.js"></script>'
"""What a widget that draws curves puts into the page's head."""


async def serve(request: Request) -> FileResponse:
    """A file of a vendored library; 404 for any other name."""
    wanted = (request.path_params["library"], request.path_params["name"])
    found = next((path for path in FOLDER.glob("*/*") if (path.parent.name, path.name) == wanted), None)
    if found is None:
        raise HTTPException(404)
    return FileResponse(found, headers={"cache-control": _KEPT})
