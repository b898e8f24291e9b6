"""Generates responses to a prompt suite, has judges grade them, and keeps both: suites, judges, benchmarks."""
