"""Takes gRPC calls off the wire and gives answers back."""
