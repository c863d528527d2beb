"""Sessions of what a release is made of: files that services read, and the wheel.

In:   a session of nox.   Out: its verdict.
Next: .pre-commit-config.yaml (the hooks), try_wheel.py, release_links.py; .github/workflows/wheels.yml.
"""

from __future__ import annotations

from pathlib import Path

import nox
from builds import PROJECT, need_compiler_for_python


@nox.session
def lint(session: nox.Session) -> None:
    """Run the hooks of pre-commit on all files, actionlint, and cibuildwheel's own reading of its settings."""
    session.install(*nox.project.dependency_groups(PROJECT, "lint"))
    session.run("pre-commit", "run", "--all-files", "--show-diff-on-failure", env={"SKIP": "mypy"})  # has a session
    for system in ("linux", "macos", "windows"):
        session.run("cibuildwheel", "--print-build-identifiers", "--platform", system)
    # (It downloads its program when it is installed: a network that does not allow that has no verdict of it.)
    pip = ["python", "-m", "pip", "install", "-q", *nox.project.dependency_groups(PROJECT, "actionlint")]
    session.run(*pip, success_codes=[0, 1], silent=True)
    if (Path(session.bin) / "actionlint").exists():
        session.run("actionlint")
    else:
        session.warn("actionlint could not be installed: the workflows are checked by their schema and zizmor alone")


@nox.session
def wheel(session: nox.Session) -> None:
    """Build sdist and wheel, repair it, and try it in an environment without a compiler; then from C++, with one."""
    need_compiler_for_python(session)
    session.install("cmake", "ninja", *nox.project.dependency_groups(PROJECT, "wheel"))
    session.run("python", "tools/try_wheel.py", "--folder", f"{session.create_tmp()}/wheel", *session.posargs)
