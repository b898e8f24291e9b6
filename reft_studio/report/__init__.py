"""The report: one HTML file that needs no network, with a JSON twin of every number in it."""

from __future__ import annotations

from reft_studio.report.build import build_report
from reft_studio.report.inputs import SECTIONS, ReportInput, Section

__all__ = ["SECTIONS", "ReportInput", "Section", "build_report"]
