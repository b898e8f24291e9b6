"""The safety teacher of arXiv:2506.07356: preparation, refusal feature, calibration."""
