"""Sessions of nox for what is read: the pages and their code, the site that is made of them, both in a browser.

In:   a checkout, as in noxfile.py.   Out: ``build/site``, the site; ``build/shots``, pictures of it.
Next: docs/conf.py; tests/test_docs.py, tests/test_site.py, tests/test_site_looks.py, tests/test_widget.py.
"""

from __future__ import annotations

import os
from pathlib import Path

import nox
from builds import PROJECT, need_compiler_for_python, need_program


def build_site(session: nox.Session) -> Path:
    """Build the documentation, with warnings as errors; its links within itself lead somewhere."""
    need_compiler_for_python(session)
    session.install(".[test]", *nox.project.dependency_groups(PROJECT, "docs"))
    site = Path("build").resolve() / "site"
    command = ["python", "-m", "sphinx", "--fail-on-warning", "--keep-going", "--nitpicky", "--quiet", "-b", "html"]
    session.run(*command, "docs", str(site), env={"MPLBACKEND": "agg"})
    session.run("python", "-m", "pytest", "tests/test_site.py", env={"CONVPP_SITE": str(site)})
    return site


@nox.session
def docs(session: nox.Session) -> None:
    """Build the site (into build/site); check figures; run the code of the pages, the notebook and docstrings."""
    build_site(session)
    session.install(*nox.project.dependency_groups(PROJECT, "notebook"))
    session.run("python", "-c", "import jupytext")  # which must not be skipped
    tests = ("docs", "notebook", "reference_pages")
    session.run("python", "-m", "pytest", *(f"tests/test_{name}.py" for name in tests))
    session.run("jupyter", "execute", "docs/backpropagation.ipynb")
    # (Modules whose framework is not installed have a session of their own.)
    session.run("python", "-m", "pytest", "--doctest-modules", "--doctest-ignore-import-errors", "--pyargs", "convpp")


def need_browser(session: nox.Session) -> None:
    """Install Chromium, unless CONVPP_BROWSER names one."""
    if "CONVPP_BROWSER" not in os.environ:
        need_program(session, "chromium", "chromium", "fonts-dejavu-core")


@nox.session
def site(session: nox.Session) -> None:
    """Build the site and look at it in a headless Chromium; ``build/shots`` has pictures of it to look at."""
    need_browser(session)
    folder = build_site(session)
    session.install(*nox.project.dependency_groups(PROJECT, "browser"))
    session.run("python", "-c", "import playwright.sync_api")  # which must not be skipped
    env = {"CONVPP_SITE": str(folder), "CONVPP_SHOTS": str(folder.with_name("shots"))}
    session.run("python", "-m", "pytest", "tests/test_site_looks.py", *session.posargs, env=env)


@nox.session
def widget(session: nox.Session) -> None:
    """Hold what lights up in docs/widget to conv_input_grad, in a headless Chromium; and look for ugly places."""
    need_compiler_for_python(session)
    need_browser(session)
    session.install(".[test]", *nox.project.dependency_groups(PROJECT, "browser"))
    session.run("python", "-c", "import playwright.sync_api")  # which must not be skipped
    session.run("python", "-m", "pytest", "tests/test_widget.py", "tests/test_widget_looks.py", *session.posargs)
