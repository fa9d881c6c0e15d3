"""How the public client bears servers that fail: gRPC's own retries, balancing and keepalive.

The load tester must see every failure and uses none of this.
"""

import json
from typing import Any

from tablefold.client.transport.connection import Option

RETRIES = {
    "maxAttempts": 5,  # the most that gRPC allows
    "initialBackoff": "0.05s",
    "backoffMultiplier": 2,
    "maxBackoff": "0.5s",
    "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
}
"""gRPC draws 80 to 120 % of each wait, and ends all of it with the call's deadline."""

SERVICE_CONFIG: dict[str, Any] = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "methodConfig": [
        {
            # All of these only ask: twice is as good as once. `ready` is not among them: it asks for now.
            "name": [
                {"service": "tablefold.v1.Tablefold"},
                {"service": "inference.GRPCInferenceService", "method": "RepositoryIndex"},
            ],
            "retryPolicy": RETRIES,
        }
    ],
    # No retries while more than a third of the calls fail: they would keep overloaded servers down. A failure
    # takes a token, a reply half of one back; 500 may go at once: a connection takes all its calls along.
    "retryThrottling": {"maxTokens": 1000, "tokenRatio": 0.5},
}

OPTIONS: list[Option] = [
    ("grpc.service_config", json.dumps(SERVICE_CONFIG)),
    # A request beyond this could not be sent again; by default that is 256 KiB. gRPC keeps it without a copy.
    ("grpc.per_rpc_retry_buffer_size", (1 << 31) - 1),
    # A server that hangs keeps its connections. A call on one that says nothing for two seconds asks whether
    # anybody is there; without a word within two more the connection ends and the call goes to another.
    ("grpc.keepalive_time_ms", 2_000),
    ("grpc.keepalive_timeout_ms", 2_000),
    # What gRPC 1.85 goes by, and its pings of other purpose too; by default 60 seconds.
    ("grpc.http2.ping_timeout_ms", 2_000),
    ("grpc.http2.max_pings_without_data", 0),
]
