"""The report: one offline HTML page that shows what was asked, measured and judged."""

from mlff_distiller.validation.report.content import ReportData, StudentReport
from mlff_distiller.validation.report.page import write_report
from mlff_distiller.validation.report.summary import summarize_dataset

__all__ = ["ReportData", "StudentReport", "summarize_dataset", "write_report"]
