"""LLVM's functions, in the library that llvmlite ships.

They are called as they are. llvmlite's classes for all of LLVM take five times as long to import as
its library takes to load, and a program is made by some thirty functions; llvmlite holds one lock
around every call, where modules that share no context can be worked on at the same time.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
import threading
from collections.abc import Mapping
from ctypes import c_bool, c_char_p, c_int, c_size_t, c_uint, c_uint64, c_void_p
from typing import Any

from mynn.base import forks
from mynn.errors import CompileError

# Held in calls that take no time, or touch what all modules share; also to free what is garbage,
# wherever that is found.
LOCK = forks.hold(threading.RLock(), innermost=True)
# Versions of llvmlite in which the functions below are as they are written here.
_KNOWN = (0, 45), (0, 50)
_TEXT = ctypes.POINTER(c_char_p)
# What functions of llvmlite's take, and what they give at last. None: nothing.
SIGNATURES: dict[str, tuple[Any, ...]] = {
    "AddGlobalMapping": (c_void_p, c_void_p, c_void_p, None),
    "ContextCreate": (c_void_p,),
    "ContextDispose": (c_void_p, None),
    "CopyStringRepOfTargetData": (c_void_p, _TEXT, None),
    "CreateMCJITCompiler": (c_void_p, c_void_p, c_bool, _TEXT, c_void_p),
    "CreateObjectFile": (c_char_p, c_size_t, c_void_p),
    "CreatePassBuilder": (c_void_p, c_void_p, c_void_p),
    "CreatePipelineTuningOptions": (c_void_p,),
    "CreateTargetMachine": (
        *(c_void_p, c_char_p, c_char_p, c_char_p, c_int, c_char_p, c_char_p, c_int, c_int),
        *(c_char_p, c_void_p),
    ),
    "CreateTargetMachineData": (c_void_p, c_void_p),
    "DisposeExecutionEngine": (c_void_p, None),
    "DisposeMemoryBuffer": (c_void_p, None),
    "DisposeModule": (c_void_p, None),
    "DisposeNewModulePassManger": (c_void_p, None),
    "DisposeObjectFile": (c_void_p, None),
    "DisposePassBuilder": (c_void_p, None),
    "DisposePipelineTuningOptions": (c_void_p, None),
    "DisposeString": (c_void_p, None),
    "DisposeTargetData": (c_void_p, None),
    "DisposeTargetMachine": (c_void_p, None),
    "FinalizeObject": (c_void_p, None),
    "GetBufferSize": (c_void_p, c_size_t),
    "GetBufferStart": (c_void_p, c_void_p),
    "GetDefaultTargetTriple": (_TEXT, None),
    "GetFunctionAddress": (c_void_p, c_char_p, c_uint64),
    "GetHostCPUFeatures": (_TEXT, c_int),
    "GetHostCPUName": (_TEXT, None),
    "GetNamedFunction": (c_void_p, c_char_p, c_void_p),
    "GetTargetFromTriple": (c_char_p, _TEXT, c_void_p),
    "GetVersionInfo": (c_uint,),
    "InitializeAllAsmPrinters": (None,),
    "InitializeAllTargetInfos": (None,),
    "InitializeAllTargetMCs": (None,),
    "InitializeAllTargets": (None,),
    "InitializeNativeAsmPrinter": (None,),
    "InitializeNativeTarget": (None,),
    "MCJITAddObjectFile": (c_void_p, c_void_p, None),
    "ParseAssembly": (c_void_p, c_char_p, _TEXT, c_void_p),
    "PrintModuleToString": (c_void_p, _TEXT, None),
    "RunNewModulePassManager": (c_void_p, c_void_p, c_void_p, None),
    "SetDataLayout": (c_void_p, c_char_p, None),
    "SetTarget": (c_void_p, c_char_p, None),
    "TargetMachineEmitToMemory": (c_void_p, c_void_p, c_int, _TEXT, c_void_p),
    "VerifyModule": (c_void_p, _TEXT, c_bool),
    "buildPerModuleDefaultPipeline": (c_void_p, c_int, c_void_p),
}


class Library:
    """The functions of `SIGNATURES`, by their names."""

    def __init__(self, path: str) -> None:
        loaded = ctypes.CDLL(path)
        for name, (*arguments, result) in SIGNATURES.items():
            function = getattr(loaded, f"LLVMPY_{name}")
            function.argtypes, function.restype = arguments, result
            setattr(self, name, function)


@functools.cache
def library() -> Any:
    """LLVM, loaded when it is first asked for.

    Raises:
        ImportError: llvmlite is not there.
        OSError: its library cannot be loaded.
        CompileError: its functions are others than those of `SIGNATURES`.
    """
    with forks.loading:
        import llvmlite
        from llvmlite.utils import get_library_name

        numbers = llvmlite.__version__.split(".")[:2]
        known = _KNOWN[0] <= tuple(int(n) for n in numbers if n.isdigit()) <= _KNOWN[1]
        path = os.path.join(os.path.dirname(llvmlite.__file__), "binding", get_library_name())
        if not known or not os.path.exists(path):
            path = _declared_alike()
        return Library(path)


def _declared_alike() -> str:
    """The path of llvmlite's library, in which it declares the same functions as we do."""
    from llvmlite.binding import ffi

    for name, (*arguments, result) in SIGNATURES.items():
        function = getattr(ffi.lib, f"LLVMPY_{name}")
        declared = list(map(ctypes.sizeof, function.argtypes or ()))
        alike = function.argtypes is None or declared == list(map(ctypes.sizeof, arguments))
        if result is not None and alike:
            alike = ctypes.sizeof(function.restype) == ctypes.sizeof(result)
        if not alike:
            raise CompileError(f"this version of llvmlite has another {name}; mynn knows 0.45-0.50")
    return str(ffi.lib._name)


