"""How a refusal feature of the frozen base does without a teacher on the lab's test prompts: `python docs/results/frozen_probe.py`."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from reft_studio import stats
from reft_studio.data.dataset import Row
from reft_studio.lab import sets
from reft_studio.models.features import last_prompt_features
from reft_studio.models.session import Session
from reft_studio.teacher.refusal_feature import RefusalFeature

RECALL = 0.97


def main() -> None:
    """One line a layer: AUROC on user data and on unseen prompts, false positives on task prompts at a recall of 97 %."""
    session = Session.open("lab")
    layers = range(1, session.model.layers + 1)

    def features(rows: list[Row]) -> Tensor:
        prompts = [session.encoder.prompt_ids([{"role": "user", "content": row["prompt"]}]) for row in rows]
        with session.adapted.active(None) as backbone:
            return last_prompt_features(session.model, backbone, prompts, layers=list(layers))

    harmful, harmless = map(features, sets.alignment())
    user = sets.user_data()
    poison = np.array([row["known_harmful"] for row in user])
    held = {name: features(sets.benchmark(name)) for name in sets.BENCHMARKS}
    tasks, uploaded = torch.cat([held[name] for name in sets.TASKS]), features(user)
    for slot, layer in enumerate(layers):
        feature = RefusalFeature.between(harmful[:, slot], harmless[:, slot], layer=layer)
        found, unseen, alike, task = (feature.similarity(z[:, slot]).numpy() for z in (uploaded, held["harmful"], held["lookalike"], tasks))
        cut = np.sort(unseen)[int(np.floor((1 - RECALL) * len(unseen)))]
        print(
            f"layer {layer}: user data AUROC {stats.auroc(found[poison], found[~poison]):.3f}; unseen against look-alikes AUROC "
            f"{stats.auroc(unseen, alike):.3f}; task prompts flagged at 97 % recall of unseen prompts {100 * (task >= cut).mean():.1f} %"
        )


if __name__ == "__main__":
    main()
