from tests.comparison.conftest import add, rows, suite, user_data
from tests.jobs.conftest import finished, queue, started, until, workspace

__all__ = ["add", "finished", "queue", "rows", "started", "suite", "until", "user_data", "workspace"]
