"""What pytest collects: doctests of the parts whose dependencies are installed."""

from importlib.util import find_spec

import pytest

# A base installation has neither torch nor matplotlib; the examples of both are then not run.
collect_ignore_glob = [] if find_spec("timm") else ["sklearn_ncti/backbones/*", "docs/*"]
# This page shows a progress bar, which scikit-learn has since 1.9.
if not find_spec("sklearn.callback"):
    collect_ignore_glob.append("docs/parallel.rst")
# This page saves in the formats of these packages, which the [test] extra installs.
if not all(find_spec(name) for name in ("skops", "onnxscript", "onnxruntime")):
    collect_ignore_glob.append("docs/persistence.rst")
# Extensions of the site import Sphinx, which only the [docs] extra installs.
collect_ignore_glob.append("docs/_ext/*")


# Doctests that name models of timm, in files of which others run without it.
_OF_TIMM = {
    "README.md",
    "sklearn_ncti._selection.selector.ModelSelector.plan",
    "sklearn_ncti._selection.selector.ModelSelector.to_timm",
}


def pytest_collection_modifyitems(items):
    """Skip examples of timm where it is absent: pytest ignores no file that it is told to run."""
    if find_spec("timm"):
        return
    for item in items:
        if {item.path.name, item.name} & _OF_TIMM:
            item.add_marker(pytest.mark.skip(reason="timm is not installed"))
