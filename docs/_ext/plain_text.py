"""What reads the site without a browser: formulas, llms.txt, Markdown, the sitemap.

Formulas become MathML, which browsers draw themselves, so that pages load nothing from
elsewhere.
"""

from pathlib import Path
from xml.sax.saxutils import escape

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx_markdown_builder.translator import MarkdownTranslator

SECTIONS = {  # of llms.txt, by the start of the names of pages
    "Start": ("index", "install", "choose"),
    "User guide": ("guide/",),
    "Recipes": ("recipes/",),
    "Examples": ("gallery/",),
    "Reference": ("reference", "generated/"),
    "Background": (
        "papers",
        "benchmarks",
        "decisions/",
        "changelog",
        "cite",
        "release",
    ),
}


def visit_math(self, node):
    """Formula in a line."""
    self.body.append(tex2mathml(node.astext(), as_block=False))
    raise nodes.SkipNode


def visit_math_block(self, node):
    """Formula of its own."""
    formula = tex2mathml(node.astext(), as_block=True)
    self.body.append(f'<div class="math">{formula}</div>')
    raise nodes.SkipNode


class PageTranslator(MarkdownTranslator):
    """Markdown of pages, with what its parent leaves out."""

    def visit_classifier(self, node):
        """Type of a parameter, in the line of its name."""
        self.add(f" : {node.astext()}")
        raise nodes.SkipNode

    def visit_caption(self, node):
        """Text below a picture."""
        self.add(node.astext(), prefix_eol=2, suffix_eol=2)
        raise nodes.SkipNode

    def visit_citation(self, node):
        """Reference to a paper."""
        self.add(node.astext().replace("\n", " "), prefix_eol=2, suffix_eol=2)
        raise nodes.SkipNode

    def visit_imgsgnode(self, node):
        """Picture of an example."""
        path = f"../_images/{node['uri'].rpartition('/')[2]}"
        self.add(f"![{node['alt']}]({path})", prefix_eol=2, suffix_eol=2)
        raise nodes.SkipNode

    def visit_PassthroughTextElement(self, node):
        """Text of a card."""

    def depart_PassthroughTextElement(self, node):
        """Nothing comes after it."""

    def visit_abbreviation(self, node):
        """Marks in signatures, such as the star before named parameters."""
        self.add(node.astext())
        raise nodes.SkipNode


def pages_of(app):
    """Names of all pages that a reader may look for, in order."""
    hidden = {"genindex", "search"}
    return sorted(set(app.env.found_docs) - hidden)


def write_indexes(app, exception):
    """The files llms.txt and sitemap.xml beside the pages."""
    if exception or app.builder.name != "html":
        return
    folder, base = Path(app.outdir), app.config.html_baseurl
    base = base.rstrip("/") + "/" if base else ""
    pages = pages_of(app)
    locations = "".join(
        f"  <url><loc>{escape(base + page)}.html</loc></url>\n" for page in pages
    )
    (folder / "sitemap.xml").write_text(
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n'
        f"{locations}</urlset>\n",
        encoding="utf-8",
    )
    lines = [f"# {app.config.project}", "", f"> {app.config.llms_summary}", ""]
    for section, starts in SECTIONS.items():
        lines += [f"## {section}", ""]
        lines += [
            f"- [{app.env.titles[page].astext()}]({base}{page}.md)"
            for start in starts
            for page in pages
            if page == start or (start.endswith("/") and page.startswith(start))
        ]
        lines.append("")
    (folder / "llms.txt").write_text("\n".join(lines), encoding="utf-8")


def setup(app):
    """Register all of it."""
    app.add_config_value("llms_summary", "", "html")
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math_block, None))
    app.set_translator("markdown", PageTranslator, override=True)
    app.connect("build-finished", write_indexes)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
