"""Links of built pages lead to pages and anchors that are there.

``python check_links.py FOLDER`` prints those that do not, and fails.
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """Links of a page, and the names of its places."""

    def __init__(self, text):
        super().__init__()
        self.links, self.places = set(), set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        """Note what an element links to and is called."""
        values = dict(attrs)
        self.places.update(filter(None, (values.get("id"), values.get("name"))))
        self.links.update(filter(None, (values.get("href"), values.get("src"))))


def broken_links(folder):
    """Pairs of a page and a link on it that leads nowhere in the folder."""
    paths = [p for p in folder.rglob("*.html") if "_static" not in p.parts]
    pages = {path: Page(path.read_text("utf-8")) for path in paths}
    for path, page in sorted(pages.items()):
        for link in sorted(page.links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = path if not parts.path else path.parent / unquote(parts.path)
            target = target.resolve()
            found = pages.get(target)
            if not target.exists() or (
                parts.fragment and found and unquote(parts.fragment) not in found.places
            ):
                yield path.relative_to(folder), link


if __name__ == "__main__":
    broken = list(broken_links(Path(sys.argv[1]).resolve()))
    for page, link in broken:
        print(f"{page}: {link}")
    sys.exit(f"{len(broken)} links lead nowhere" if broken else 0)
