"""Ask a model, grade what it says, keep the evidence: suites, judges, benchmarks."""
