"""The safety teacher of arXiv:2506.07356: training, refusal feature, calibration of the threshold."""
