"""LLVM's functions, called in llvmlite's library."""

from __future__ import annotations

import ctypes
import gc
import subprocess
import sys
from typing import Any

import llvmlite
import llvmlite.binding
import pytest

from mynn.errors import CompileError
from mynn.target import llvm
from mynn.target.target import Target, host

TEXT = "define i64 @twice(i64 %x) {\n  %y = mul i64 %x, 2\n  ret i64 %y\n}\n"


def machine(target: Target) -> llvm.Machine:
    return llvm.Machine(target.triple, target.cpu, target.features, 2)


def test_functions_are_as_llvmlite_declares_them() -> None:
    """So they are in 0.45 to 0.50, which are not asked."""
    path = llvm._declared_alike()
    assert llvm.Library(path).GetVersionInfo() == llvm.library().GetVersionInfo()


@pytest.mark.parametrize("signature", [(ctypes.c_void_p,), (ctypes.c_int, ctypes.c_void_p)])
def test_functions_of_another_kind_are_refused(
    signature: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(llvm.SIGNATURES, "CreateTargetMachineData", signature)
    with pytest.raises(CompileError, match="another CreateTargetMachineData"):
        llvm._declared_alike()


@pytest.mark.parametrize("version", ["0.51.0", "1.0", "0.44.0", "none"])
def test_another_version_is_asked_what_its_functions_are(
    version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def declared() -> str:
        asked.append(True)
        return path

    path = llvm._declared_alike()
    monkeypatch.setattr(llvmlite, "__version__", version)
    monkeypatch.setattr(llvm, "_declared_alike", declared)
    assert llvm.library.__wrapped__().GetVersionInfo()
    assert asked


def test_the_machine_is_the_one_that_llvmlite_finds() -> None:
    target = host()
    assert target.triple == llvmlite.binding.get_default_triple()
    assert target.cpu == llvmlite.binding.get_host_cpu_name()
    assert target.features == llvmlite.binding.get_host_cpu_features().flatten()
    numbers = ".".join(map(str, llvmlite.binding.llvm_version_info))
    assert llvm.version() == f"{llvmlite.__version__} {numbers}"


def test_a_program_is_made_without_llvmlites_classes() -> None:
    code = (
        "import sys, numpy, mynn; print(mynn.compile(lambda x: x + 1)(numpy.ones(2)));"
        "print([name for name in sys.modules if name.startswith('llvmlite.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[2. 2.]\n['llvmlite._version', 'llvmlite.utils']\n"


def test_an_engine_keeps_what_its_code_needs() -> None:
    module = llvm.Module(TEXT)
    module.made_for(machine(host()))
    engine = llvm.Engine(machine(host()).emit(module), machine(host()), {})
    del module
    gc.collect()
    twice = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(engine.address("twice"))
    assert twice(21) == 42
    assert engine.address("thrice") == 0


def test_what_is_wrong_is_said() -> None:
    with pytest.raises(CompileError, match=r"rejects the generated module.*expected"):
        llvm.Module("define nothing")
    with pytest.raises(CompileError, match=r"rejects the generated module.*dominate"):
        llvm.Module("define i64 @f() {\n  %a = add i64 %b, 1\n  %b = add i64 1, 1\n  ret i64 %a\n}")
    with pytest.raises(CompileError, match="makes no code for nowhere"):
        llvm.Machine("nowhere", "", "", 2)
    with pytest.raises(CompileError, match="DisposeObjectFile"):
        llvm.Engine(b"no code", machine(host()), {})
