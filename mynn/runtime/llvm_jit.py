"""LLVM: from the text of a module to functions that can be called."""

from __future__ import annotations

import ctypes
import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mynn.base.lazy import lazy
from mynn.compiler.codegen.function import Module
from mynn.compiler.codegen.host import emit_functions
from mynn.compiler.loop_ir.parse import parse_function
from mynn.errors import CompileError
from mynn.runtime import cache
from mynn.target.target import Target, host

# What `_target_machine` and `_passes` ask LLVM for.
SETTINGS = "O2 code generation, O1 passes without vectorisation and unrolling"


@functools.cache
def _initialize(triple: str) -> None:
    """Have LLVM know the target; all that it has, where it is not this machine's."""
    import llvmlite.binding as llvm

    if triple == llvm.get_default_triple():
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
    else:
        llvm.initialize_all_targets()
        llvm.initialize_all_asmprinters()


def _target_machine(target: Target, codemodel: str = "jitdefault") -> Any:
    import llvmlite.binding as llvm

    _initialize(target.triple)
    try:
        found = llvm.Target.from_triple(target.triple)
    except RuntimeError as error:
        raise CompileError(f"this LLVM makes no code for {target.triple}: {error}") from error
    return found.create_target_machine(
        cpu=target.cpu, features=target.features, opt=2, reloc="pic", codemodel=codemodel
    )


@functools.cache
def _pass_builder(target: Target) -> Any:
    """What makes LLVM's own order of passes, without those that would vectorise or unroll: the
    schedules have done that.

    One for all modules, because LLVM never frees all of it.
    """
    import llvmlite.binding as llvm

    tuning = llvm.create_pipeline_tuning_options(speed_level=1)
    tuning.loop_vectorization = False
    tuning.slp_vectorization = False
    tuning.loop_unrolling = False
    tuning.loop_interleaving = False
    return llvm.create_pass_builder(_target_machine(target), tuning)


def _passes(target: Target, module: Any) -> None:
    """Run LLVM's passes on a module."""
    import llvmlite.binding as llvm

    builder = _pass_builder(target)
    passes = builder.getModulePassManager()
    try:
        passes.run(module, builder)
    finally:
        # llvmlite frees no pass manager (its `_dispose` is hidden by an empty one): 40 KB each.
        llvm.ffi.lib.LLVMPY_DisposeNewModulePassManger(passes)
        passes.detach()


@dataclass
class NativeModule:
    """Machine code in memory, and the LLVM IR that it was made of.

    `key` is the name of its object code in the cache on disk, `seconds` what it took to make or to
    load it, `nbytes` its size.
    """

    source: Callable[[], str]
    engine: Any
    key: str
    seconds: float
    target: Target
    nbytes: int = 0

    @lazy
    def text(self) -> str:
        """The LLVM IR as it was generated, before LLVM's passes."""
        return self.source()

    @lazy
    def optimized(self) -> str:
        """The LLVM IR after LLVM's passes."""
        return str(_optimize(self.text, self.target))

    def address(self, name: str) -> int:
        """The address of a function; valid while this object lives."""
        address = int(self.engine.get_function_address(name))
        if not address:
            raise CompileError(f"the native module has no function {name}")
        return address

    def function(self, name: str, *arguments: Any, result: Any = None) -> Any:
        """A callable for a function, which keeps the code alive.

        `arguments` are ctypes types, and so is the `result`, where there is one.
        """
        function: Any = ctypes.CFUNCTYPE(result, *arguments)(self.address(name))
        function.owner = self
        return function

    def assembly(self) -> str:
        """The machine code as text."""
        import llvmlite.binding as llvm

        return str(_target_machine(self.target).emit_assembly(llvm.parse_assembly(self.optimized)))


def _optimize(text: str, target: Target) -> Any:
    """The module that `text` describes, after the passes."""
    import llvmlite.binding as llvm

    try:
        module = llvm.parse_assembly(text)
        module.verify()
    except RuntimeError as error:
        raise CompileError(f"LLVM rejects the generated module: {error}") from error
    machine = _target_machine(target)
    module.triple = machine.triple
    module.data_layout = str(machine.target_data)
    _passes(target, module)
    return module


def assembly(text: str, target: Target) -> str:
    """The machine code of an LLVM module for any target, as text."""
    return str(_target_machine(target, "default").emit_assembly(_optimize(text, target)))


def object_code(text: str, target: Target) -> bytes:
    """The machine code of an LLVM module for any target, as a file for its linker."""
    return bytes(_target_machine(target, "default").emit_object(_optimize(text, target)))


def _link(code: bytes, target: Target) -> Any:
    """An engine that holds object code, ready to run."""
    import llvmlite.binding as llvm

    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _target_machine(target))
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return engine


def _key(text: str, target: Target) -> str:
    """The name of the object code of `text` in the cache."""
    import llvmlite
    import llvmlite.binding as llvm

    version = f"{llvmlite.__version__} {llvm.llvm_version_info}"
    made_for = target.triple, target.cpu, target.features
    return cache.key_of("object", text, *made_for, version, SETTINGS)


def build(text: str, target: Target, source: Callable[[], str] | None = None) -> NativeModule:
    """Compile the text of an LLVM module to run here, or take it from the cache on disk.

    `target` is this machine, or one whose code this machine can run. `source` makes the text
    again, so that it need not be kept.
    """
    start = time.perf_counter()
    key = _key(text, target)
    found = _from_cache(key, target)
    if found is None:
        machine = _target_machine(target)
        code = machine.emit_object(_optimize(text, target))
        cache.store(key, code)
        del machine  # what it keeps of its work is twenty times the code
        found = _link(code, target), len(code)
    engine, nbytes = found
    seconds = time.perf_counter() - start
    return NativeModule(source or (lambda: text), engine, key, seconds, target, nbytes)


def load(key: str, target: Target, source: Callable[[], str]) -> NativeModule | None:
    """The module whose object code lies in the cache under `key`; None where it does not.

    `source` makes its LLVM IR, when somebody wants to see it.
    """
    start = time.perf_counter()
    found = _from_cache(key, target)
    if found is None:
        return None
    engine, nbytes = found
    return NativeModule(source, engine, key, time.perf_counter() - start, target, nbytes)


def _from_cache(key: str, target: Target) -> tuple[Any, int] | None:
    """An engine with the object code that the cache holds under `key`, and its size, or None."""
    code = cache.load(key)
    if code is None:
        return None
    try:
        return _link(code, target), len(code)
    except RuntimeError:
        return None


def self_test() -> None:
    """Compile and run one instruction; raises where LLVM cannot make code for this processor."""
    test = """
        function mynn_test(x: ptr) exported:
          view word: i64[1] at x
          word[0] = 42
        """
    text = emit_functions(Module(host()), [parse_function(test)]).text()
    value = ctypes.c_int64(0)
    build(text, host()).function("mynn_test", ctypes.c_void_p)(ctypes.addressof(value))
    if value.value != 42:
        raise CompileError("native code does not run as it should on this processor")
