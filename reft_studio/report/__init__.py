"""The report: one self-contained HTML file, and a JSON file with every number in it."""

from __future__ import annotations

from reft_studio.report.build import build_report
from reft_studio.report.inputs import SECTIONS, ReportInput, Section

__all__ = ["SECTIONS", "ReportInput", "Section", "build_report"]
