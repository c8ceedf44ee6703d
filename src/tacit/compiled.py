"""Functions compiled by Numba, kept on disk so that each is compiled once.

Compiling the renderer of Pathfinder takes most of a minute, so what was compiled is kept: in NUMBA_CACHE_DIR if that is
set, else in the user's cache folder or, where that cannot be used, in the `__pycache__` beside the source. Of processes
that start together one compiles and the others wait for it.

A file is named by its content: what the function does and all that it uses (as it stands in memory, so that no edit
comes between), the types of the arguments, the processor, the options, the versions of the libraries. Copies of the
project share it, and a change of a constant or a field in another module makes a new one; Numba's own cache, which
goes by path and by the file of the function alone, would take the old code. A digest stands before the rest and is
checked first. As those of Python in `__pycache__`, these files are code, of the same user.

Nothing that befalls these files ends a job. If they cannot be read, written or locked, the log says so once, and the
function is compiled for this process alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import os
import pickle
import sys
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
from numba.core.caching import NullCache
from numba.core.compiler import CompileResult
from numba.core.dispatcher import Dispatcher
from numba.core.serialize import dumps
from numba.extending import _Intrinsic

from tacit import files
from tacit.runlog import log

_LONGEST_WAIT_SECONDS = 600.0
_POLL_SECONDS = 0.2
_KEPT = 16
"""Files of one function, the youngest, that stay when another is added: types, processors, versions of the code."""
_CODE_OPTIONS = ("OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "ENABLE_AVX", "BOUNDSCHECK", "DEBUGINFO_DEFAULT")
"""The settings of Numba that change the code it makes."""


def kernel(**options: Any) -> Callable[[Callable], Kernel]:
    """Compile a function as `numba.njit(**options)` does, and keep what was compiled.

    For functions that Python calls. Options change results and stand where this is used, never here, as this module is
    no part of the fingerprints of code.
    """
    return functools.partial(Kernel, options=options)


class Kernel:
    """A compiled function. It is compiled or loaded on the first call with arguments of new types.

    A first call with nothing to do keeps that time out of what is measured afterwards.
    """

    def __init__(self, function: Callable, options: dict[str, Any]):
        functools.update_wrapper(self, function)
        self.compiled = numba.njit(**options)(function)
        self._files = _Files(function, options)
        # With NUMBA_DISABLE_JIT it is the function itself.
        if isinstance(self.compiled, Dispatcher):
            self.compiled._cache = self._files  # type: ignore[attr-defined]

    def __call__(self, *args: Any) -> Any:
        """Call the function, compiled or loaded before if need be."""
        try:
            return self.compiled(*args)
        finally:
            # Usually released before; but not if compiling failed.
            self._files.release()


class _Files(NullCache):
    """The files of one function, in the place where Numba expects its own cache."""

    def __init__(self, function: Callable, options: dict[str, Any]):
        self._function, self._options = function, options
        self._name = f"{function.__module__}.{function.__qualname__}"
        self._lock: int | None = None
        self._started = 0.0

    # Called by Numba: before it compiles, and after.

    def load_overload(self, sig: Any, target_context: Any) -> CompileResult | None:
        """Return what was compiled for these types of arguments; None if it has to be compiled, by this process."""
        target_context.refresh()
        file = self._file(sig, target_context.codegen())
        found = self._read(file, target_context)
        if found is None:
            waited = self._acquire()
            # It may have been written in between.
            found = self._read(file, target_context)
            # Whoever was waited for could not keep it, nor will the others: no reason to compile one after the other.
            if found is not None or waited:
                self.release()
        if found is None:
            log.info("compiling %s", self._name)
        self._started = time.monotonic()
        return found

    def save_overload(self, sig: Any, data: CompileResult) -> None:
        """Keep what was compiled, if there is a place for it."""
        log.info("compiled %s in %.0f s", self._name, time.monotonic() - self._started)
        try:
            content = dumps(data._reduce())
            self._write(self._file(sig, data.codegen), hashlib.blake2b(content).digest() + content)
        except Exception as error:
            _warn(
                f"compiled code cannot be kept ({_reason(error)}), so each job compiles anew; make room, or set "
                "NUMBA_CACHE_DIR to a folder that can be written to"
            )
        finally:
            self.release()

    def release(self) -> None:
        """Let others compile."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    # Files.

    def _file(self, sig: Any, codegen: Any) -> str:
        """Return the name of the file for these types of arguments."""
        args = sig.args if hasattr(sig, "args") else sig
        versions = (numba.__version__, llvmlite.__version__, np.__version__, sys.implementation.cache_tag)
        made = [getattr(numba.config, name, None) for name in _CODE_OPTIONS]
        text = [*map(str, [versions, codegen.magic_tuple(), made, _options(self._options)])]
        text += [*map(_described, args), *_content(self._function)]
        return f"{self._name}-{hashlib.blake2b(repr(text).encode(), digest_size=16).hexdigest()}.compiled"

    def _folders(self) -> list[Path]:
        """Return where files may lie, the best place first."""
        if folder := getattr(numba.config, "CACHE_DIR", ""):
            return [Path(folder).absolute()]
        # No user's cache folder where there is no home.
        with contextlib.suppress(RuntimeError):
            user = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
            if user.is_absolute():
                return [user / "tacit", self._beside]
        return [self._beside]

    @property
    def _beside(self) -> Path:
        return Path(self._function.__code__.co_filename).absolute().parent / "__pycache__"

    def _read(self, file: str, target_context: Any) -> CompileResult | None:
        trouble = []
        for folder in self._folders():
            try:
                content = (folder / file).read_bytes()
                digest, content = content[:64], content[64:]
                if hashlib.blake2b(content).digest() != digest:
                    raise ValueError("it is damaged")
                return CompileResult._rebuild(target_context, *pickle.loads(content))
            except (FileNotFoundError, NotADirectoryError):
                continue
            except Exception as error:
                trouble.append(f"{folder / file} cannot be used ({_reason(error)})")
        for said in trouble:
            _warn(f"{said}; going on without it")
        return None

    def _write(self, file: str, content: bytes) -> None:
        """Write to the first place that takes it. Raises what the last one that does not raised."""
        *others, last = self._folders()
        for folder in others:
            with contextlib.suppress(files.StoreError, OSError):
                return self._write_to(folder, file, content)
        self._write_to(last, file, content)

    def _write_to(self, folder: Path, file: str, content: bytes) -> None:
        files.write_bytes(folder / file, content)
        with contextlib.suppress(OSError):
            aged = sorted(folder.glob(f"{self._name}-*.compiled"), key=lambda path: path.stat().st_mtime)
            for path in aged[:-_KEPT]:
                path.unlink()

    def _acquire(self) -> bool:
        """Become the process that compiles, and return whether another one had to be waited for.

        The kernel frees the lock when a process ends, however it ends. Where nothing can be locked, all compile.
        """
        if self._lock is not None:
            return False
        for folder in self._folders():
            with contextlib.suppress(OSError):
                folder.mkdir(parents=True, exist_ok=True)
                self._lock = os.open(folder / f"{self._name}.lock", os.O_RDWR | os.O_CREAT, 0o666)
                try:
                    return self._wait(self._lock)
                except OSError:
                    self.release()
        return False

    def _wait(self, lock: int) -> bool:
        started, waits = time.monotonic(), False
        while time.monotonic() - started < _LONGEST_WAIT_SECONDS:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return waits
            except BlockingIOError:
                if not waits:
                    log.info("waiting for another job that compiles %s", self._name)
                waits = True
                time.sleep(_POLL_SECONDS)
        log.warning("waited %.0f s for another job that compiles %s", _LONGEST_WAIT_SECONDS, self._name)
        return True


