"""What a machine's GPUs really do: a product of matrices, how fast their memory is, and how much of it there is.

The driver's own library is asked (libcuda, which comes with every driver), so an image needs no toolkit of CUDA's.
The product is its inner loop alone: 64 sums a thread that stay in registers, so that it goes as fast as the GPU can,
whichever one it is. Its factors are small whole numbers, which single precision adds up exactly: a GPU that miscounts
is found out.
"""

from __future__ import annotations

import ctypes
import struct
import time
from typing import TYPE_CHECKING, Any, Callable, List, Tuple

if TYPE_CHECKING:
    from ...contract.measured import Gpus, ProvenGpu

_LIBRARY = "libcuda.so.1"
_SIDE = 8  # a thread has _SIDE x _SIDE sums
_STEPS = 1 << 16
_UNROLLED = 4
_THREADS = 256
_WARP = 32
_BLOCKS = 8  # for each multiprocessor
_SUM = 144 * _STEPS  # of one thread's sums: (4 x 1 + 4 x 2) squared a step; below 2**24, so it is exact
_SECONDS = 0.3  # of each measurement
_MOST = 1000  # rounds of one
_CHUNK = 512 << 20
_PROCESSORS, _MAJOR, _MINOR = 16, 75, 76  # attributes of a device, as the driver numbers them


class _Failed(Exception):
    pass


def prove_gpus() -> Gpus:
    """Of every GPU, what it does; `fault` where not even the driver answers."""
    found: Gpus = {"cuda": 0.0, "gpus": [], "fault": ""}
    try:
        driver = _Driver()
        found["cuda"] = driver.version
        for number in range(driver.count):
            found["gpus"].append(_proven(driver, number))
    except (OSError, AttributeError, _Failed) as failure:
        found["fault"] = str(failure)
    return found


def _proven(driver: _Driver, number: int) -> ProvenGpu:
    device = _Device(driver, number)
    gpu: ProvenGpu = {
        "name": device.name,
        "memory": device.memory,
        "capability": device.attribute(_MAJOR) + device.attribute(_MINOR) / 10,
        "usable": 0,
        "operations": 0.0,
        "bandwidth": 0.0,
        "fault": "",
    }
    try:
        device.enter()
        gpu["operations"] = device.operations()
        gpu["usable"], gpu["bandwidth"] = device.memory_kept()
    except _Failed as failure:
        gpu["fault"] = str(failure)
    return gpu


class _Driver:
    """The library, initialised."""

    def __init__(self) -> None:
        self.library = ctypes.CDLL(_LIBRARY)
        self.ask("cuInit", 0)
        version, count = ctypes.c_int(), ctypes.c_int()
        self.ask("cuDriverGetVersion", ctypes.byref(version))
        self.ask("cuDeviceGetCount", ctypes.byref(count))
        self.version = version.value // 1000 + version.value % 1000 // 10 / 10
        self.count = count.value

    def ask(self, name: str, *arguments: Any) -> None:
        status = self.library[name](*arguments)
        if status:
            text = ctypes.c_char_p()
            self.library.cuGetErrorName(status, ctypes.byref(text))
            raise _Failed(f"{name}: {(text.value or b'an error').decode('ascii', 'replace')} ({status})")


