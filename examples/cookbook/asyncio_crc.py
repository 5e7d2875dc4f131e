# SPDX-License-Identifier: MIT
"""asyncio_crc.py LIBRARY: a pool in an asyncio loop, by cffi. The work is C and needs no GIL.

    cc -shared -fPIC -O2 -o libcrc.so asyncio_crc.c ../../src/strait.c -I../../include -pthread
"""
import asyncio
import os
import sys
import zlib

import cffi

DRAIN, FOREVER = 0, 2**63 - 1

ffi = cffi.FFI()
ffi.cdef("""
    typedef void answer_fn(uint64_t request, uint32_t crc, int error);
    int strait_pool_create(void **pool, void *options);
    int strait_pool_attach(void *pool, void **parent, void *options);
    int strait_pool_finish(void *pool, void *parent, int mode, int64_t deadline);
    int strait_parent_fd(void *parent);
    ptrdiff_t strait_parent_dispatch(void *parent, size_t budget);
    int crc_submit(void *parent, const char *bytes, size_t size, uint64_t request,
                   answer_fn *answer);
""")


def checked(result):
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return result


class Crc:
    """A pool and its parent: the thread of the running loop, which makes all calls."""

    def __init__(self, library):
        pool, parent = ffi.new("void **"), ffi.new("void **")
        self.lib = ffi.dlopen(library)
        checked(self.lib.strait_pool_create(pool, ffi.NULL))
        checked(self.lib.strait_pool_attach(pool[0], parent, ffi.NULL))
        self.pool, self.parent = pool[0], parent[0]
        self.answer = ffi.callback("answer_fn", self.answered)  # kept: C has a bare pointer
        self.waiting = {}  # by request: its future, and the bytes that the worker reads
        self.last = 0
        self.loop = asyncio.get_running_loop()
        self.fd = self.lib.strait_parent_fd(self.parent)
        self.loop.add_reader(self.fd, self.lib.strait_parent_dispatch, self.parent, 0)

    def answered(self, request, crc, error):
        future, _ = self.waiting.pop(request)
        if error and not future.cancelled():
            future.set_exception(OSError(-error, os.strerror(-error)))
        elif not future.cancelled():
            future.set_result(crc)

    def submit(self, data):
        """A future of the checksum. BlockingIOError: too many wait."""
        self.last += 1
        kept = ffi.from_buffer(data)
        checked(self.lib.crc_submit(self.parent, kept, len(kept), self.last, self.answer))
        self.waiting[self.last] = (self.loop.create_future(), kept)
        return self.waiting[self.last][0]

    def close(self):
        self.loop.remove_reader(self.fd)
        checked(self.lib.strait_pool_finish(self.pool, self.parent, DRAIN, FOREVER))


async def main():
    crc = Crc(sys.argv[1])
    blobs = [os.urandom(100000) for _ in range(50)]
    sums = await asyncio.gather(*map(crc.submit, blobs))
    crc.close()
    return sums == [zlib.crc32(blob) for blob in blobs]

sys.exit(not asyncio.run(main()))