def version() -> str:
    """The versions of llvmlite and of LLVM."""
    import llvmlite

    number = library().GetVersionInfo()
    return f"{llvmlite.__version__} {number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def _written(function: Any, *arguments: Any) -> tuple[Any, str]:
    """What a function of LLVM's gives, and the text that it writes beside it."""
    place = c_char_p()
    result = function(*arguments, ctypes.byref(place))
    text = place.value
    if text is None:
        return result, ""
    library().DisposeString(place)
    return result, text.decode()


class _Owned:
    """Something of LLVM's, freed by the function `dispose` with this object, and before what it
    keeps.
    """

    def __init__(self, address: int | None, dispose: str, *keeps: object) -> None:
        if not address:
            raise CompileError(f"LLVM gives nothing for which there is {dispose}")
        self._dispose = getattr(library(), dispose)
        self._as_parameter_: c_void_p | None = c_void_p(address)
        self._keeps = keeps

    def give(self) -> Any:
        """The address, for somebody else who frees it."""
        given, self._as_parameter_ = self._as_parameter_, None
        return given

    def __del__(self, ending: Any = sys.is_finalizing, lock: Any = LOCK) -> None:
        held = getattr(self, "_as_parameter_", None)
        if held is not None and not ending():
            with lock:
                self._dispose(held)


# -- the machine -----------------------------------------------------------------------------------


def default_triple() -> str:
    """What this machine is."""
    return _asked("GetDefaultTargetTriple")


def host_cpu() -> str:
    """LLVM's name of this processor."""
    return _asked("GetHostCPUName")


def host_features() -> dict[str, bool]:
    """Whether this processor has each feature that LLVM knows, in the order of their names."""
    signed = sorted((each[1:], each[0]) for each in _asked("GetHostCPUFeatures").split(",") if each)
    return {name: sign == "+" for name, sign in signed}


def _asked(name: str) -> str:
    """The text that a function without arguments writes."""
    function = getattr(library(), name)
    with LOCK:
        return _written(function)[1]


@functools.cache
def _initialize(triple: str) -> None:
    """Have LLVM know the target; all that it has, where it is not this machine's."""
    llvm = library()
    if triple == default_triple():
        llvm.InitializeNativeTarget()
        llvm.InitializeNativeAsmPrinter()
    else:
        llvm.InitializeAllTargetInfos()
        llvm.InitializeAllTargets()
        llvm.InitializeAllTargetMCs()
        llvm.InitializeAllAsmPrinters()


