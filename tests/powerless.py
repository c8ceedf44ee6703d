"""Make a process one that permissions bind, also where tests are run by the superuser."""

STATEMENTS = """
import ctypes
# Of this process, by a header of version 3, no capability is left: what remains of the superuser is an owner of files.
# Another user would not do: Python itself may lie where none may look.
if ctypes.CDLL(None).capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()):
    raise OSError("capabilities could not be given up")
"""
"""Python statements for the beginning of the process."""
