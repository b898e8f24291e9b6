"""Finetuning runs, from spec to adapter."""
