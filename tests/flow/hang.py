#!/usr/bin/env python3
# hang.py DIR [read]: a file system at DIR that begins and then answers nothing, until this process is killed. With "read" it takes the
# questions, so that not even KILL ends who asks; without, who asks can be killed. Says "ready" when it is there.
import ctypes
import os
import struct
import sys
import time

FUSE_INIT = 26
libc = ctypes.CDLL(None, use_errno=True)
where = sys.argv[1]
device = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={device},rootmode=40755,user_id=0,group_id=0,allow_other"
if libc.mount(b"hang", where.encode(), b"fuse.hang", 6, options.encode()) < 0:
    sys.exit(f"mount: {os.strerror(ctypes.get_errno())}")
length, opcode, unique = struct.unpack_from("=IIQ", os.read(device, 1 << 17))
assert opcode == FUSE_INIT
# Version 7.31, no flags, requests of a page.
answer = struct.pack("=IIIIHHIIHH32x", 7, 31, 4096, 0, 8, 8, 4096, 1, 1, 0)
os.write(device, struct.pack("=IiQ", 16 + len(answer), 0, unique) + answer)
print("ready", flush=True)
while True:
    if len(sys.argv) > 2:
        os.read(device, 1 << 17)
    else:
        time.sleep(3600)
