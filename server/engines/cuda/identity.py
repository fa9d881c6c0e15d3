"""Which GPU it is that CUDA calls by a number."""

import ctypes
from uuid import UUID

from tablefold.errors import UsageError


def gpu_uuid(index: int) -> UUID:
    """Return the UUID of CUDA's device number `index`, by which NVML knows it too.

    CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER change the numbers, not this. To be called after
    `require_cuda`. Raises UsageError where the driver does not say.
    """
    driver = ctypes.CDLL("libcuda.so.1")
    device, uuid = ctypes.c_int(), (ctypes.c_ubyte * 16)()
    code = driver.cuDeviceGet(ctypes.byref(device), index)
    if not code:
        code = driver.cuDeviceGetUuid_v2(ctypes.byref(uuid), device)
    if code:
        raise UsageError(
            f"--device cuda:{index}: the NVIDIA driver gives error {code} when asked which GPU it is"
        )
    return UUID(bytes=bytes(uuid))
