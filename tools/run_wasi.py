"""Runs a program of WebAssembly that was compiled for WASI, as a CMake build's emulator for its tests.

In:  PROGRAM.wasm [ARGUMENT...].   Out: what the program prints; its exit status.   Next: platforms.py.
"""

from __future__ import annotations

import sys

import wasmtime


def run(path: str, arguments: list[str]) -> int:
    """The exit status of a program that sees its arguments and the standard streams, and no files."""
    config = wasmtime.Config()
    config.wasm_exceptions = True
    config.cache = True
    engine = wasmtime.Engine(config)
    linker = wasmtime.Linker(engine)
    linker.define_wasi()
    store = wasmtime.Store(engine)
    system = wasmtime.WasiConfig()
    system.argv = [path, *arguments]
    system.inherit_env()
    system.inherit_stdin()
    system.inherit_stdout()
    system.inherit_stderr()
    store.set_wasi(system)
    instance = linker.instantiate(store, wasmtime.Module.from_file(engine, path))
    start = instance.exports(store)["_start"]
    assert isinstance(start, wasmtime.Func)
    try:
        start(store)
    except wasmtime.ExitTrap as end:
        return int(end.code)
    return 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1], sys.argv[2:]))
