"""What pytest collects: doctests of the parts whose dependencies are installed."""

from importlib.util import find_spec

import pytest

# A base installation has neither torch nor matplotlib; the examples of both are then not run.
collect_ignore_glob = [] if find_spec("timm") else ["sklearn_ncti/backbones/*", "docs/*"]
# The user guide shows a progress bar, which scikit-learn has since 1.9.
if not find_spec("sklearn.callback"):
    collect_ignore_glob.append("docs/user_guide.rst")


def pytest_collection_modifyitems(items):
    """Skip the README where timm is absent: pytest never ignores a file that it is told to run."""
    if find_spec("timm"):
        return
    for item in items:
        if item.path.name == "README.md":
            item.add_marker(pytest.mark.skip(reason="timm is not installed"))
