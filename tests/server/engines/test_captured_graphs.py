"""Which captured work may be launched again: what copies to and from our memory alone, and calls nobody."""

import importlib
import sys
from enum import IntEnum
from types import ModuleType, SimpleNamespace

import pytest

MODULE = "tablefold.server.engines.cuda.cuda_runtime"


KINDS = {"cudaGraphNodeTypeKernel": 0, "cudaGraphNodeTypeMemcpy": 1, "cudaGraphNodeTypeHost": 3}
COPIES = {
    f"cudaMemcpy{name}": n
    for n, name in enumerate(["HostToDevice", "DeviceToHost", "DeviceToDevice", "Default"], 1)
}
Kind, Direction = IntEnum("Kind", KINDS), IntEnum("Direction", COPIES)
"""As CUDA numbers the nodes of a graph, and copies."""
IN, OUT, INSIDE, ANY = Direction
KERNEL, CALL = Kind.cudaGraphNodeTypeKernel, Kind.cudaGraphNodeTypeHost


@pytest.fixture
def runtime(monkeypatch):
    """The module with graphs that are lists of nodes: a copy is its direction."""
    bindings = ModuleType("cuda.bindings")
    bindings.runtime = SimpleNamespace(
        cudaGraphNodeType=Kind,
        cudaMemcpyKind=Direction,
        cudaError_t=SimpleNamespace(cudaSuccess=0),
        cudaGraphGetNodes=lambda graph, count=0: (0, graph[:count], len(graph)),
        cudaGraphNodeGetType=lambda node: (
            0, Kind.cudaGraphNodeTypeMemcpy if isinstance(node, Direction) else node
        ),
        cudaGraphMemcpyNodeGetParams=lambda node: (0, SimpleNamespace(kind=node)),
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "cuda", ModuleType("cuda"))
    monkeypatch.setitem(sys.modules, "cuda.bindings", bindings)
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    yield importlib.import_module(MODULE)
    sys.modules.pop(MODULE, None)


@pytest.mark.parametrize(
    ("nodes", "alone"),
    [
        ([IN, IN, KERNEL, KERNEL, OUT], True),
        ([IN, IN, KERNEL, INSIDE, INSIDE, OUT], True),
        ([IN, IN, IN, KERNEL, OUT], False),  # from memory that may be gone
        ([IN, IN, KERNEL, OUT, OUT], False),
        ([IN, IN, KERNEL, ANY, OUT], False),  # wherever that is
        ([IN, KERNEL, OUT], False),
        ([IN, IN, KERNEL, CALL, OUT], False),
    ],
)
def test_only_a_graph_with_our_copies_alone_stands_alone(runtime, nodes, alone):
    assert runtime._stands_alone(nodes, host_copies=3) is alone
