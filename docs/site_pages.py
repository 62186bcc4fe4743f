"""Pages of the documentation site that live elsewhere in the repository, with their links adapted to the site.

A hook of MkDocs, named in mkdocs.yml. It keeps one source for README.md, CHANGELOG.md, CONTRIBUTING.md and
cluster/README.md, whose relative links also work in a repository browser.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "cluster/README.md": "cluster-files.md",
}
LINK = re.compile(r"(?<=\]\()(?!https?:|mailto:|#)([^)#\s]+)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages from outside docs/."""
    for source, page in PAGES.items():
        text = (ROOT / source).read_text()
        files.append(File.generated(config, page, content=_adapted(text, source, page)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Adapt links from pages in docs/ to pages outside."""
    if page.file.src_uri in PAGES.values():
        return markdown
    return _adapted(markdown, f"docs/{page.file.src_uri}", page.file.src_uri)


def _adapted(text: str, source: str, page: str) -> str:
    return LINK.sub(lambda match: _on_site(match[1], source, page), text)


def _on_site(link: str, source: str, page: str) -> str:
    """The link in `source`, a file of the repository, as `page` of the site must have it.

    Files that are not on the site keep their link, and the strict build reports it.
    """
    target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
    target = PAGES.get(target + "/README.md" if (ROOT / target).is_dir() else target, target.removeprefix("docs/"))
    return posixpath.relpath(target, posixpath.dirname(page) or ".")