class Machine(_Owned):
    """What makes machine code for a processor, by its triple, name and features.

    `level` is that of code generation, 0 to 3.

    Raises:
        CompileError: LLVM makes no code for it.
    """

    def __init__(
        self, triple: str, cpu: str, features: str, level: int, codemodel: str = "jitdefault"
    ) -> None:
        llvm = library()
        with LOCK:
            _initialize(triple)
            target, wrong = _written(llvm.GetTargetFromTriple, triple.encode())
            if not target:
                raise CompileError(f"this LLVM makes no code for {triple}: {wrong}")
            # The engine reads nothing but ELF.
            here = f"{triple}-elf" if os.name == "nt" and codemodel == "jitdefault" else triple
            texts = [text.encode() for text in (here, cpu, features, "pic", codemodel, "")]
            made = llvm.CreateTargetMachine(target, *texts[:3], level, *texts[3:5], 0, 0, texts[5])
            super().__init__(made, "DisposeTargetMachine")
            self.triple = here
            data = _Owned(llvm.CreateTargetMachineData(self), "DisposeTargetData")
            _, self.layout = _written(llvm.CopyStringRepOfTargetData, data)

    def emit(self, module: Module, assembly: bool = False) -> bytes:
        """The object code of a module, or its assembly. Others may be in here at the same time."""
        llvm = library()
        buffer, wrong = _written(llvm.TargetMachineEmitToMemory, self, module, not assembly)
        if not buffer:
            raise CompileError(f"LLVM makes no machine code: {wrong}")
        try:
            return ctypes.string_at(llvm.GetBufferStart(buffer), llvm.GetBufferSize(buffer))
        finally:
            llvm.DisposeMemoryBuffer(buffer)


# -- modules ---------------------------------------------------------------------------------------


class Module(_Owned):
    """The module that a text describes, in a context of its own.

    Raises:
        CompileError: it is not correct.
    """

    def __init__(self, text: str) -> None:
        llvm = library()
        context = _Owned(llvm.ContextCreate(), "ContextDispose")
        made, wrong = _written(llvm.ParseAssembly, context, text.encode())
        if made:
            super().__init__(made, "DisposeModule", context)
            bad, wrong = _written(llvm.VerifyModule, self)
            wrong = wrong if bad else ""
        if wrong or not made:
            raise CompileError(f"LLVM rejects the generated module: {wrong}")

    def __str__(self) -> str:
        return _written(library().PrintModuleToString, self)[1]

    def made_for(self, machine: Machine) -> None:
        """Say so in the module."""
        llvm = library()
        llvm.SetTarget(self, machine.triple.encode())
        llvm.SetDataLayout(self, machine.layout.encode())


class Passes:
    """LLVM's own order of passes, of level 0: functions are taken into their callers.

    Each run leaves callbacks behind that all later ones call.
    """

    def __init__(self, machine: Machine) -> None:
        llvm = library()
        options = _Owned(llvm.CreatePipelineTuningOptions(), "DisposePipelineTuningOptions")
        made = llvm.CreatePassBuilder(machine, options)
        self._builder = _Owned(made, "DisposePassBuilder", options, machine)

    def run(self, module: Module) -> None:
        """Run them over a module."""
        llvm = library()
        made = llvm.buildPerModuleDefaultPipeline(self._builder, 0)
        manager = _Owned(made, "DisposeNewModulePassManger")
        llvm.RunNewModulePassManager(manager, module, self._builder)


class Engine(_Owned):
    """Object code in memory, which may call functions at the addresses that are `known`.

    Raises:
        CompileError: it is no object code.
    """

    def __init__(self, code: bytes, machine: Machine, known: Mapping[str, int]) -> None:
        llvm = library()
        # On 64-bit ARM code and data must lie close to each other, for which llvmlite sees.
        close = machine.triple.startswith(("aarch64", "arm64"))
        with LOCK:
            module = Module("\n".join(f"declare void @{name}()" for name in known))
            functions = [llvm.GetNamedFunction(module, name.encode()) for name in known]
            file = _Owned(llvm.CreateObjectFile(code, len(code)), "DisposeObjectFile")
            made, wrong = _written(llvm.CreateMCJITCompiler, module.give(), machine.give(), close)
            if not made:
                raise CompileError(f"LLVM makes no engine: {wrong}")
            super().__init__(made, "DisposeExecutionEngine", *module._keeps)
            for function, address in zip(functions, known.values(), strict=True):
                llvm.AddGlobalMapping(self, function, address)
            llvm.MCJITAddObjectFile(self, file)
            llvm.FinalizeObject(self)

    def address(self, name: str) -> int:
        """The address of a function; 0 where there is none."""
        with LOCK:
            return int(library().GetFunctionAddress(self, name.encode()))
