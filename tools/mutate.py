"""Whether the tests notice: seeded faults of a line each, every one of which some test must catch.

In:   tools/mutants.toml: a file, a piece of its text, what that becomes, what it breaks, the test that notices first.
Out:  a line for each mutant; exit status 1 if one survives all tests, or no longer fits the file that it is to change.
Next: noxfile.py (session ``mutate``), CONTRIBUTING.md (the lanes).

All mutants are put into one copy of the sources, each behind a switch that the environment throws
(``CONVPP_MUTANT``), so that everything is built once; with no switch thrown the copy must pass all tests.  Each mutant
is then given to the test that its entry names, and if that one is content, to all others: C++ tests first, then pytest
until its first failure.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TABLE = Path(__file__).with_name("mutants.toml")
HANGING_SECONDS = 1200
#: A mutant may ask for any amount of memory.
ADDRESS_SPACE = 24 << 30

SWITCH = """// The number of the mutant that is switched on.
#pragma once
extern "C" int convpp_mutant;
"""
SWITCH_DEFINITION = """
extern "C" {
int convpp_mutant = std::getenv("CONVPP_MUTANT") == nullptr ? 0 : std::atoi(std::getenv("CONVPP_MUTANT"));
}
"""
PYTHON_SWITCH = 'int(__import__("os").environ.get("CONVPP_MUTANT", "0"))'


@dataclass(frozen=True)
class Mutant:
    """A seeded fault: in ``file``, ``text`` (an expression, or a statement with its semicolon) is ``becomes``."""

    number: int
    file: str
    text: str
    becomes: str
    breaks: str
    test: str
    where: str = ""  # a longer piece of the file that holds the text

    @property
    def place(self) -> str:
        """A piece of the file that is there once."""
        return self.where or self.text

    def switched(self) -> str:
        """The place with both versions, and the choice between them at run time."""
        if self.file.endswith(".py"):
            both = f"(({self.becomes}) if {PYTHON_SWITCH} == {self.number} else ({self.text}))"
        elif self.text.endswith(";"):
            both = f"if (convpp_mutant == {self.number}) {{ {self.becomes} }} else {{ {self.text} }}"
        else:
            both = f"(convpp_mutant == {self.number} ? ({self.becomes}) : ({self.text}))"
        return self.place.replace(self.text, both)


def read_table() -> list[Mutant]:
    """All mutants, numbered from 1."""
    with TABLE.open("rb") as file:
        return [Mutant(number, **entry) for number, entry in enumerate(tomllib.load(file)["mutant"], 1)]


def misfits(mutants: list[Mutant], root: Path) -> list[str]:
    """What is wrong with mutants whose text is not there exactly once."""
    wrong = []
    for mutant in mutants:
        path = root / mutant.file
        count = path.read_text(encoding="utf-8").count(mutant.place) if path.exists() else 0
        if count != 1 or mutant.place.count(mutant.text) != 1:
            wrong.append(f"{mutant.file} has {count} times, expected once: {mutant.place}")
    return wrong


def copy_with_switches(mutants: list[Mutant], to: Path) -> None:
    """The checkout's files, with all mutants in them."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    shutil.rmtree(to, ignore_errors=True)
    for name in listed.splitlines():
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, to / name)
    for mutant in mutants:
        path = to / mutant.file
        path.write_text(path.read_text(encoding="utf-8").replace(mutant.place, mutant.switched()), encoding="utf-8")
    (to / "mutant.hpp").write_text(SWITCH, encoding="utf-8")
    runtime = to / "cpp/src/machine/runtime.cpp"
    runtime.write_text(runtime.read_text(encoding="utf-8") + SWITCH_DEFINITION, encoding="utf-8")


