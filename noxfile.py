"""The project's checks, one session each: ``nox`` runs the default ones, ``nox -l`` lists them all.

In:   a checkout. What the machine lacks is installed: Python packages into each session's own environment;
      system packages by apt-get, where this runs as root on Debian or Ubuntu, else an error names them.
Out:  an exit code of 0 if every session passed.
Next: CMakeLists.txt and cpp/tests/CMakeLists.txt (sessions cpp, clang, aarch64), pyproject.toml (the others);
      tools/builds.py (what builds have in common), tools/platforms.py (other systems, Python without its lock),
      tools/documents.py (pages, the site, a browser), tools/release_sessions.py (lint, wheel);
      cpp/stress/ and tools/ (asan, tsan, fuzz, faults, mutate, soak: those that try to break the library).
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import sys
from pathlib import Path

import nox

sys.path.insert(0, str(Path(__file__).parent / "tools"))

from builds import (
    CORES,
    PROJECT,
    apt_install,
    build,
    build_and_ctest,
    build_tests,
    ctest,
    need_compiler_for_python,
    need_program,
)
from documents import docs, site, widget  # noqa: F401  (sessions)
from platforms import freethreaded, portable  # noqa: F401  (sessions)
from release_sessions import lint, wheel  # noqa: F401

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "venv"
nox.options.sessions = ["cpp", "tests", "ruff", "mypy", "types"]

# The kernels take minutes to compile.  Sessions cpp and tests, which want them alike, build in this folder in turn.
KERNELS = Path(".nox").resolve() / "kernels"


@nox.session
def cpp(session: nox.Session) -> None:
    """Build the C++ library with the default compiler and run its tests, with fences between arrays of a workspace."""
    need_program(session, "c++", "g++")
    build_tests(session, "-D", "CONVPP_WORKSPACE_FENCES=ON", source="cmake/python", folder=KERNELS)
    ctest(session, KERNELS / "convpp")


@nox.session
def tests(session: nox.Session) -> None:
    """Install the package as a user would and run pytest, on every instruction set of this machine.

    What does not depend on the kernels (``one_isa``) runs on the best set alone.
    """
    need_compiler_for_python(session)
    settings = {"build-dir": str(KERNELS), "cmake.define.CONVPP_WERROR": "ON"}
    settings |= {f"cmake.define.CONVPP_{name}": "OFF" for name in ("BUILD_TESTS", "WORKSPACE_FENCES")}
    settings["cmake.define.CONVPP_BUILD_PYTHON"] = "ON"  # which session cpp has left out
    compiler = {"CXX": os.environ.get("CXX", "c++")}  # as in session cpp; the build would take the one that Python had
    session.install(".[test]", *(f"--config-settings={key}={value}" for key, value in settings.items()), env=compiler)
    session.install(*(tool for group in ("mypy", "numpydoc") for tool in nox.project.dependency_groups(PROJECT, group)))
    stubtest = ["python", "-m", "mypy.stubtest", "convpp", "--allowlist", "tools/stubtest.txt"]
    session.run(*stubtest, "--ignore-unused-allowlist", "--mypy-config-file", "pyproject.toml")
    pytest = ["python", "-m", "pytest", "-n", "2", *session.posargs]
    code = "import convpp; print(*convpp.runtime_info()['isas_available'])"
    isas = str(session.run("python", "-c", code, silent=True)).split()
    for isa in reversed(isas):
        session.log(f"pytest on {isa}")
        less = [] if isa == isas[-1] else ["-m", "not one_isa"]
        session.run(*pytest, *less, env={"CONVPP_MAX_ISA": isa})


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
def types(session: nox.Session) -> None:
    """Check the code of pages and examples as a user's, by mypy and pyright; and that all public types are known."""
    session.install(*nox.project.dependency_groups(PROJECT, "types"))
    session.run("python", "tools/user_types.py", str(Path(session.create_tmp()) / "code"))


