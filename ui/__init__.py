"""The app: pages fetch, draw and forward; all work is behind `reft_studio.studio.studio.Studio`."""

from ui.fast_import import prepare

# The one thing done at import: telemetry, hub access and stub writing are decided while gradio is being imported,
# so whoever imports a part of this package must have settled them first.
prepare()
