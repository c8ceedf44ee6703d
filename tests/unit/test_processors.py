"""Libraries are held to common instructions, and whatever else the environment says changes nothing.

Each case is a process of its own, as libraries look at the environment when they are loaded.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tacit
from tacit import processors

ROOT = Path(__file__).parents[2]
HELD_HERE = bool(processors.variables())

needs_avx2 = pytest.mark.skipif(not HELD_HERE, reason="no x86-64 processor with AVX2, or not under Linux")

LESSER = {
    "ATEN_CPU_CAPABILITY": "default",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "MKL_CBWR": "AUTO",
    "OPENBLAS_CORETYPE": "Nehalem",
    "NPY_DISABLE_CPU_FEATURES": f"X86_V3 AVX2 FMA3 {processors.beyond_avx2()}",
    "OMP_NUM_THREADS": "2",
}
"""As on a processor of 2008 with two cores, and with MKL as it likes."""


def environment(**added):
    """What the tests were started with, but for what chooses instructions and threads."""
    names = {*processors.variables(), *LESSER, "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"}
    kept = {name: value for name, value in os.environ.items() if name not in names}
    path = os.pathsep.join(filter(None, [str(ROOT / "src"), str(ROOT / "benchmarks"), os.environ.get("PYTHONPATH")]))
    return kept | {"PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": ""} | added


def run(code, **added):
    """The output of a piece of Python."""
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, env=environment(**added), capture_output=True, encoding="utf-8", timeout=600)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


REPORT = """
import json, numpy, scipy.linalg, threadpoolctl, torch
from numpy._core._multiarray_umath import __cpu_dispatch__ as dispatched, __cpu_features__ as features
left = torch.randn(64, 64)
left @ left
torch.nn.functional.conv2d(torch.randn(4, 16, 16, 16), torch.randn(16, 16, 3, 3))
found = {
    "torch": torch.backends.cpu.get_cpu_capability(),
    "numpy": [name for name in dispatched if features[name]],
    "openblas": [
        (pool["architecture"], pool["num_threads"])
        for pool in threadpoolctl.threadpool_info() if pool["internal_api"] == "openblas"
    ],
    "threads": torch.get_num_threads(),
}
print(json.dumps(found))
"""


def reported(hold, **added):
    """What each library says that it computes with; oneDNN and MKL print it themselves."""
    first = "from tacit import processors; processors.hold()\n" if hold else ""
    lines = run(first + REPORT, ONEDNN_VERBOSE="1", MKL_VERBOSE="1", **added).splitlines()
    found = json.loads(lines[-1])
    text = "\n".join(lines)
    found["onednn"] = re.search(r"cpu,isa:(.*)", text).group(1)
    found["kernels"] = sorted(set(re.findall(r"exec,cpu,convolution,([\w:]+)", text)))
    found["mkl"] = sorted(set(re.findall(r"SGEMM.*CNR:(\w+)", text)))
    return found


@pytest.mark.slow
@needs_avx2
@pytest.mark.parametrize("added", [{}, LESSER], ids=["as it comes", "told otherwise"])
def test_every_library_says_that_it_is_held(added):
    found = reported(hold=True, **added)
    assert found["torch"] == "AVX2"
    assert {"X86_V3", "AVX2"} & set(found["numpy"])
    assert [name for name in found["numpy"] if name.startswith("AVX512") or name == "X86_V4"] == []
    assert len(found["openblas"]) == 2, "NumPy and SciPy each have an OpenBLAS"
    assert {tuple(pool) for pool in found["openblas"]} == {("Haswell", 1)}
    assert found["onednn"] == "Intel AVX2"
    assert found["kernels"] and all("avx512" not in kernel for kernel in found["kernels"])
    assert found["mkl"] == ["COMPATIBLE"]
    assert found["threads"] == 1


@pytest.mark.slow
@needs_avx2
def test_not_held_they_take_what_they_are_told():
    found = reported(hold=False, **LESSER)
    assert (found["torch"], found["mkl"]) == ("DEFAULT", ["AUTO"])
    assert not {"X86_V3", "AVX2", "X86_V4"} & set(found["numpy"])
    assert found["onednn"].endswith("SSE4.1")
    assert {architecture for architecture, _ in found["openblas"]} == {"Nehalem"}


DIGESTS = """
import json, sys
{first}
import processors as benchmark
from functools import partial
engines = {{
    "network": partial(benchmark.networks, 0.0, steps=2),
    "network, regularised": partial(benchmark.networks, 1.0, steps=2),
    "cnn": partial(benchmark.classification, "cnn", images=40),
    "lcn": partial(benchmark.classification, "lcn", images=40),
    "fcn": partial(benchmark.classification, "fcn", images=20),
    "descent, matrix": partial(benchmark.descent, "matrix", epochs=50),
    "descent, tensor": partial(benchmark.descent, "tensor", epochs=50),
    "descent, tree": partial(benchmark.descent, "tree", epochs=25),
    "measures": partial(benchmark.measures, repeats=1),
    "draws": benchmark.draws,
}}
print(json.dumps({{name: benchmark.digest(engine()) for name, engine in engines.items()}}))
"""


def digests(hold, **added):
    """Digests of what each engine computes in a few steps."""
    # The benchmark has the name of the module, so it is imported under another.
    first = "from tacit import processors; processors.hold()" if hold else ""
    return json.loads(run(DIGESTS.format(first=first), **added).splitlines()[-1])


@pytest.mark.slow
@needs_avx2
def test_engines_give_the_same_bytes_whatever_the_environment_says():
    held = digests(hold=True)
    assert digests(hold=True, **LESSER) == held
    other = digests(hold=False, **LESSER)
    same = [name for name in held if other[name] == held[name]]
    assert same == [], "these would not notice a lesser processor"


COMPILED = """
import processors as benchmark
print(benchmark.digest(benchmark.{engine}))
"""


def compiled(engine, **added):
    """The digest of a compiled kernel; what is compiled for this processor is where jobs find it too."""
    return run(COMPILED.format(engine=engine), **added).splitlines()[-1]


LESSER_TARGET = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "+sse2"}
"""A target of compiled kernels with neither AVX nor fused operations."""


@pytest.mark.slow
def test_compiled_descent_is_the_same_for_any_processor(tmp_path):
    engine = "compiled_descent(epochs=5000)"
    assert compiled(engine) == compiled(engine, NUMBA_CACHE_DIR=str(tmp_path), **LESSER_TARGET)


@pytest.mark.slow
def test_rendering_is_the_same_for_any_processor(tmp_path):
    engine = "rendering(images=20)"
    assert compiled(engine) == compiled(engine, NUMBA_CACHE_DIR=str(tmp_path), **LESSER_TARGET)


@needs_avx2
def test_holding_too_late_is_refused():
    code = """
