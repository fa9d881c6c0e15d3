"""Turns logs into a checkpoint, and says what quality each byte buys. Knows no ONNX and no gRPC."""
