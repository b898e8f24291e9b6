"""The lab: synthetic data and a tiny base model, so that everything can be tried in minutes on two CPU cores."""
