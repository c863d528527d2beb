"""The project's checks, one session each: ``nox`` runs the default ones, ``nox -l`` lists them all.

In:   a checkout. What the machine lacks is installed: Python packages into each session's own environment;
      system packages by apt-get, where this runs as root on Debian or Ubuntu, else an error names them.
Out:  an exit code of 0 if every session passed.
Next: CMakeLists.txt and cpp/tests/CMakeLists.txt (sessions cpp, clang, aarch64), pyproject.toml (the others).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sysconfig
from pathlib import Path

import nox

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "venv"
nox.options.sessions = ["cpp", "tests", "ruff", "mypy"]

PROJECT = nox.project.load_toml("pyproject.toml")
CORES = str(os.cpu_count() or 1)


def may_use_apt() -> bool:
    """Whether system packages can be installed without asking anyone."""
    return os.name == "posix" and os.geteuid() == 0 and shutil.which("apt-get") is not None


def apt_install(session: nox.Session, *packages: str) -> None:
    """Install Debian packages, or end the session with an error that names them."""
    if not may_use_apt():
        session.error(f"this session needs {' '.join(packages)} (Debian's names): please install them")
    env = {"DEBIAN_FRONTEND": "noninteractive"}
    session.run_install("apt-get", "update", "-qq", external=True, env=env)
    session.run_install("apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages, external=True, env=env)


def need_program(session: nox.Session, program: str, *packages: str) -> None:
    """Install ``packages`` unless ``program`` is on the path."""
    if shutil.which(program) is None:
        apt_install(session, *packages)


def need_compiler_for_python(session: nox.Session) -> None:
    """Install what building the Python module takes beside the packages of pyproject.toml."""
    need_program(session, "c++", "g++")
    if not Path(sysconfig.get_paths()["include"], "Python.h").exists():
        apt_install(session, "python3-dev")


def build_and_ctest(session: nox.Session, *cmake_args: str) -> None:
    """Configure, build with warnings as errors, and run the C++ tests, in the session's own build folder."""
    if not Path("/usr/include/doctest/doctest.h").exists() and may_use_apt():
        apt_install(session, "doctest-dev")  # where this is not allowed, CMake looks on and may download it
    session.install("cmake", "ninja")
    build = Path(session.create_tmp()) / "build"
    session.run(
        "cmake", "-S", ".", "-B", str(build), "-G", "Ninja", "--fresh",
        "-D", "CONVPP_BUILD_TESTS=ON", "-D", "CONVPP_WERROR=ON", *cmake_args,
    )  # fmt: skip
    session.run("cmake", "--build", str(build))
    session.run("ctest", "--test-dir", str(build), "--output-on-failure", "--no-tests=error", "-j", CORES)


@nox.session
def cpp(session: nox.Session) -> None:
    """Build the C++ library with the default compiler and run its tests."""
    need_program(session, "c++", "g++")
    build_and_ctest(session)


@nox.session
def tests(session: nox.Session) -> None:
    """Install the package as a user would and run pytest, on every instruction set of this machine."""
    need_compiler_for_python(session)
    session.install(".[test]")
    pytest = ["python", "-m", "pytest", "-n", "2", *session.posargs]
    code = "import convpp; print(*convpp.runtime_info()['isas_available'])"
    isas = str(session.run("python", "-c", code, silent=True)).split()
    for isa in reversed(isas):
        session.log(f"pytest on {isa}")
        session.run(*pytest, env={"CONVPP_MAX_ISA": isa})


@nox.session
def ruff(session: nox.Session) -> None:
    """Check style and format of the Python code."""
    session.install(*nox.project.dependency_groups(PROJECT, "ruff"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session
def mypy(session: nox.Session) -> None:
    """Check the types of the package and of this file."""
    session.install(*nox.project.dependency_groups(PROJECT, "mypy"))
    session.run("mypy")


@nox.session
def guard(session: nox.Session) -> None:
    """Show where this checkout's plans, or the bits of its results, differ from another revision's.

    ``nox -s guard -- v1.2 --allow bytes`` compares with the revision v1.2, and lets the field ``bytes`` off; without
    a revision, with the commit at which this branch left ``main``.  Each of the two is built (on two cores about four
    minutes) and dumped (half a minute).  The other revision's dump is kept until that revision, the program or its
    tables change: the next run builds this checkout only.  Beside a build of one's own, ``tools/plan_guard.py`` does
    the same by hand.
    """
    need_compiler_for_python(session)
    revision, allowed = "", session.posargs
    if allowed and not allowed[0].startswith("-"):
        revision, *allowed = allowed
    git = ["rev-parse", "--verify", f"{revision}^{{commit}}"] if revision else ["merge-base", "main", "HEAD"]
    commit = str(session.run("git", *git, external=True, silent=True)).strip()
    program, *tables = ("tools/plan_guard.py", "benchmarks/layers.csv", "benchmarks/convbench.csv")
    key = hashlib.sha1(b"".join(Path(name).read_bytes() for name in (program, *tables))).hexdigest()
    before, dumped = session.cache_dir / f"guard-{commit[:12]}-{key[:12]}.gz", Path(session.create_tmp()) / "dump.gz"
    session.install("numpy", "ml_dtypes")
    if not before.exists():
        session.install("--force-reinstall", "--no-deps", f"git+{Path.cwd().as_uri()}@{commit}")
        session.run("python", program, "dump", str(dumped))
        shutil.move(dumped, before)  # only what is whole is kept
    session.install("--force-reinstall", "--no-deps", ".")
    session.run("python", program, "dump", str(dumped))
    session.run("python", program, "compare", str(before), str(dumped), *allowed)


@nox.session
def clang(session: nox.Session) -> None:
    """Build the C++ library with Clang and run its tests."""
    need_program(session, "clang++", "clang", "libomp-dev")
    build_and_ctest(session, "-D", "CMAKE_CXX_COMPILER=clang++")


@nox.session
def aarch64(session: nox.Session) -> None:
    """Cross-compile for AArch64 and run the C++ tests, NEON's kernels among them, under qemu."""
    need_program(session, "aarch64-linux-gnu-g++", "g++-aarch64-linux-gnu")
    need_program(session, "qemu-aarch64", "qemu-user")
    build_and_ctest(session, "--toolchain", "cmake/aarch64-linux-gnu.cmake")


@nox.session
def docs(session: nox.Session) -> None:
    """Check that the figures are what the script draws, and run the code of the pages and docstrings."""
    need_compiler_for_python(session)
    session.install(".[test]")
    session.run("python", "-m", "pytest", "tests/test_docs.py")
    session.run("python", "-m", "pytest", "--doctest-modules", "--pyargs", "convpp")


@nox.session
def conventions(session: nox.Session) -> None:
    """Hold every call in docs/conventions.md to PyTorch, JAX and ONNX Runtime; more libraries may be named."""
    need_compiler_for_python(session)
    session.install(".[test]", *nox.project.dependency_groups(PROJECT, "conventions"), *session.posargs)
    session.run("python", "-c", "import torch, jax, onnxruntime")  # a library that is missing must not be skipped
    session.run("python", "-m", "pytest", "tests/test_conventions.py", "tests/test_docs.py")
