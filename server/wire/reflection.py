"""Server reflection: what the services and messages of the port are called."""

from collections.abc import Iterable

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha._async import ReflectionServicer


def reflection_service(services: Iterable[str], files: Iterable[FileDescriptor]) -> ReflectionServicer:
    """Return the servicer for these full names of services, which these files define.

    The files come from several pools: the Open Inference Protocol has one of its own, because Triton's client
    registers the same names in the default one.
    """
    pool = DescriptorPool()
    for file in files:
        pool.AddSerializedFile(file.serialized_pb)
    return ReflectionServicer(services, pool)
