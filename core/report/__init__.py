"""Reports that people read: one page, no other files, with tables and pictures.

Knows paper, not what is printed on it: no torch, no onnx, no grpc.
"""

from tablefold.report.files import check_writable, write_text
from tablefold.report.page import Page, Picture, Section, Table, Text

__all__ = ["Page", "Picture", "Section", "Table", "Text", "check_writable", "write_text"]