# What a compiled function is.


def _described(kind: Any) -> str:
    """Return a type of Numba's as text; its own name of a named tuple leaves out the fields."""
    if hasattr(kind, "fields") and hasattr(kind, "types"):
        fields = zip(kind.fields, map(_described, kind.types), strict=True)
        return f"{kind.instance_class.__qualname__}({', '.join(f'{name}: {inner}' for name, inner in fields)})"
    if hasattr(kind, "fields") and hasattr(kind, "instance_class"):
        return f"{kind.instance_class.__qualname__}({', '.join(kind.fields)}: {_described(kind.dtype)})"
    return str(kind)


def _content(function: Callable, seen: set[int] | None = None) -> Iterator[str]:
    """Yield, as text, what a function does and everything of Tacit that it uses.

    Raises TypeError if it uses what has no such text, and would be compiled in as it happens to be.
    """
    seen = set() if seen is None else seen
    if id(function) in seen:
        return
    seen.add(id(function))
    yield function.__qualname__
    yield _bytecode(function.__code__, function.__doc__)
    used = {name: function.__globals__[name] for name in _names(function.__code__) if name in function.__globals__}
    cells = function.__closure__ or ()
    used |= {name: cell.cell_contents for name, cell in zip(function.__code__.co_freevars, cells, strict=True)}
    for name, value in sorted(used.items()):
        yield f"{name} ="
        yield from _value(value, seen)


def _value(value: Any, seen: set[int]) -> Iterator[str]:
    if isinstance(value, Kernel):
        value = value.compiled
    if isinstance(value, Dispatcher):
        yield str(_options(value.targetoptions))
        value = value.py_func
    if isinstance(value, _Intrinsic):
        value = value._defn
    if isinstance(value, types.FunctionType) and value.__module__.partition(".")[0] != "numba":
        yield from _content(value, seen)
    elif isinstance(value, type) and hasattr(value, "_fields"):
        yield f"{value.__qualname__}{value._fields}"
    elif isinstance(value, bool | int | float | complex | str | bytes | tuple | np.generic | type | None):
        yield repr(value)
    elif isinstance(value, types.ModuleType | types.BuiltinFunctionType | types.FunctionType | np.ufunc):
        if value.__name__.startswith("tacit"):
            raise TypeError(f"{value.__name__}: compiled code takes what it uses of Tacit by its own name")
        yield value.__name__
    else:
        raise TypeError(f"a {type(value).__name__} in compiled code; only plain values can be told apart")


def _options(given: dict[str, Any]) -> list[tuple[str, str]]:
    """Return options in an order of their own; one may be a set."""
    return sorted((name, str(sorted(value) if isinstance(value, set) else value)) for name, value in given.items())


def _names(code: types.CodeType) -> set[str]:
    inner = (const for const in code.co_consts if isinstance(const, types.CodeType))
    return set(code.co_names).union(*map(_names, inner))


def _bytecode(code: types.CodeType, docstring: str | None) -> str:
    """Return what is executed, without positions and docstring."""
    consts = [
        _bytecode(const, None) if isinstance(const, types.CodeType) else "" if const is docstring else repr(const)
        for const in code.co_consts
    ]
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars, code.co_argcount)
    return f"{code.co_code.hex()} {consts} {names} {code.co_exceptiontable.hex()}"


# Words.


def _reason(error: BaseException) -> str:
    error = error.__cause__ if isinstance(error, files.StoreError) and error.__cause__ else error
    return str(error) or type(error).__name__


@functools.cache
def _warn(text: str) -> None:
    """Warn, once for each text."""
    log.warning("%s", text)
