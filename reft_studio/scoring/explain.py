"""Explains a prompt's score: by token, by layer, and by the most similar calibration prompts."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor, nn
from torch.nn import functional

from reft_studio.errors import DataError, StoreError
from reft_studio.models.batching import Encoder
from reft_studio.models.features import last_prompt_features, token_states
from reft_studio.models.prompt_tokens import PromptToken, prompt_tokens
from reft_studio.models.session import Session
from reft_studio.scoring.explanation import MOST_TOKENS, Explanation, Neighbour, TokenCosine
from reft_studio.scoring.refusal_similarity import check_match, score_prompts
from reft_studio.teacher.details import LAYERS, NEIGHBOURS
from reft_studio.teacher.pool import KINDS
from reft_studio.teacher.refusal_feature import RefusalFeature
from reft_studio.teacher.separation import load_layers
from reft_studio.teacher.teacher import TeacherInfo

WORK = {"cpu": 1e10, "other": 1e13}
"""Maximum operations spent on the effect of every token: a fraction of a second."""
NEAREST = 3
"""Calibration prompts of each kind that are returned."""


def explain(turns: list[str], teacher: TeacherInfo, session: Session) -> Explanation:
    """Explain a row by its user turns. Raises DataError if there is none, SpecError as scoring does."""
    check_match(session, teacher)
    if not turns:
        raise DataError("This row has no user turn, so there is nothing to explain.")
    turn = int(np.argmax(score_prompts(turns, teacher, session))) if len(turns) > 1 else 0
    encoder = Encoder(session.model, max_length=teacher.max_length)
    tokens_read = prompt_tokens(encoder, turns[turn])
    ids = encoder.prompt_ids([{"role": "user", "content": turns[turn]}])
    if not ids:
        raise DataError("The prompt is empty in this template, so it has no score.")
    if ids != [token.id for token in tokens_read]:
        raise DataError("This model's tokenizer reads the prompt in another way each time, so its tokens cannot be explained.")
    feature = RefusalFeature.load(teacher.folder / "refusal_feature.safetensors", layer=teacher.layer)
    with session.adapted.active(session.ensure("teacher", teacher.adapter)) as backbone:
        states, last = token_states(session.model, backbone, ids, layer=teacher.layer)
        cosines = [round(float(value), 5) for value in feature.similarity(states)]
        effects = _effects(tokens_read, cosines[-1], teacher, session, backbone, feature)
    tokens = [
        TokenCosine(token.text, cosine, token.own, effect) for token, cosine, effect in zip(tokens_read, cosines, effects, strict=True)
    ]
    half, cut = MOST_TOKENS // 2, max(0, len(tokens) - MOST_TOKENS)
    return Explanation(
        turn=turn,
        turns=len(turns),
        score=cosines[-1],
        tokens=tokens[:half] + tokens[-half:] if cut else tokens,
        cut=cut,
        truncated=encoder.truncated > 0,
        layers=_by_layer(teacher, last),
        neighbours=nearest(teacher, feature, states[-1]),
    )


def nearest(teacher: TeacherInfo, feature: RefusalFeature, state: Tensor, *, count: int = NEAREST) -> dict[str, list[Neighbour]]:
    """The calibration prompts of each kind whose features have the highest cosine with `state` (d_model,), highest first.

    Both in the coordinates of the reading. Empty if the teacher has no neighbours file.
    """
    path = teacher.folder / NEIGHBOURS
    if not path.is_file():
        return {}
    prompts, kinds, scores, features = _neighbours(path, path.stat().st_mtime_ns)
    cosines = functional.cosine_similarity(feature.coordinates(features), feature.coordinates(state[None]), dim=-1).numpy()
    ranked = np.argsort(-cosines, kind="stable")
    return {
        kind: [
            Neighbour(prompts[index], round(float(cosines[index]), 5), round(float(scores[index]), 5))
            for index in ranked[np.asarray(kinds)[ranked] == kind][:count]
        ]
        for kind in KINDS
    }


def _effects(
    tokens: list[PromptToken], score: float, teacher: TeacherInfo, session: Session, backbone: nn.Module, feature: RefusalFeature
) -> list[float | None]:
    """The contribution of each of the user's tokens to the score: the prompt is scored again without it."""
    own = [index for index, token in enumerate(tokens) if token.own]
    weights = sum(value.numel() for block in session.model.blocks[: teacher.layer] for value in block.parameters())
    if 2 * weights * len(own) * len(tokens) > WORK["cpu" if session.model.device.type == "cpu" else "other"]:
        return [None] * len(tokens)
    ids = [token.id for token in tokens]
    without = [ids[:index] + ids[index + 1 :] for index in own if len(ids) > 1]
    effects: list[float | None] = [None] * len(tokens)
    if without:
        states = last_prompt_features(session.model, backbone, without, layers=[teacher.layer])[:, 0]
        for index, value in zip(own, feature.similarity(states), strict=True):
            effects[index] = round(score - float(value), 5)
    return effects


def _by_layer(teacher: TeacherInfo, last: Tensor) -> list[float]:
    if not (teacher.folder / LAYERS).is_file():
        return []
    layers = load_layers(teacher)
    if len(layers) != len(last):
        raise StoreError(f"{LAYERS} of '{teacher.id}' has {len(layers)} layers, the model {len(last)}. Prepare the teacher again.")
    return [round(float(feature.similarity(state[None])[0]), 5) for feature, state in zip(layers, last, strict=True)]


@lru_cache(maxsize=4)
def _neighbours(path: Path, _modified: int) -> tuple[list[str], list[str], Any, Tensor]:
    try:
        table = pq.read_table(path)
        flat = table.column("feature").combine_chunks().flatten().to_numpy(zero_copy_only=False)
        features = torch.from_numpy(np.array(flat)).float().reshape(len(table), -1)
        return (*(table.column(name).to_pylist() for name in ("prompt", "kind")), table.column("score").to_numpy(), features)
    except (OSError, KeyError, pa.ArrowException, ValueError, RuntimeError) as exc:
        raise StoreError(f"{path.parent.name}/{path.name} cannot be read. Prepare the teacher again.") from exc