@nox.session
def guard(session: nox.Session) -> None:
    """Show where this checkout's plans, or the bits of its results, differ from another revision's.

    ``nox -s guard -- v1.2 --allow bytes`` compares with the revision v1.2, and lets the field ``bytes`` off; without
    a revision, with the commit at which this branch left ``main``.  Each of the two is built (on two cores about four
    minutes) and dumped.  The other revision's dump is kept until that revision, the program or its tables change;
    ``tools/plan_guard.py`` does the same by hand.
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
    need_program(session, "clang++", "clang")
    build_and_ctest(session, "-D", "CMAKE_CXX_COMPILER=clang++")


@nox.session
def aarch64(session: nox.Session) -> None:
    """Cross-compile for AArch64 and run the C++ tests, NEON's kernels among them, under qemu."""
    need_program(session, "aarch64-linux-gnu-g++", "g++-aarch64-linux-gnu")
    need_program(session, "qemu-aarch64", "qemu-user")
    build_and_ctest(session, "--toolchain", "cmake/aarch64-linux-gnu.cmake")


@nox.session
def conventions(session: nox.Session) -> None:
    """Hold every call in docs/conventions.md to the libraries that it names; more of them may be given."""
    need_compiler_for_python(session)
    session.install(".[test]", *nox.project.dependency_groups(PROJECT, "conventions"), *session.posargs)
    # A library that is missing must not be skipped.
    session.run("python", "-c", "import torch, jax, onnxruntime, astropy, skimage, cv2")
    names = ("conventions", "convolve_peers", "pooling_peers", "docs")
    session.run("python", "-m", "pytest", *(f"tests/test_{name}.py" for name in names))


# ---------------------------------------------------------------- frameworks that convpp has a module for


def framework(session: nox.Session, name: str, *tests: str, also: str = "frameworks") -> None:
    """Install a framework as a user would; run the tests of its module, its example, its page and its docstrings."""
    need_compiler_for_python(session)
    session.install(f".[test,{name}]")
    session.run("python", "-c", f"import convpp.{name}")  # what is missing must not be skipped
    files = [f"tests/test_{test}.py" for test in tests]
    session.run("python", "-m", "pytest", "-n", "2", *files, *session.posargs)
    session.run("python", "-m", "pytest", "tests/test_examples.py", "tests/test_docs.py", "-k", f"{name} or {also}")
    # (5: there are no examples in its docstrings, as in onnx, whose operators nobody calls by name.)
    session.run("python", "-m", "pytest", "--doctest-modules", "--pyargs", f"convpp.{name}", success_codes=[0, 5])


@nox.session
def autograd(session: nox.Session) -> None:
    """Hold convpp.autograd to HIPS autograd's checks of derivatives."""
    framework(session, "autograd", "autograd")


@nox.session
def dask(session: nox.Session) -> None:
    """Hold convpp.dask to whole arrays in any chunks, on threads, processes and workers, one of which is killed."""
    session.install("xarray", "zarr")
    names = ("dask", "dask_graph", "dask_plain", "dask_errors", "dask_distributed")
    framework(session, "dask", *names, also="distributed or xarray")


@nox.session
def onnx(session: nox.Session) -> None:
    """Hold convpp.onnx to onnx's cases and to ONNX Runtime."""
    session.install("onnxruntime")
    session.run("python", "-c", "import onnxruntime")  # which must not be skipped, either
    framework(session, "onnx", "onnx", "onnx_ops", "onnx_pooling", "onnx_peers")


@nox.session
def pytensor(session: nox.Session) -> None:
    """Hold convpp.pytensor to PyTensor's checks of gradients, in each of its linkers."""
    framework(session, "pytensor", "pytensor")


@nox.session
def torch(session: nox.Session) -> None:
    """Hold convpp.torch to PyTorch, and to its own checks and sample inputs of operators."""
    need_compiler_for_python(session)  # which torch.compile needs, too
    session.install(".[test,torch]", "expecttest", *nox.project.dependency_groups(PROJECT, "torch"))
    files = [f"tests/test_{name}.py" for name in ("torch", "torch_models", "torch_threads")]
    session.run("python", "-m", "pytest", *files, *session.posargs)


@nox.session
def pylops(session: nox.Session) -> None:
    """Run PyLops' own dot test on the operators, for every boundary and mode, and its solvers."""
    need_compiler_for_python(session)
    session.install(".[test]", *nox.project.dependency_groups(PROJECT, "pylops"), *session.posargs)
    session.run("python", "-c", "import pylops")  # must not be skipped
    session.run("python", "-m", "pytest", "tests/test_operators_pylops.py")


