"""Runs long work in worker processes: queue, supervision, cancellation, recovery."""
