"""Says what quality each byte buys. Runs trainer and exporter. Knows neither gRPC nor the server."""