@nox.session
def jax(session: nox.Session) -> None:
    """Build what XLA calls, and hold convpp.jax to JAX: values, derivatives of both modes, batches, an example."""
    need_compiler_for_python(session)
    wanted = [name for name in nox.project.dependency_groups(PROJECT, "conventions") if name.startswith("jax")]
    session.install(*wanted)
    session.install(".[test,jax]", env={"CONVPP_JAX": "1"})
    session.run("python", "-W", "error", "-c", "import convpp.jax; assert convpp.jax.has_ffi()")  # not by callbacks
    tests = [f"tests/test_{name}.py" for name in ("jax", "jax_lax", "jax_programs")]
    tests.append("tests/test_examples.py::test_example[jax_training.py]")
    session.run("python", "-m", "pytest", "-n", CORES, *tests, *session.posargs)
    session.run("python", "-m", "pytest", "--doctest-modules", "--pyargs", "convpp.jax")


# ---------------------------------------------------------------- what tries to break the library


def need_clang(session: nox.Session) -> None:
    """Install Clang with its sanitizers."""
    need_program(session, "clang++", "clang", "libclang-rt-dev")
    if not sanitizer(session, "asan").exists():
        apt_install(session, "libclang-rt-dev")


def sanitizer(session: nox.Session, name: str) -> Path:
    """The shared library of a sanitizer of Clang's."""
    library = f"libclang_rt.{name}-{platform.machine()}.so"
    return Path(str(session.run("clang++", f"-print-file-name={library}", external=True, silent=True)).strip())


def sanitized(flags: str) -> list[str]:
    """Arguments of CMake for a build with these sanitizers.

    Tiles are compiled with -O1, or they would take half an hour; and without the checks of undefined behaviour, which
    ask of each vector whether it is aligned.
    """
    return [
        "-D", "CMAKE_CXX_COMPILER=clang++", "-D", "CMAKE_BUILD_TYPE=RelWithDebInfo",
        "-D", f"CMAKE_CXX_FLAGS=-O1 -g1 -fno-omit-frame-pointer {flags}",
        "-D", "CMAKE_CXX_FLAGS_RELWITHDEBINFO=-DNDEBUG",
        "-D", "CONVPP_KERNEL_FLAGS=-O1;-fno-sanitize=undefined", "-D", "CONVPP_BUILD_STRESS=ON",
    ]  # fmt: skip


def module_for_python(session: nox.Session) -> list[str]:
    """Arguments of CMake that build the Python module, too."""
    need_compiler_for_python(session)
    session.install("pybind11", *PROJECT["project"]["dependencies"])
    pybind11 = str(session.run("python", "-m", "pybind11", "--cmakedir", silent=True)).strip()
    python = str(session.run("python", "-c", "import sys; print(sys.executable)", silent=True)).strip()
    return [
        "-D", "CONVPP_BUILD_PYTHON=ON", "-D", f"pybind11_DIR={pybind11}", "-D", f"Python_EXECUTABLE={python}",
        "-D", "CMAKE_INSTALL_LIBDIR=lib",
    ]  # fmt: skip