class Tests:
    """The default tests of the copy: its C++ programs, then pytest."""

    def __init__(self, copy: Path, build: Path) -> None:
        self.copy, self.build = copy, build

    def make(self, jobs: int) -> None:
        """Build all of them once."""
        pybind11 = subprocess.run(
            [sys.executable, "-m", "pybind11", "--cmakedir"], check=True, capture_output=True, text=True
        ).stdout.strip()
        configure = [
            "cmake", "-S", str(self.copy), "-B", str(self.build), "-G", "Ninja",
            "-D", "CMAKE_BUILD_TYPE=Release", "-D", f"CMAKE_CXX_FLAGS=-include {self.copy}/mutant.hpp",
            "-D", "CONVPP_BUILD_TESTS=ON", "-D", "CONVPP_WORKSPACE_FENCES=ON",
            "-D", "CONVPP_BUILD_PYTHON=ON", "-D", f"pybind11_DIR={pybind11}",
            "-D", f"Python_EXECUTABLE={sys.executable}", "-D", "CMAKE_INSTALL_LIBDIR=lib",
        ]  # fmt: skip
        build = ["cmake", "--build", str(self.build), "-j", str(jobs)]
        install = ["cmake", "--install", str(self.build), "--prefix", str(self.copy / "python/convpp")]
        for command in (configure, build, install):
            subprocess.run(command, check=True)
        # What an installation says of itself, which a test asks for.
        version = tomllib.loads((self.copy / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
        about = self.copy / f"python/convpp-{version}.dist-info"
        about.mkdir(exist_ok=True)
        metadata = f"Metadata-Version: 2.1\nName: convpp\nVersion: {version}\n"
        (about / "METADATA").write_text(metadata, encoding="utf-8")

    def command(self, test: str) -> list[str]:
        """A C++ program, a file of tests/, or all of pytest, up to the first failure."""
        if test.endswith(".py") or test == "pytest":
            files = [] if test == "pytest" else [f"tests/{test}"]
            # (The table of mutants does not fit files that have them.)
            options = ["-x", "-q", "-p", "no:cacheprovider", "--ignore=tests/test_mutants.py"]
            return [sys.executable, "-m", "pytest", *options, *files]
        return [str(self.build / "cpp/tests" / f"test_{test}"), "--abort-after=1"]

    def programs(self) -> list[str]:
        """The C++ tests' names, smallest sources first."""
        sources = sorted((self.copy / "cpp/tests").glob("test_*.cpp"), key=lambda path: path.stat().st_size)
        names = [path.stem.removeprefix("test_") for path in sources]
        return [name for name in names if (self.build / "cpp/tests" / f"test_{name}").exists()]

    def fails(self, test: str, mutant: int) -> bool:
        """Whether a test notices: fails, dies, or does not end."""
        env = {**os.environ, "CONVPP_MUTANT": str(mutant)}
        env["PYTHONPATH"] = str(self.copy / "python")
        limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))  # noqa: E731
        try:
            done = subprocess.run(
                self.command(test), cwd=self.copy, env=env, timeout=HANGING_SECONDS, check=False,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", preexec_fn=limit,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return True
        if done.returncode != 0 and mutant == 0:
            print(done.stdout[-4000:])
        return done.returncode != 0


def catch(tests: Tests, mutant: Mutant) -> str:
    """The test that notices, or "" for none."""
    others = [name for name in [*tests.programs(), "pytest"] if name != mutant.test]
    return next((test for test in [mutant.test, *others] if tests.fails(test, mutant.number)), "")


def main() -> int:
    """Build, check that nothing fails by itself, and try every mutant."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="for the copy and its build")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", type=int, nargs="*", help="numbers of mutants")
    parser.add_argument("--built", action="store_true", help="use what was built, and found right, before")
    parser.add_argument("--check", action="store_true", help="only whether all mutants fit their files")
    arguments = parser.parse_args()
    mutants = read_table()
    wrong = misfits(mutants, ROOT)
    print(*wrong, sep="\n")
    if wrong or arguments.check:
        return 1 if wrong else 0
    copy = arguments.folder / "copy"
    tests = Tests(copy, arguments.folder / "build")
    if not arguments.built:
        copy_with_switches(mutants, copy)
        tests.make(arguments.jobs)
        failing = [test for test in [*tests.programs(), "pytest"] if tests.fails(test, 0)]
        if failing:
            print(f"without any mutant, these fail: {failing}")
            return 1
    chosen = [mutant for mutant in mutants if not arguments.only or mutant.number in arguments.only]

    def try_one(mutant: Mutant) -> str:
        began = time.monotonic()
        test = catch(tests, mutant)
        told = f"caught by {test}" if test else "SURVIVED"
        hint = "" if test in ("", mutant.test) else f" (not by {mutant.test})"
        print(f"{mutant.number:3} {told}{hint}, {time.monotonic() - began:.0f} s: {mutant.breaks}", flush=True)
        return test

    with ThreadPoolExecutor(arguments.jobs) as pool:
        caught = list(pool.map(try_one, chosen))
    print(f"{len(chosen) - caught.count('')} of {len(chosen)} mutants were caught")
    return 1 if "" in caught else 0


if __name__ == "__main__":
    sys.exit(main())
