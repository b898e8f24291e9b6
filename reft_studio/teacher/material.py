"""The prompts of one teacher preparation, tokenised once, and their features under the active adapter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from reft_studio.data.dataset import Dataset, open_dataset
from reft_studio.data.splits import assert_disjoint
from reft_studio.errors import DataError, SpecError, TrainingError
from reft_studio.models.batching import Example
from reft_studio.models.features import last_prompt_features
from reft_studio.models.prefix import proven_prefix
from reft_studio.models.session import Session
from reft_studio.progress import Progress
from reft_studio.teacher.pool import KINDS
from reft_studio.teacher.refusal_feature import RefusalFeature
from reft_studio.teacher.spec import SETS, Reading, TeacherSpec
from reft_studio.workspace import Workspace

START = 256
"""Prompts of each kind for the initial refusal feature, and for that of an evaluation."""
HELD_OUT = 128
"""Held-out rows of each kind whose cross entropy is computed."""
Ids = list[list[int]]


@dataclass(frozen=True)
class Kinds:
    """The tokenised prompts of both kinds."""

    harmful: Ids
    harmless: Ids


class Material:
    """Input of `prepare_teacher`. Raises SpecError if a prompt is in two sets, DataError if one cannot be used."""

    def __init__(self, workspace: Workspace, spec: TeacherSpec, session: Session, progress: Progress) -> None:
        if (spec.selection_harmful is None) != (spec.selection_harmless is None):
            raise SpecError("Give prompts that choose the layer for both kinds (selection_harmful and selection_harmless), or for none.")
        self.session, self.progress = session, progress
        data: dict[str, Dataset] = {name: open_dataset(workspace, value) for name in SETS if (value := getattr(spec, name)) is not None}
        self.prompts = {name: [row["prompt"] for row in dataset.read(["prompt"])] for name, dataset in data.items()}
        assert_disjoint(**self.prompts)
        self.fingerprints = {name: dataset.fingerprint for name, dataset in data.items()}
        self.selected_on = "selection" if spec.selection_harmful else "calibration"
        if spec.kind == "trained":
            self.harmful = session.encoder.answered(data["harmful"].read(), name=data["harmful"].name)
            self.helpful = [_trainable(example) for example in session.encoder.examples(data["helpful"].read())]
            self.training = Kinds(*([row.ids[: row.prompt] for row in rows] for rows in (self.harmful, self.helpful)))
            self.examples = [
                [example for example in session.encoder.examples(data[f"{self.selected_on}_{kind}"].read()) if example.answered][:HELD_OUT]
                for kind in KINDS
            ]
        else:
            self.training = Kinds(self._ids("harmful"), self._ids("helpful"))
        check_tokens(harmful=self.training.harmful, helpful=self.training.harmless)
        self.selection = Kinds(*(self._ids(f"{self.selected_on}_{kind}") for kind in KINDS))
        self.calibration = Kinds(*(self._ids(f"calibration_{kind}") for kind in KINDS))

    def features(
        self, backbone: nn.Module, prompts: Kinds, layers: Sequence[int], *, start: int = 0, most: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Features (n, len(layers), d_model) of both kinds of prompts, from index `start` to `most` (None: all).

        The common prefix of all prompts is computed once. Raises TrainingError, naming kind and layer, if a hidden state is not finite.
        """
        model, features = self.session.model, []
        chosen = [ids[start:most] for ids in (prompts.harmful, prompts.harmless)]
        prefix = proven_prefix(model, backbone, [*chosen[0], *chosen[1]], layer=max(layers))
        for kind, ids in zip(KINDS, chosen, strict=True):
            self.progress.check()
            part = last_prompt_features(model, backbone, ids, layers=list(layers), prefix=prefix)
            check_finite(part, layers, kind)
            features.append(part)
        return features[0], features[1]

    def feature(self, backbone: nn.Module, layer: int, *, reading: Reading, most: int | None = None) -> RefusalFeature:
        """The exact refusal feature over the training prompts under the active adapter."""
        harmful, harmless = self.features(backbone, self.training, [layer], most=most)
        return RefusalFeature.between(harmful[:, 0], harmless[:, 0], layer=layer, reading=reading)

    def _ids(self, name: str) -> Ids:
        if not self.prompts[name]:
            raise DataError(f"The set '{name}' holds no prompt. Give it some.")
        ids = [self.session.encoder.prompt_ids([{"role": "user", "content": prompt}]) for prompt in self.prompts[name]]
        check_tokens(**{name: ids})
        return ids


def check_tokens(**sets: Ids) -> None:
    """Raises DataError if prompts of a set have no token in the template, and so no last token to read a feature at."""
    for name, ids in sets.items():
        if empty := sum(not prompt for prompt in ids):
            raise DataError(f"{empty} of the {len(ids)} prompts of the set '{name}' are empty in this template. Take them out.")


def check_finite(features: Tensor, layers: Sequence[int], kind: str) -> None:
    """Raises TrainingError if a feature (n, len(layers), d_model) holds NaN or infinity."""
    broken = ~torch.isfinite(features).all(dim=-1)
    if bool(broken.any()):
        at = [layer for slot, layer in enumerate(layers) if bool(broken[:, slot].any())]
        raise TrainingError(
            f"{int(broken.any(dim=1).sum())} of {len(features)} {kind} prompts have a hidden state that is not a finite number, after "
            f"block {at[0]}. The model is damaged, or its number format too narrow: load it in float32 or bfloat16."
        )


def _trainable(example: Example) -> Example:
    """Without a response, only the prompt, without the end of text: otherwise the model would learn to generate nothing."""
    return example if example.answered else Example(example.ids[: example.prompt], example.prompt, example.index)