def package_of(session: nox.Session, folder: Path) -> str:
    """The folder of a Python package whose module is that of a build folder: for PYTHONPATH."""
    package = folder.parent / "package"
    shutil.rmtree(package, ignore_errors=True)
    shutil.copytree("python/convpp", package / "convpp", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    session.run("cmake", "--install", str(folder), "--prefix", str(package / "convpp"), silent=True)
    return str(package)


@nox.session
def asan(session: nox.Session) -> None:
    """Run the C++ tests, the fuzzing programs and pytest under AddressSanitizer and UndefinedBehaviorSanitizer."""
    need_clang(session)
    library = sanitizer(session, "asan")
    checks = "-fsanitize=address,undefined -fno-sanitize=vptr -fno-sanitize-recover=all -shared-libasan"
    folder = build_tests(
        session, *sanitized(checks), *module_for_python(session), "-D", f"CMAKE_BUILD_RPATH={library.parent}",
        "-D", "CONVPP_WORKSPACE_FENCES=ON",
    )  # fmt: skip
    # Tests ask for more memory than there is.  (What Python and NumPy keep until they end counts as lost.)
    options = "allocator_may_return_null=1:detect_stack_use_after_return=0"
    env = {"UBSAN_OPTIONS": "print_stacktrace=1"}
    cpp_env = env | {"ASAN_OPTIONS": f"{options}:alloc_dealloc_mismatch=0"}
    ctest(session, folder, "-E", "^(find_package|team)$", env=cpp_env)
    # (The sanitizer's malloc may be locked by another thread when the process forks: its child then waits for ever.)
    session.run(str(folder / "cpp/tests/test_team"), "-tce=forks while*", env=cpp_env, external=True)
    for program, count in ("fuzz_results", 3000), ("fuzz_plans", 100_000), ("racing_callers", 300):
        command = [str(folder / "cpp/stress" / program), "--count", str(count)]
        session.run(*command, env=env | {"ASAN_OPTIONS": options}, external=True)
    session.install(*PROJECT["project"]["optional-dependencies"]["test"])
    python = env | {"ASAN_OPTIONS": f"{options}:detect_leaks=0", "LD_PRELOAD": str(library)}
    python["PYTHONPATH"] = package_of(session, folder)
    # Without the tests of resident memory, which a sanitizer multiplies, of the installation, and of other programs;
    # and without those of what a process prints and how soon it ends, to which a sanitizer adds.
    files = ["memory", "workspace", "package", "benchmarks", "examples", "docs", "docstrings", "interrupts"]
    files += ["onnx", "onnx_ops"]
    ignored = [f"--ignore=tests/test_{name}.py" for name in files]
    left_out = ("no_memory", "the_interpreter_ends_while_daemon_threads_compute", "forks_while_other_threads_compute")
    ignored += ["-k", " and ".join(f"not test_{name}" for name in left_out)]
    session.run("python", "-m", "pytest", "-n", CORES, *ignored, *session.posargs, env=python)


@nox.session
def tsan(session: nox.Session) -> None:
    """Run the C++ tests and racing callers under ThreadSanitizer."""
    need_clang(session)
    # (Some tests have an operator new of their own, as the sanitizer has; and it knows no threads in forked children.
    # They are built, and not run.)
    linker = "CMAKE_EXE_LINKER_FLAGS=-Wl,--allow-multiple-definition"
    folder = build_tests(session, *sanitized("-fsanitize=thread"), "-D", linker)
    options = "halt_on_error=1:die_after_fork=0:second_deadlock_stack=1"
    env = {"TSAN_OPTIONS": f"{options}:allocator_may_return_null=1"}  # tests ask for more memory than there is
    ctest(session, folder, "-E", "^(find_package|isa_symbols.*|call_memory|faults|plan_bounds|team)$", env=env)
    session.run(str(folder / "cpp/tests/test_team"), "-tce=*fork*,helpers leave*,helpers run*", env=env, external=True)
    session.run(str(folder / "cpp/stress/racing_callers"), "--count", "1000", env=env, external=True)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Plan ten million geometries of the full range of 64 bits, and hold a hundred thousand to the definition.

    ``nox -s fuzz -- 7`` begins with another seed.
    """
    need_program(session, "c++", "g++")
    folder = build(session, "-D", "CONVPP_BUILD_STRESS=ON", "-D", "CONVPP_WORKSPACE_FENCES=ON")
    seed = session.posargs[0] if session.posargs else "1"
    for program, count in ("fuzz_results", 100_000), ("fuzz_plans", 10_000_000), ("racing_callers", 5000):
        command = [str(folder / "cpp/stress" / program), "--seed", seed, "--count", str(count)]
        workers = [] if program == "racing_callers" else ["--workers", CORES]
        session.run(*command, *workers, external=True)


@nox.session
def faults(session: nox.Session) -> None:
    """Let memory, threads and processes fail at every place, in C++ and from Python."""
    need_program(session, "c++", "g++")
    folder = build_tests(session, *module_for_python(session), "-D", "CONVPP_BUILD_STRESS=ON")
    ctest(session, folder, "-R", "^(faults.*|call_memory|team.*)$")
    library = folder / "cpp/stress/libfailing_calls.so"
    env = {"PYTHONPATH": package_of(session, folder)}
    session.run("python", "tools/faults.py", "--library", str(library), *session.posargs, env=env)


@nox.session
def mutate(session: nox.Session) -> None:
    """Seed faults of a line each: the default tests must notice every one.  ``-- --only 7 12`` tries some of them."""
    need_compiler_for_python(session)
    session.install("cmake", "ninja", "pybind11", *PROJECT["project"]["dependencies"])
    session.install(*PROJECT["project"]["optional-dependencies"]["test"])
    folder = Path(session.create_tmp()).resolve()
    session.run("python", "tools/mutate.py", "--folder", str(folder), *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """Call with twenty thousand shapes on eight threads, with forks, and watch resident memory."""
    need_compiler_for_python(session)
    session.install(".")
    session.run("python", "tools/soak.py", *session.posargs)
