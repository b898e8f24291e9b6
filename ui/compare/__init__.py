"""Compare: harmful score and accuracy of models, side by side."""
