"""Writes the repository's address into what a release shows elsewhere: README.md's links, and ``[project.urls]``.

    python tools/release_links.py --repository https://host/owner/name --revision v1.2.3

In: README.md and pyproject.toml of a checkout, which is changed (the workflow ``wheels.yml`` has one of its own).
Out: each link to a file of the repository is an address of that file at the revision; pyproject.toml has a table of
addresses.  A link to a file that is not there is an error.

In the repository links are relative, so that they work in each branch, copy and fork; a package index shows README.md
without the files that it links to.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]

#: What comes before the target of a link or a picture, and the target: ``](docs/index.md#part``.
LINK = re.compile(r"(!?)(\[(?:[^\[\]]|\[[^\]]*\])*\]\()([^)\s]+)")


def absolute(text: str, repository: str, revision: str, root: Path = ROOT) -> str:
    """``text`` of Markdown, with addresses for targets that are files or folders of ``root``."""

    def address(match: re.Match[str]) -> str:
        picture, before, target = match.groups()
        if "[" in before[1:]:  # of a link around a picture: the picture's own link
            before = LINK.sub(address, before)
        if re.match(r"[a-z][a-z+.-]*:|#", target):
            return f"{picture}{before}{target}"
        path, _, part = target.partition("#")
        file = root / path
        if not file.exists():
            raise SystemExit(f"{target} is linked to, and there is no such file")
        kind = "tree" if file.is_dir() else "raw" if picture else "blob"
        return f"{picture}{before}{repository}/{kind}/{revision}/{path}" + (f"#{part}" if part else "")

    # Code is no link: every second piece is a block between fences.
    pieces = re.split(r"(^```.*?^```$)", text, flags=re.DOTALL | re.MULTILINE)
    return "".join(piece if i % 2 else LINK.sub(address, piece) for i, piece in enumerate(pieces))


def with_urls(pyproject: str, repository: str, revision: str) -> str:
    """The text of pyproject.toml, with ``[project.urls]`` before its next table."""
    if re.search(r"^\[project\.urls\]$", pyproject, re.MULTILINE):
        raise SystemExit("pyproject.toml has [project.urls] already")
    urls = {
        "Source": repository,
        "Documentation": f"{repository}/blob/{revision}/docs/index.md",
        "Changelog": f"{repository}/blob/{revision}/CHANGELOG.md",
        "Issues": f"{repository}/issues",
    }
    table = "[project.urls]\n" + "".join(f'{name} = "{url}"\n' for name, url in urls.items())
    before = "[project.optional-dependencies]\n"
    if pyproject.count(before) != 1:
        raise SystemExit("pyproject.toml has no place for [project.urls]")
    return pyproject.replace(before, f"{table}\n{before}")


def main() -> None:
    """Change README.md and pyproject.toml."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repository", required=True, help="the address of the repository's page")
    parser.add_argument("--revision", required=True, help="a tag, branch or commit")
    given = parser.parse_args()
    readme, pyproject = ROOT / "README.md", ROOT / "pyproject.toml"
    repository = given.repository.rstrip("/")
    texts = {
        readme: absolute(readme.read_text(encoding="utf-8"), repository, given.revision),
        pyproject: with_urls(pyproject.read_text(encoding="utf-8"), repository, given.revision),
    }
    for file, text in texts.items():
        file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
