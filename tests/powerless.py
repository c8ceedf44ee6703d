"""Make a process one that permissions bind, also where tests are run by the superuser."""

import contextlib
import ctypes

STATEMENTS = """
import ctypes
# Of this process, by a header of version 3, no capability is left: what remains of the superuser is an owner of files.
# Another user would not do: Python itself may lie where none may look.
if ctypes.CDLL(None).capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()):
    raise OSError("capabilities could not be given up")
"""
"""Python statements for the beginning of the process."""


@contextlib.contextmanager
def for_a_while():
    """Have this thread use none of its capabilities within the block."""
    system, header = ctypes.CDLL(None), (ctypes.c_uint32 * 2)(0x20080522, 0)
    held = (ctypes.c_uint32 * 6)()
    if system.capget(header, held):
        raise OSError("capabilities cannot be read")
    # Two groups of (effective, permitted, inheritable): what stays permitted can be taken up again.
    idle = (ctypes.c_uint32 * 6)(0, held[1], held[2], 0, held[4], held[5])
    if system.capset(header, idle):
        raise OSError("capabilities could not be given up")
    try:
        yield
    finally:
        if system.capset(header, held):
            raise OSError("capabilities could not be taken up again")
