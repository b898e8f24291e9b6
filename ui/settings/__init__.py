"""Settings: who reviews, what is hidden, models, judges, evaluation prompts."""
