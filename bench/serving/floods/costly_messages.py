"""Single messages, within the size that the server takes, that cost more than they weigh."""

import gzip
from collections import Counter

from bench.serving.floods.connection import Connection
from bench.serving.floods.frames import call_headers, message
from bench.serving.floods.target import INFER, PREDICT, Metadata, Target, field, fields, varint

CANDIDATES, NAME, TEXTS, TEXT = 4, 1, 4, 1
"""Fields of tablefold.v1."""
MODEL, INPUTS, RAW, PARAMETERS, SHAPE = 1, 5, 7, 4, 3
"""Fields of the open protocol."""


async def outcome(connections: list[Connection], seconds: float = 30) -> Counter[str]:
    """How their calls ended; those that have not after some time are `waiting`. Closes them."""
    ended = Counter[str]()
    for connection in connections:
        await connection.wait(seconds)
        ended += connection.ended + Counter({"waiting": len(connection.streams)})
        ended["connections closed"] += connection.closed
        await connection.close()
    return +ended


async def one(target: Target, method: str, content: bytes, metadata: Metadata = ()) -> Counter[str]:
    """Four times the same, on a connection each."""
    connections = [await Connection.open(target.address) for _ in range(4)]
    headers = call_headers(method, (*target.metadata, *metadata))
    for connection in connections:
        await connection.send(connection.begin(headers), content, end=True)
    return await outcome(connections)


async def empty_texts(target: Target) -> Counter[str]:
    """8.3 million of them in one feature."""
    texts = field(TEXT, b"") * (target.message_bytes // 2)
    feature = field(NAME, target.features[0].encode()) + field(TEXTS, texts)
    content = field(MODEL, target.model.encode()) + field(CANDIDATES, feature)
    return await one(target, PREDICT, message(content))


async def repeats_of_a_feature(target: Target) -> Counter[str]:
    """The same name, 2.4 million times."""
    feature = field(CANDIDATES, field(NAME, target.features[0].encode()))
    content = field(MODEL, target.model.encode()) + feature * (target.message_bytes // len(feature))
    return await one(target, PREDICT, message(content))


async def dimensions(target: Target) -> Counter[str]:
    """A tensor whose shape has 16 million."""
    tensor = field(NAME, b"ids") + field(2, b"INT64") + field(SHAPE, b"\1" * target.message_bytes)
    return await one(target, INFER, message(field(MODEL, target.model.encode()) + field(INPUTS, tensor)))


async def rows_of_texts(target: Target) -> Counter[str]:
    """65,000 rows with a text for each feature: as large as a sound request can be."""
    rows = min(65_000, target.message_bytes // (9 * len(target.features) + 1))
    texts = [field(TEXT, f"{row:07x}".encode()) for row in range(rows)]
    column = field(TEXTS, b"".join(texts))
    features = [field(NAME, name.encode()) + column for name in target.features]
    content = field(MODEL, target.model.encode()) + fields(CANDIDATES, features)
    return await one(target, PREDICT, message(content))


async def empty_raw_contents(target: Target) -> Counter[str]:
    """8.3 million tensors without a byte."""
    content = field(MODEL, target.model.encode()) + field(RAW, b"") * (target.message_bytes // 2)
    return await one(target, INFER, message(content))


async def parameters(target: Target) -> Counter[str]:
    """1.5 million, each with a name of its own."""
    size = len(field(PARAMETERS, field(1, b"0000000")))
    entries = fields(
        PARAMETERS, (field(1, f"{entry:07d}".encode()) for entry in range(target.message_bytes // size))
    )
    return await one(target, INFER, message(field(MODEL, target.model.encode()) + entries))


async def unknown_fields(target: Target) -> Counter[str]:
    """5.6 million that no version of the protocol has."""
    entry = field(1000, b"")
    content = field(MODEL, target.model.encode()) + entry * (target.message_bytes // len(entry))
    return await one(target, PREDICT, message(content))


async def nested_groups(target: Target) -> Counter[str]:
    """Groups in groups, eight million deep."""
    return await one(target, PREDICT, message(varint(1000 << 3 | 3) * (target.message_bytes // 2)))


async def compressed_bombs(target: Target, inflated: int = 1 << 30) -> Counter[str]:
    """Five megabytes that inflate to a gigabyte."""
    content = gzip.compress(bytes(inflated), 1)
    return await one(target, INFER, message(content, compressed=True), (("grpc-encoding", "gzip"),))


async def large_request_ids(target: Target, calls: int = 100) -> Counter[str]:
    """A hundred sound calls of one row, each named by 16 MB, which the reply repeats."""
    content = message(target.request(1, name="x" * (target.message_bytes - 1000 * target.ids)))
    connection = await Connection.open(target.address)
    headers = call_headers(INFER, target.metadata)
    for _ in range(calls):
        await connection.send(connection.begin(headers), content, end=True)
    return await outcome([connection])
