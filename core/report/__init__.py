"""Reports that people read: one page without other files, with tables and pictures."""

from tablefold.report.page import Page, Picture, Section, Table, Text
from tablefold.report.writing import check_writable, write_text

__all__ = ["Page", "Picture", "Section", "Table", "Text", "check_writable", "write_text"]
