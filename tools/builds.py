"""What the sessions of noxfile.py that build have in common.

In:   a session of nox.
Out:  a build folder, or an error that says what to install.  What the machine lacks is installed where that is allowed.
Next: noxfile.py and platforms.py, which use it.
"""

from __future__ import annotations

import os
import shutil
import sysconfig
from pathlib import Path

import nox

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


def build(
    session: nox.Session, *cmake_args: str, target: str = "all", source: str = ".", folder: Path | None = None
) -> Path:
    """Configure and build, with warnings as errors, in the session's own build folder unless another is given."""
    session.install("cmake", "ninja")
    folder = folder or Path(session.create_tmp()).resolve() / "build"
    session.run(
        "cmake", "-S", source, "-B", str(folder), "-G", "Ninja", "--fresh", "-D", "CONVPP_WERROR=ON", *cmake_args
    )
    session.run("cmake", "--build", str(folder), "--target", target)
    return folder


def build_tests(session: nox.Session, *cmake_args: str, source: str = ".", folder: Path | None = None) -> Path:
    """Build the C++ tests."""
    if not Path("/usr/include/doctest/doctest.h").exists() and may_use_apt():
        apt_install(session, "doctest-dev")  # where this is not allowed, CMake looks on and may download it
    return build(session, "-D", "CONVPP_BUILD_TESTS=ON", *cmake_args, source=source, folder=folder)


def ctest(session: nox.Session, folder: Path, *ctest_args: str, env: dict[str, str] | None = None) -> None:
    """Run the C++ tests of a build folder."""
    command = ["ctest", "--test-dir", str(folder), "--output-on-failure", "--no-tests=error", "-j", CORES]
    session.run(*command, *ctest_args, env=env)


def build_and_ctest(session: nox.Session, *cmake_args: str) -> None:
    """Build and run the C++ tests."""
    ctest(session, build_tests(session, *cmake_args))
