"""Sessions for other systems than this one, and for Python without its global lock.

In:   a session of nox.
Out:  for each platform: the library without warnings, and where its programs run here, the C++ tests' verdict.
Next: cmake/zig.cmake (the compiler), run_wasi.py (programs of WebAssembly), docs/platforms.md (what was found).
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import sys
from pathlib import Path

import nox
from builds import CORES, PROJECT, apt_install, build_tests, ctest, may_use_apt, need_compiler_for_python, need_program

TARGETS = {
    "musl": "x86_64-linux-musl",
    "windows": "x86_64-windows-gnu",
    "wasi": "wasm32-wasi",
    "macos-arm64": "aarch64-macos",
    "macos-x86-64": "x86_64-macos",
}


@nox.session
@nox.parametrize("system", list(TARGETS), ids=list(TARGETS))
def portable(session: nox.Session, system: str) -> None:
    """Build the library and its tests for another system, without warnings; run the tests where they run here.

    ``nox -s "portable(windows)"`` takes one of them.
    """
    session.install(*nox.project.dependency_groups(PROJECT, "platforms"))
    find = "import pathlib, ziglang; print(pathlib.Path(ziglang.__file__).with_name('zig'))"
    zig = str(session.run("python", "-c", find, silent=True)).strip()
    settings = [f"CONVPP_ZIG={zig}", f"CONVPP_ZIG_TARGET={TARGETS[system]}"]
    env: dict[str, str] = {}
    here = platform.system(), platform.machine()
    runs = here == ("Linux", "x86_64") if system == "musl" else system.startswith("macos") and here[0] == "Darwin"
    if system == "windows":
        need_program(session, "wine", "wine64", "wine")
        env = {"WINEDEBUG": "-all", "WINEPREFIX": str(Path(session.create_tmp()).resolve() / "wine")}
        runs = True
    elif system == "wasi":
        python = str(session.run("python", "-c", "import sys; print(sys.executable)", silent=True)).strip()
        settings.append(f"CMAKE_CROSSCOMPILING_EMULATOR={python};{Path('tools/run_wasi.py').resolve()}")
        runs = True
    arguments = [argument for setting in settings for argument in ("-D", setting)]
    folder = build_tests(session, "--toolchain", "cmake/zig.cmake", *arguments)
    if not runs:
        session.log(f"compiled; programs for {TARGETS[system]} do not run on {' '.join(here)}")
        return
    ctest(session, folder, *session.posargs, env=env)


# ---------------------------------------------------------------- Python without its global lock

#: Debian's source package; a build of it takes some minutes, once.
SUITE, PACKAGE = "trixie", "python3.13"


def built_python(session: nox.Session) -> Path | None:
    """A Python without the lock, made from Debian's source where apt-get may be used."""
    key = hashlib.sha1(f"{SUITE} {PACKAGE}".encode()).hexdigest()[:12]
    prefix = session.cache_dir.resolve() / f"free-threaded-{key}"
    python = prefix / "bin" / "python3"
    if python.exists():
        return python
    if not may_use_apt():
        return None
    work = Path(session.create_tmp()).resolve() / "source"
    shutil.rmtree(work, ignore_errors=True)
    for folder in ("lists/partial", "cache/archives/partial"):
        (work / folder).mkdir(parents=True)
    # The archive that this machine installs from has other releases of Debian, too.
    asked = str(session.run("apt-get", "indextargets", "--format", "$(REPO_URI)", external=True, silent=True))
    archives = [line for line in asked.split() if line.endswith("/debian/")]
    if not archives:
        return None
    keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
    (work / "sources.list").write_text(f"deb-src [signed-by={keyring}] {archives[0]} {SUITE} main\n")
    places = {"Etc::sourcelist": work / "sources.list", "Etc::sourceparts": "/dev/null", "State::lists": work / "lists"}
    places["Cache"] = work / "cache"
    apt = ["apt-get", "-qq", *(word for name, path in places.items() for word in ("-o", f"Dir::{name}={path}"))]
    need_program(session, "c++", "g++")
    apt_install(session, "make", "libssl-dev", "zlib1g-dev", "libffi-dev")
    with session.chdir(work):
        session.run(*apt, "update", external=True)
        session.run(*apt, "source", "--download-only", PACKAGE, external=True, success_codes=[0, 100])
        sources = sorted(work.glob("*.orig.tar.*"))
        if not sources:
            return None
        session.run("tar", "-xf", str(sources[0]), "--strip-components=1", external=True)
        configure = ["./configure", "--disable-gil", "--disable-test-modules", f"--prefix={prefix}"]
        session.run(*configure, "CFLAGS=-O1", external=True, silent=True)
        session.run("make", "-s", "-j", CORES, external=True, silent=True)
        session.run("make", "-s", "install", external=True, silent=True)
    return python


def python_without_lock(session: nox.Session) -> str | None:
    """The newest one on the path, or one that is built."""
    for name in ("python3.15t", "python3.14t", "python3.13t"):
        if found := shutil.which(name):
            return found
    built = built_python(session)
    return str(built) if built else None


@nox.session
def freethreaded(session: nox.Session) -> None:
    """Run tests of calls in a Python without its global lock: each of them in eight threads at once."""
    python = python_without_lock(session)
    if python is None:
        session.skip("there is no python3.14t or python3.13t on the path, and none can be built from Debian's source")
    need_compiler_for_python(session)
    folder = Path(session.create_tmp()).resolve() / "venv"
    session.run(python, "-m", "venv", "--clear", str(folder), external=True)
    inside = str(folder / ("Scripts" if sys.platform == "win32" else "bin") / "python")
    # (The newest hypothesis has no wheel for this Python: an older one is better than a build of it.)
    wheels = ["numpy", "pytest", "hypothesis", "ml_dtypes", "pytest-run-parallel"]
    pip = [inside, "-m", "pip", "install", "-q", f"--only-binary={','.join(wheels)}"]
    session.run(*pip, ".", *wheels, external=True)
    code = "import sys, convpp; assert not sys._is_gil_enabled(), 'convpp turned the lock on'"
    session.run(inside, "-W", "error", "-c", code, external=True)
    # Not those that make threads, processes or warnings themselves: these are the whole process's.
    of_calls = ("bits", "call", "prepared", "pooling", "shapes", "convolve", "streaming", "tiles", "layers")
    of_values = ("transposed", "activation", "derivatives", "identities", "out", "errors")
    there = [f"tests/test_{name}.py" for name in of_calls + of_values]
    session.run(inside, "-m", "pytest", "--parallel-threads=8", *there, *session.posargs, external=True)
