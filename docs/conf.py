"""Settings of the documentation site, see "Build the documentation" in CONTRIBUTING.md.

Sphinx reads the whole repository (``sphinx-build -c docs . docs/_build``), of which only the pages named below are part
of the site. So a link between pages, or from a page to a file, is the same here as on GitHub.
"""

import sys
from enum import EnumMeta
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.ext.napoleon import Config, GoogleDocstring
from sphinx.pycode import ModuleAnalyzer

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]  # the packages of this folder, whatever is installed
import make_gallery  # noqa: E402

from dali_pipes import __version__  # noqa: E402

project = "dali_pipes + train"
version = release = __version__
root_doc = "docs/index"
include_patterns = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docker/README.md",
    "docs/*.md",
    "benchmarks/results/*.md",
]
# folders without pages are not even looked through: runs/ may hold many files
exclude_patterns = [
    entry.name for entry in ROOT.iterdir() if not any(page.startswith(entry.name) for page in include_patterns)
]
exclude_patterns += ["docs/_*", "benchmarks/soak"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
myst_enable_extensions = ["html_image"]
myst_heading_anchors = 4
default_role = "code"
smartquotes_action = "qe"  # quotes and ellipses, but no dashes: options begin with two hyphens

html_theme = "furo"
html_title = project
html_show_copyright = False

autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 100
nitpicky = True
nitpick_ignore_regex = [
    # they have sites of their own, and this one is built without a network
    ("py:.*", r"(collections|enum|numpy|os|torch)\..*"),
    # what only a module has is not public, and so not on the site
    ("py:.*", r"(dali_pipes|train)\.\w+\.\w+\.\w+"),
]

NAPOLEON = Config(napoleon_use_ivar=True)
PAGE_OF_FOLDER = {ROOT / "examples": "docs/examples", ROOT / "benchmarks" / "results": "docs/benchmarks"}


def lead_folders_to_pages(app: Sphinx, doctree: nodes.document) -> None:
    """Let a link to a folder, whose files GitHub lists, lead to the page about it, or be text if there is none."""
    for link in list(doctree.findall(addnodes.pending_xref)):
        if link["reftype"] != "myst" or link["refdomain"] == "doc":
            continue
        folder = (ROOT / app.env.docname).parent.joinpath(link["reftarget"]).resolve()
        if folder in PAGE_OF_FOLDER:
            link.attributes.update(refdomain="doc", reftarget=PAGE_OF_FOLDER[folder], reftargetid=None)
        elif folder.is_dir():
            link.replace_self(link.children)


def read_google_style(app: Sphinx, what: str, name: str, value: object, options: object, lines: list) -> None:
    """Read the sections of a docstring.

    Napoleon as an extension would take the text below a field, up to a colon, for its type.
    """
    lines[:] = GoogleDocstring(lines, NAPOLEON, app, "object", name, value, options).lines()


def add_text_below_constant(app: Sphinx, what: str, name: str, value: object, options: object, lines: list) -> None:
    """Take a constant's text from the module that defines it: the package only passes the constant on."""
    if what == "data":
        lines[:] = []
        package, _, constant = name.rpartition(".")
        for module in sorted(module for module in sys.modules if module.startswith(f"{package}.")):
            texts = ModuleAnalyzer.for_module(module).find_attr_docs()
            if ("", constant) in texts and getattr(sys.modules[module], constant) is value:
                lines[:] = texts["", constant]


def shorten_signature(
    app: Sphinx, what: str, name: str, value: object, options: object, signature: str | None, result: str | None
) -> tuple[str | None, str | None]:
    """Nobody calls an enum; "<factory>", a default that is made anew for each object, is no Python to format."""
    if isinstance(value, EnumMeta):
        return "", None
    return signature and signature.replace("<factory>", "..."), result


def lead_to_first_page(app: Sphinx, exception: Exception | None) -> None:
    """Let the folder of the site open at its first page."""
    if exception is None and app.builder.format == "html":
        link = f'<meta http-equiv="refresh" content="0; url={root_doc}.html">\n'
        (Path(app.outdir) / "index.html").write_text(link)


def setup(app: Sphinx) -> None:
    make_gallery.main()
    app.connect("doctree-read", lead_folders_to_pages)
    app.connect("autodoc-process-docstring", add_text_below_constant)
    app.connect("autodoc-process-docstring", read_google_style)
    app.connect("autodoc-process-signature", shorten_signature)
    app.connect("build-finished", lead_to_first_page)
