"""Which runs take equally long for a step. Needs no torch."""

from __future__ import annotations

from reft_studio import fingerprint
from reft_studio.training.spec import RunSpec

FOLDER = "probes"
"""Below the cache of a workspace: seconds of a step, measured by `probe`."""
_FREE = ("steps", "epochs", "epochs_of", "learning_rate", "schedule", "warmup", "weight_decay", "max_grad_norm")


def probe_key(spec: RunSpec) -> str:
    """One key for runs that train the same parts of the same model the same way on the same data, however long, whatever the seed."""
    fields = {"model", "dataset", "method", "lora", "loading", "optim"}
    values = spec.model_dump(mode="json", include=fields)
    values["optim"] = {name: value for name, value in values["optim"].items() if name not in _FREE}
    return fingerprint.of_value(values)[: fingerprint.SHORT]
