"""Measures what Tablefold costs beside what anybody would write first. Run as `python -m bench.ROOM.NAME`."""
