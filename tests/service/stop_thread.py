#!/usr/bin/env python3
"""Stops one thread of a process, as a bug that never returns would, and leaves the others running.

Usage: stop_thread.py TID; says 'stopped' and holds it until it is killed or the thread has gone. Needs root.
"""
import ctypes
import os
import sys

PTRACE_SEIZE, PTRACE_INTERRUPT = 0x4206, 0x4207
WALL = 0x40000000

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
thread = int(sys.argv[1])
for request in (PTRACE_SEIZE, PTRACE_INTERRUPT):
    if libc.ptrace(request, thread, None, None) != 0:
        sys.exit(f"ptrace: {os.strerror(ctypes.get_errno())}")
os.waitpid(thread, WALL)
print("stopped", flush=True)
os.waitpid(thread, WALL)