class _Device:
    """One GPU."""

    def __init__(self, driver: _Driver, number: int) -> None:
        self._ask = driver.ask
        self._device = ctypes.c_int()
        self._ask("cuDeviceGet", ctypes.byref(self._device), number)
        name, memory = ctypes.create_string_buffer(200), ctypes.c_size_t()
        self._ask("cuDeviceGetName", name, 200, self._device)
        self._ask("cuDeviceTotalMem_v2", ctypes.byref(memory), self._device)
        self.name = name.value.decode("utf-8", "replace")
        self.memory = memory.value

    def attribute(self, which: int) -> int:
        value = ctypes.c_int()
        self._ask("cuDeviceGetAttribute", ctypes.byref(value), which, self._device)
        return value.value

    def enter(self) -> None:
        context = ctypes.c_void_p()
        self._ask("cuDevicePrimaryCtxRetain", ctypes.byref(context), self._device)
        self._ask("cuCtxSetCurrent", context)

    def operations(self) -> float:
        """Additions and multiplications a second.

        Raises:
            _Failed: the driver says no, or a sum is wrong.
        """
        module, function = ctypes.c_void_p(), ctypes.c_void_p()
        self._ask("cuModuleLoadData", ctypes.byref(module), product().encode() + b"\0")
        self._ask("cuModuleGetFunction", ctypes.byref(function), module, b"product")
        blocks = _BLOCKS * self.attribute(_PROCESSORS)
        size = 4 * blocks * _THREADS
        # Each thread of a warp reads its own: what is the same for all of them may be computed once, elsewhere.
        count = 2 * _SIDE * _WARP
        factors, sums = self._take(4 * count), self._take(size)
        given = struct.pack(f"<{count}f", *((1.0, 2.0) * (count // 2)))
        self._ask("cuMemcpyHtoD_v2", factors, given, ctypes.c_size_t(len(given)))
        passed = (factors, sums, ctypes.c_uint(_STEPS // _UNROLLED))
        pointers = (ctypes.c_void_p * 3)(*(ctypes.addressof(each) for each in passed))

        def multiply() -> None:
            self._ask("cuLaunchKernel", function, blocks, 1, 1, _THREADS, 1, 1, 0, None, pointers, None)

        rate = self._rate(multiply, 2.0 * _SIDE * _SIDE * _STEPS * blocks * _THREADS)
        got = ctypes.create_string_buffer(size)
        self._ask("cuMemcpyDtoH_v2", got, sums, ctypes.c_size_t(size))
        self._ask("cuMemFree_v2", factors)
        self._ask("cuMemFree_v2", sums)
        if got.raw != struct.pack("<f", _SUM) * (size // 4):
            raise _Failed("it miscounts: a product of matrices came out wrong")
        return rate

    def memory_kept(self) -> Tuple[int, float]:
        """Bytes that could be had and kept what was written there, and bytes a second between two places of it.

        Raises:
            _Failed: the driver says no, or the memory forgets.
        """
        chunks: List[ctypes.c_uint64] = []
        while len(chunks) * _CHUNK < self.memory:
            try:
                chunks.append(self._take(_CHUNK))
            except _Failed:
                break  # what is left is somebody else's, or the driver's own
            self._ask("cuMemsetD32_v2", chunks[-1], ctypes.c_uint(len(chunks)), ctypes.c_size_t(_CHUNK // 4))
        word = ctypes.c_uint()
        for number, chunk in enumerate(chunks, 1):
            for place in (chunk.value, chunk.value + _CHUNK - 4):
                self._ask("cuMemcpyDtoH_v2", ctypes.byref(word), ctypes.c_uint64(place), ctypes.c_size_t(4))
                if word.value != number:
                    raise _Failed("its memory forgets what was written there")
        rate = 0.0
        if len(chunks) > 1:

            def copy() -> None:
                self._ask("cuMemcpyDtoD_v2", chunks[0], chunks[1], ctypes.c_size_t(_CHUNK))

            rate = self._rate(copy, 2.0 * _CHUNK)
        for chunk in chunks:
            self._ask("cuMemFree_v2", chunk)
        return len(chunks) * _CHUNK, rate

    def _take(self, size: int) -> ctypes.c_uint64:
        address = ctypes.c_uint64()
        self._ask("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(size))
        return address

    def _rate(self, act: Callable[[], None], amount: float) -> float:
        """How much of what `act` does `amount` of is done in a second, at best: an idle GPU has to wake up first."""
        best, began = 0.0, time.perf_counter()
        for _ in range(_MOST):
            at = time.perf_counter()
            act()
            self._ask("cuCtxSynchronize")
            now = time.perf_counter()
            best = max(best, amount / max(now - at, 1e-9))
            if now - began > _SECONDS:
                break
        return best


def product() -> str:
    """The inner loop of a product of matrices, for every GPU since Maxwell (PTX, which the driver translates)."""
    sums = range(_SIDE * _SIDE)
    begin = [f"ld.global.f32 %f{each}, [%d0+{4 * each}];" for each in range(2 * _SIDE)]
    begin += [f"mov.f32 %c{each}, 0f00000000;" for each in sums]
    step = [f"fma.rn.f32 %c{each}, %f{each // _SIDE}, %f{_SIDE + each % _SIDE}, %c{each};" for each in sums]
    end = [f"add.rn.f32 %c0, %c0, %c{each};" for each in sums[1:]]
    text = _PRODUCT
    for name, lines in {"@begin": begin, "@step": step * _UNROLLED, "@end": end}.items():
        text = text.replace(name, "\n".join(lines))
    return text


_PRODUCT = """\
.version 6.0
.target sm_50
.address_size 64
.visible .entry product(.param .u64 factors, .param .u64 sums, .param .u32 steps)
{
.reg .b64 %d<4>;
.reg .b32 %r<5>;
.reg .f32 %f<16>;
.reg .f32 %c<64>;
.reg .pred %p;
ld.param.u64 %d0, [factors];
cvta.to.global.u64 %d0, %d0;
ld.param.u64 %d1, [sums];
cvta.to.global.u64 %d1, %d1;
ld.param.u32 %r0, [steps];
mov.u32 %r1, %ctaid.x;
mov.u32 %r2, %ntid.x;
mov.u32 %r3, %tid.x;
mad.lo.u32 %r4, %r1, %r2, %r3;
and.b32 %r3, %r3, 31;
mul.wide.u32 %d2, %r3, 64;
add.u64 %d0, %d0, %d2;
@begin
again:
@step
sub.u32 %r0, %r0, 1;
setp.ne.u32 %p, %r0, 0;
@%p bra again;
@end
mul.wide.u32 %d2, %r4, 4;
add.u64 %d3, %d1, %d2;
st.global.f32 [%d3], %c0;
ret;
}
"""