import numpy
from tacit import processors
try:
    processors.hold()
except processors.ProcessorError as error:
    print(error)
"""
    said = run(code)
    assert "numpy had chosen" in said and "MKL_CBWR='COMPATIBLE'" in said


@needs_avx2
def test_holding_twice_is_of_no_effect():
    code = """
from tacit import processors
processors.hold()
import numpy, torch
processors.hold()
print(processors.capability())
"""
    assert run(code).strip() == processors.HELD


@needs_avx2
def test_a_training_refuses_to_say_that_it_is_held_when_it_is_not():
    code = """
import torch, os
from tacit import processors
# It looks at the variable when it first computes.
torch.ones(3).exp()
os.environ.update(processors.variables())
from tacit.training import precision
try:
    precision.use("float32", torch.device("cpu"))
except processors.ProcessorError as error:
    print(error)
"""
    assert "PyTorch computes with DEFAULT" in run(code, ATEN_CPU_CAPABILITY="default")


@pytest.mark.slow
@needs_avx2
def test_capability_tells_more_threads():
    code = "from tacit import processors; import torch; print(processors.capability())"
    variables = processors.variables()
    assert run(code, **variables).strip() == processors.HELD
    assert run(code, **variables | dict.fromkeys(processors.THREADS, "2")).strip() == "x86-64 AVX2, 2 threads"


def described(monkeypatch, text, machine="x86_64"):
    monkeypatch.setattr(processors, "_description", lambda: text)
    monkeypatch.setattr(processors.platform, "machine", lambda: machine)


def test_processors_without_avx2_are_not_held(monkeypatch):
    described(monkeypatch, "vendor_id\t: GenuineIntel\nflags\t\t: fpu sse4_1 avx\n")
    assert processors.variables() == {}
    processors.hold()
    assert processors.capability().startswith("native: x86_64 GenuineIntel sse4_1 avx, ")


def test_processors_of_another_kind_are_not_held(monkeypatch):
    described(monkeypatch, "CPU implementer\t: 0x41\nFeatures\t: asimd sve\n", machine="aarch64")
    assert processors.variables() == {}
    assert processors.capability().startswith("native: aarch64 0x41, ")


def test_a_greater_processor_is_held_to_the_same(monkeypatch):
    described(monkeypatch, "vendor_id\t: GenuineIntel\nflags\t\t: fma avx2 avx512f amx_tile\n")
    greater = processors.variables()
    described(monkeypatch, "vendor_id\t: AuthenticAMD\nflags\t\t: avx2 fma\n")
    assert processors.variables() == greater != {}


def test_what_depends_on_the_maker_is_not_used():
    """MKL's square roots and logarithms begin with approximations by the processor, which differ between makers."""
    called = re.compile(r"torch\.(sqrt|rsqrt|log2?|log10|log1p)\(|(?<!np)\.(sqrt|rsqrt|log2|log10|log)_?\(\)")
    files = sorted(Path(tacit.__file__).parent.rglob("*.py"))
    found = {file.name: called.findall(file.read_text(encoding="utf-8")) for file in files}
    # The one of group RMSprop is for the steps that a GPU records.
    assert len(files) > 30 and {name: uses for name, uses in found.items() if uses} == {
        "group_rmsprop.py": [("", "sqrt")]
    }
