"""LLVM: from the text of a module to functions that can be called."""

from __future__ import annotations

import ctypes
import functools
import time
from dataclasses import dataclass
from typing import Any

from mynn.errors import CompileError
from mynn.runtime.machine import Machine, host


@functools.cache
def _initialize() -> None:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()


def _target_machine(machine: Machine) -> Any:
    import llvmlite.binding as llvm

    _initialize()
    target = llvm.Target.from_default_triple()
    return target.create_target_machine(
        cpu=machine.cpu, features=machine.features, opt=2, reloc="pic", codemodel="jitdefault"
    )


def _passes(target: Any, module: Any) -> None:
    """LLVM's own order of passes, without those that would vectorise or unroll.

    The schedules have done that.
    """
    import llvmlite.binding as llvm

    tuning = llvm.create_pipeline_tuning_options(speed_level=1)
    tuning.loop_vectorization = False
    tuning.slp_vectorization = False
    tuning.loop_unrolling = False
    tuning.loop_interleaving = False
    builder = llvm.create_pass_builder(target, tuning)
    builder.getModulePassManager().run(module, builder)


@dataclass
class NativeModule:
    """Machine code in memory. `seconds` is what it took to make it."""

    text: str
    engine: Any
    optimized: str
    seconds: float
    machine: Machine

    def address(self, name: str) -> int:
        """The address of a function; valid while this object lives."""
        address = int(self.engine.get_function_address(name))
        if not address:
            raise CompileError(f"the native module has no function {name}")
        return address

    def function(self, name: str, *arguments: Any) -> Any:
        """A callable for a function without result, which keeps the code alive.

        `arguments` are ctypes types.
        """
        function: Any = ctypes.CFUNCTYPE(None, *arguments)(self.address(name))
        function.owner = self
        return function

    def assembly(self) -> str:
        """The machine code as text."""
        import llvmlite.binding as llvm

        return str(_target_machine(self.machine).emit_assembly(llvm.parse_assembly(self.optimized)))


def build(text: str) -> NativeModule:
    """Compile the text of an LLVM module for this machine."""
    import llvmlite.binding as llvm

    start = time.perf_counter()
    machine = host()
    target = _target_machine(machine)
    try:
        module = llvm.parse_assembly(text)
        module.verify()
    except RuntimeError as error:
        raise CompileError(f"LLVM rejects the generated module: {error}") from error
    module.triple = target.triple
    module.data_layout = str(target.target_data)
    _passes(target, module)
    optimized = str(module)
    engine = llvm.create_mcjit_compiler(module, target)
    engine.finalize_object()
    return NativeModule(text, engine, optimized, time.perf_counter() - start, machine)


def self_test() -> None:
    """Compile and run one instruction; raises where LLVM cannot make code for this processor."""
    text = "define void @mynn_test(ptr %x) {\n  store i64 42, ptr %x\n  ret void\n}\n"
    value = ctypes.c_int64(0)
    build(text).function("mynn_test", ctypes.c_void_p)(ctypes.addressof(value))
    if value.value != 42:
        raise CompileError("native code does not run as it should on this processor")
