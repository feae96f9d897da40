"""A Sphinx extension: what docutils, pandas and BibTeX write, as a screen reader needs it.

The empty head of a column of labels is no head, and a list of citations that lists no items is no list.
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


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("html-page-context", mend)
    return {"parallel_read_safe": True}
