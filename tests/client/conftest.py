"""The load tester's fake servers, whose habits are known, serve here too."""

from tests.loadtest.conftest import criteo_file, nobody, quick, start_fake

__all__ = ["criteo_file", "nobody", "quick", "start_fake"]
