"""What pytest collects: doctests of the parts whose dependencies are installed."""

from importlib.util import find_spec

# A base installation has neither torch nor matplotlib; the examples of both are then not run.
collect_ignore_glob = (
    [] if find_spec("timm") else ["sklearn_ncti/backbones/*", "README.md", "docs/*"]
)
