from tests.jobs.conftest import finished, queue, started, until, workspace

__all__ = ["finished", "queue", "started", "until", "workspace"]
