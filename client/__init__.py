"""Asks a server, as a Python programmer would. Needs neither torch nor ONNX Runtime."""
