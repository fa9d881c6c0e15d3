"""All floods by name, and how one is run."""

import asyncio
import os
import resource
from collections import Counter
from collections.abc import Awaitable, Callable

from bench.serving.floods import costly_messages, held_calls, many_calls, raw_frames
from bench.serving.floods.target import Target

FLOODS: dict[str, Callable[[Target], Awaitable[Counter[str]]]] = {
    flood.__name__: flood
    for flood in (
        costly_messages.empty_texts,
        costly_messages.repeats_of_a_feature,
        costly_messages.dimensions,
        costly_messages.rows_of_texts,
        costly_messages.empty_raw_contents,
        costly_messages.parameters,
        costly_messages.unknown_fields,
        costly_messages.nested_groups,
        costly_messages.compressed_bombs,
        costly_messages.large_request_ids,
        held_calls.half_sent,
        held_calls.half_sent_on_many_connections,
        held_calls.half_sent_on_streams,
        held_calls.headers_only,
        held_calls.announced,
        held_calls.streams_that_never_read,
        held_calls.replies_never_read,
        held_calls.replies_read_by_the_byte,
        held_calls.without_the_token,
        many_calls.calls_at_once,
        many_calls.calls_at_once_of_a_real_client,
        many_calls.streams,
        many_calls.watches_of_health,
        many_calls.costly_questions,
        many_calls.deadline_storm,
        many_calls.unknown_methods,
        many_calls.empty_messages,
        many_calls.large_metadata,
        raw_frames.rapid_reset,
        raw_frames.continuations,
        raw_frames.pings,
        raw_frames.settings,
        raw_frames.empty_frames,
        raw_frames.idle_connections,
        raw_frames.slow_http,
    )
}
FLOOD_SECONDS = 120.0


def attack(name: str, target: Target) -> Counter[str]:
    """Run a flood, in a process of its own that leaves the cores to the server and its client."""
    os.nice(5)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

    async def flood() -> Counter[str]:
        try:
            async with asyncio.timeout(FLOOD_SECONDS):
                return await FLOODS[name](target)
        except TimeoutError:
            return Counter({"no end": 1})
        except OSError as error:
            return Counter({type(error).__name__: 1})

    return asyncio.run(flood())
