from tests.comparison.conftest import add, rows, suite, user_data, workspace

__all__ = ["add", "rows", "suite", "user_data", "workspace"]
