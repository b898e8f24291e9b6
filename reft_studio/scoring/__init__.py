"""Scorers of training rows, registered by name; a higher score always means more harmful."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reft_studio.registry import Registry

if TYPE_CHECKING:
    from reft_studio.scoring.scorer import Scorer

SCORERS: Registry[type[Scorer]] = Registry(
    "scorer",
    {
        "refusal_feature": "reft_studio.scoring.refusal_feature:RefusalFeatureScorer",
        "tfidf": "reft_studio.scoring.tfidf:Tfidf",
        "keywords": "reft_studio.scoring.keywords:Keywords",
        "linear_probe": "reft_studio.scoring.linear_probe:LinearProbe",
        "response_compliance": "reft_studio.scoring.response_compliance:ResponseCompliance",
        "embedding": "reft_studio.scoring.embedding:Embedding",
        "deep_ignorance": "reft_studio.scoring.deep_ignorance:DeepIgnorance",
        "larf": "reft_studio.scoring.larf:Larf",
        "perplexity": "reft_studio.scoring.perplexity:Perplexity",
        "alignment_similarity": "reft_studio.scoring.alignment_similarity:AlignmentSimilarity",
        "style_match": "reft_studio.scoring.style_match:StyleMatch",
        "gradient": "reft_studio.scoring.gradient:GradientScorer",
        "pharmacist_like": "reft_studio.scoring.pharmacist_like:PharmacistLike",
        "llama_guard": "reft_studio.scoring.llama_guard:LlamaGuard",
        "ensemble": "reft_studio.scoring.ensemble:Ensemble",
        "random": "reft_studio.scoring.controls:Random",
        "oracle": "reft_studio.scoring.controls:Oracle",
    },
)
"""Name -> the scorer's class. Importing one loads neither torch nor scikit-learn."""
OF_TEACHER, JOINING, BY_CHANCE = "refusal_feature", "ensemble", "random"
"""Scorers with a part of their own: the one that every teacher brings, the one made of others, the control that removes as many rows."""
