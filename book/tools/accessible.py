"""A Sphinx extension: what docutils, pandas and BibTeX write, as a screen reader needs it.

The empty head of a column of labels is no head, a list of citations that lists no items is no list, and what folds a
part of the sidebar says so.
"""

import re
from typing import Any

from sphinx.application import Sphinx

MEND = {
    r"<th[^>]*>\s*(?:<p></p>)?\s*</th>": "<td></td>",
    r'<div role="list" class="citation-list">': '<div class="citation-list">',
    r' role="doc-biblioentry"': "",
}


def mend(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    for pattern, text in MEND.items():
        context["body"] = re.sub(pattern, text, context.get("body", ""))
    sidebar = context["generate_toctree_html"]
    context["generate_toctree_html"] = lambda *args, **how: _labelled(sidebar(*args, **how))


def _labelled(tree: Any) -> Any:
    """What the theme makes of a tree of pages: soup, or nothing."""
    for summary in tree.find_all("summary") if tree else ():
        summary["aria-label"] = "Show or hide the pages under this one"
    return tree


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("html-page-context", mend, priority=900)  # after the theme
    return {"parallel_read_safe": True}
