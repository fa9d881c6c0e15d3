"""What grpcio logs of clients that have left."""

import logging

import pytest
from grpc._cython.cygrpc import ExecuteBatchError

from tablefold.server.fronts.grpcio import GRPC_LOG


@pytest.mark.parametrize(("error", "logged"), [(ExecuteBatchError("execute_batch"), 0), (ValueError("x"), 1)])
async def test_an_answer_to_nobody_leaves_no_traceback_other_errors_do(
    repository, toy, caplog, error, logged
):
    async with toy.here(repository):
        with caplog.at_level(logging.ERROR):
            try:
                raise error
            except Exception:
                GRPC_LOG.exception("raised by a method")
    assert len([record for record in caplog.records if record.name == GRPC_LOG.name]) == logged
