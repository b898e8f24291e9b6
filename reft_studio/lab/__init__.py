"""The embedded lab: made-up data and a tiny base model, so that everything works in minutes on two cores."""
