"""The wire: our own service and the Open Inference Protocol, with their generated code."""
