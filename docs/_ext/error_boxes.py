"""A check of the built pages: no box that reports an error may be among them.

`sphinx-build -W` turns warnings into errors, but some faults are only visible in the pages: a
message of docutils that no warning announced, and a table of contents in the text, which the
theme replaces with a red box because it shows one at the side already.
"""

import re
from pathlib import Path

from sphinx.errors import ExtensionError

_ERROR_BOX = re.compile(r'class="(?:[^"]*\s)?(system-message|problematic|contents)(?:\s[^"]*)?"')


def find_error_boxes(html):
    """Return the classes of all error boxes in a page."""
    return sorted({match.group(1) for match in _ERROR_BOX.finditer(html)})


def check_pages(app, exception):
    """Raise an error that names the built pages with error boxes."""
    if exception is not None or app.builder.format != "html":
        return
    faults = []
    for name in sorted(app.env.found_docs):
        page = Path(app.builder.get_outfilename(name))
        if boxes := find_error_boxes(page.read_text(encoding="utf-8")):
            faults.append(f"{page} ({', '.join(boxes)})")
    if faults:
        raise ExtensionError("error boxes in built pages: " + "; ".join(faults))


def setup(app):
    """Check every page after the build."""
    app.connect("build-finished", check_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
