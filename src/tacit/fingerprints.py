"""Fingerprints of code: hashes of exactly the source that a script depends on.

Snakemake does not see edits in imported modules, so rules carry these among their parameters. A fingerprint covers
the definitions inside Tacit that a script reaches, found without importing anything: from the names it uses to the
functions, classes and constants they stand for, from those to the names they use, and so on. Statements that a module
runs on import count as soon as anything of it is reached.

What is hashed is the syntax tree without comments, docstrings and layout. So an edit that changes meaning changes the
fingerprint of exactly what depends on it, and nothing else does. Modules that cannot change a result are left out.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

NEUTRAL = frozenset(
    {"tacit.runlog", "tacit.devices", "tacit.compiled", "tacit.jobs", "tacit.provenance", "tacit.imports"}
)
"""Modules that say what a job does, where, and with what right, but enter no number of a result."""

CACHE = Path(".snakemake", "tacit", "fingerprints")
"""Folder, in that of a workflow, of fingerprints of the code last planned with, for its jobs and its next start."""

_SCRIPT = "(script)"

_FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef
_DEFINITION = _FUNCTION | ast.ClassDef
_SCOPE = _DEFINITION | ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
"""What has variables of its own, which are not those of the function around it."""


class Reached(NamedTuple):
    """What is known of a program."""

    fingerprint: str
    """16 hexadecimal digits."""
    modules: tuple[str, ...]
    """Modules of Tacit that it can reach."""


class Sources:
    """The source files of the package in the folder `package`, each read at most once, if its text is not given.

    Where the folder `cache` holds fingerprints of exactly these sources they are taken from there, and nothing is
    parsed; `save` puts there what was worked out.
    """

    def __init__(
        self,
        package: Path = Path(__file__).parent,
        texts: Mapping[Path, str] | None = None,
        cache: Path | None = None,
    ):
        self.package = package
        self._modules: dict[str, _Module] = {}
        self._texts = dict(texts or {})
        self._files = self._listed()
        self._known: dict[str, Reached] = {}
        self._cache = cache and self._named_by_content(cache)
        self._saved = self._remembered()

    def fingerprint(self, script: str | Path, uses: str = "") -> str:
        """Return the fingerprint (16 hexadecimal digits) of a script, all it uses of Tacit, and all that `uses` does.

        `uses` is a dotted name in Tacit that the script is told. Raises FileNotFoundError if there is no such script,
        SyntaxError if it or a module it uses does not parse, ModuleNotFoundError if one is missing.
        """
        return self._of(script, uses).fingerprint

    def modules(self, script: str | Path, uses: str = "") -> set[str]:
        """Return the modules of Tacit that these can reach, as they are imported. Raises as `fingerprint` does."""
        return set(self._of(script, uses).modules)

    def _of(self, script: str | Path, uses: str) -> Reached:
        content = self._text(Path(script))
        key = hashlib.blake2b(f"{content}\0{uses}".encode(), digest_size=16).hexdigest()
        if key not in self._known:
            self._known[key] = self._saved[key] if key in self._saved else self._worked_out(script, uses)
        return self._known[key]

    def _worked_out(self, script: str | Path, uses: str) -> Reached:
        reached = self._reach(script, uses)
        text = "".join(f"{module}:{name}={source}\n" for (module, name), source in sorted(reached.items()))
        modules = {module for module, _ in reached} - {_SCRIPT}
        return Reached(hashlib.blake2b(text.encode(), digest_size=8).hexdigest(), tuple(sorted(modules)))

    def _named_by_content(self, cache: Path) -> Path | None:
        """Return the file in `cache` for all sources as they are; None if one cannot be read, which may not matter."""
        found = hashlib.blake2b(digest_size=16)
        try:
            for path in sorted(self._files):
                found.update(f"{path.relative_to(self.package)}\0{self._text(path)}\0".encode())
        except (OSError, UnicodeDecodeError):
            return None
        return cache / f"{found.hexdigest()}.json"

    def _remembered(self) -> dict[str, Reached]:
        try:
            found = json.loads(self._cache.read_text(encoding="utf-8")) if self._cache else {}
            return {key: Reached(fingerprint, tuple(modules)) for key, (fingerprint, modules) in found.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}

    def save(self) -> None:
        """Put what is known into the cache, in place of what other sources left there; never fails."""
        if self._cache is None or self._known.keys() <= self._saved.keys():
            return
        part = self._cache.with_suffix(f".{os.getpid()}")
        try:
            self._cache.parent.mkdir(parents=True, exist_ok=True)
            others = [path for path in self._cache.parent.glob("*.json") if path != self._cache]
            part.write_text(json.dumps(self._saved | self._known), encoding="utf-8")
            part.replace(self._cache)
            for path in others:
                path.unlink(missing_ok=True)
        except OSError:
            with contextlib.suppress(OSError):
                part.unlink()

    def are_current(self) -> bool:
        """Tell whether all that was read so far is still there, to the letter, and no file has come or gone."""
        try:
            unchanged = all(path.read_text(encoding="utf-8") == text for path, text in self._texts.items())
        except (OSError, UnicodeDecodeError):
            return False
        return unchanged and self._files == self._listed()

    def are(self, others: Mapping[Path, str]) -> bool:
        """Tell whether what was read so far is what `others` have, of files that are in both."""
        return all(others.get(path, text) == text for path, text in self._texts.items())

    def _listed(self) -> set[Path]:
        return set(self.package.rglob("*.py"))

    def _text(self, path: Path) -> str:
        if path not in self._texts:
            self._texts[path] = path.read_text(encoding="utf-8")
        return self._texts[path]

    def _parsed(self, name: str, path: Path) -> _Module:
        return _Module(name, self._text(path), path)

    def _reach(self, script: str | Path, uses: str) -> dict[tuple[str, str], str]:
        """Return the meaning of each definition that a script and what it is told to use reach, by module and name."""
        start = self._parsed(_SCRIPT, Path(script))
        reached: dict[tuple[str, str], str] = {}
        pending = [(start, name) for name in ("", *start.definitions)]
        if uses:
            package, *chain = uses.split(".")
            told = list(self._descend(package, chain))
            if not any(name == chain[-1] for _, name in told):
                raise ModuleNotFoundError(f"no {uses} in {self.package}")
            pending += told
        while pending:
            module, name = pending.pop()
            if (module.name, name) in reached or module.name in NEUTRAL:
                continue
            reached[module.name, name], chains = module.meaning(name)
            pending.append((module, ""))
            for chain in chains:
                pending.extend(self._resolve(module, chain))
                if meant := module.outside.get(chain[0]):
                    reached[module.name, f"import {chain[0]}"] = " ".join(sorted(meant))
        return reached

    def _resolve(self, module: _Module, chain: list[str]) -> Iterator[tuple[_Module, str]]:
        """Yield the definitions that the dotted name `chain` stands for in `module`."""
        first, *rest = chain
        if first in module.definitions:
            yield module, first
        for target, symbol in sorted(module.imports.get(first, ())):
            yield from self._descend(target, [symbol, *rest] if symbol else rest)

    def _descend(self, name: str, chain: list[str]) -> Iterator[tuple[_Module, str]]:
        """Yield what `chain` stands for in the module `name`: all of the module if the chain ends with it."""
        yield self._load(name), ""
        while chain and self._find(f"{name}.{chain[0]}"):
            name, chain = f"{name}.{chain[0]}", chain[1:]
            yield self._load(name), ""
        module = self._load(name)
        if chain:
            yield from self._resolve(module, chain)
        else:
            yield from ((module, defined) for defined in module.definitions)

    def _load(self, name: str) -> _Module:
        if name not in self._modules:
            path = self._find(name)
            if path is None:
                raise ModuleNotFoundError(f"no module {name} in {self.package}")
            self._modules[name] = self._parsed(name, path)
        return self._modules[name]

    def _find(self, name: str) -> Path | None:
        base = self.package.joinpath(*name.split(".")[1:])
        candidates = (base / "__init__.py", base.with_suffix(".py"))
        return next((path for path in candidates if path.is_file()), None)


def canonical(node: ast.AST | list | object) -> str:
    """Return the meaning of a syntax tree as text: no positions, comments, docstrings or empty fields.

    Unlike `ast.dump` the same in every version of Python, as fields that a version adds are empty in older code.
    """
    if isinstance(node, ast.AST):
        fields = [(name, value) for name, value in ast.iter_fields(node) if value not in (None, [])]
        if isinstance(node, ast.Constant):
            fields = [("value", node.value)]
        return f"{type(node).__name__}({','.join(f'{name}={canonical(value)}' for name, value in fields)})"
    if isinstance(node, list):
        return f"[{','.join(canonical(item) for item in node if not _is_bare_text(item))}]"
    return repr(node)


class _Module:
    """A parsed source file: what its names stand for, and what it does when imported."""

    def __init__(self, name: str, text: str, path: Path):
        self.name = name
        self._meanings: dict[str, tuple[str, list[list[str]]]] = {}
        self.definitions: dict[str, list[ast.stmt]] = defaultdict(list)
        self.effects: list[ast.stmt] = []
        self.imports: dict[str, set[tuple[str, str]]] = defaultdict(set)
        self.outside: dict[str, set[str]] = defaultdict(set)
        tree = ast.parse(text, filename=str(path))
        for statement in tree.body:
            names = list(_defined_names(statement))
            for defined in names:
                self.definitions[defined].append(statement)
            if not names and not _is_bare_text(statement) and not _only_imports(statement):
                self.effects.append(statement)
        for node in ast.walk(tree):
            self._note_import(node)

    def _note_import(self, node: ast.AST) -> None:
        """Note what the names stand for that an import statement binds, in Tacit or outside."""
        if isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.split(".")[0]
                name, module = (alias.asname, alias.name) if alias.asname else (first, first)
                if first == "tacit":
                    self.imports[name].add((module, ""))
                else:
                    self.outside[name].add(module)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            for alias in node.names:
                name = alias.asname or alias.name
                if module.split(".")[0] == "tacit":
                    self.imports[name].add((module, alias.name))
                else:
                    self.outside[name].add(f"{module}.{alias.name}")

    def meaning(self, name: str) -> tuple[str, list[list[str]]]:
        """Return a definition, or with no name what is done on import, as text, and the dotted names it uses.

        Worked out once, as many scripts reach the same ones.
        """
        if name not in self._meanings:
            nodes = self.definitions[name] if name else self.effects
            used = {tuple(chain) for node in nodes for chain in _dotted_names(node)}
            self._meanings[name] = "".join(map(canonical, nodes)), [list(chain) for chain in sorted(used)]
        return self._meanings[name]


def _dotted_names(node: ast.AST, local: frozenset[str] = frozenset()) -> Iterator[list[str]]:
    """Yield every dotted name in `node`, as long as it goes, but for those that start with a local variable."""
    names = []
    root = node
    while isinstance(root, ast.Attribute):
        names.append(root.attr)
        root = root.value
    if isinstance(root, ast.Name):
        if root.id not in local:
            yield [root.id, *reversed(names)]
        return
    body, inner = [], local
    if isinstance(node, _FUNCTION):
        body, inner = node.body, local | _local_names(node)
    for child in ast.iter_child_nodes(node):
        yield from _dotted_names(child, inner if child in body else local)


def _local_names(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    """Return the parameters of a function and the variables it assigns; imports in it are not among them."""
    names = {node.arg for node in ast.walk(function.args) if isinstance(node, ast.arg)}
    shared: set[str] = set()
    pending: list[ast.AST] = list(function.body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Global):
            shared |= set(node.names)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif not isinstance(node, _SCOPE):
            pending.extend(ast.iter_child_nodes(node))
    return names - shared


def _defined_names(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, _DEFINITION):
        yield statement.name
    if isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign):
        for target in statement.targets if isinstance(statement, ast.Assign) else [statement.target]:
            stored = (node for node in ast.walk(target) if isinstance(node, ast.Name))
            yield from (node.id for node in stored if isinstance(node.ctx, ast.Store))


def _is_bare_text(node: object) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _only_imports(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.If):
        return all(_only_imports(inner) for inner in [*statement.body, *statement.orelse])
    return isinstance(statement, ast.Import | ast.ImportFrom)
