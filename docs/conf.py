"""Configuration of the Sphinx site; `make docs` builds it."""

import os
import re
import sys
from pathlib import Path

# The examples of the gallery run networks in this process: threads of OpenMP that wait should
# sleep, or a build on a busy machine takes many times as long. Read when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import sklearn_ncti

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "sklearn_ncti"
author = "the sklearn_ncti developers"
copyright = "2026, the sklearn_ncti developers"
release = version = sklearn_ncti.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
    # Of this site, in _ext/.
    "mathml",
    "error_boxes",
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_math_renderer = "mathml"
html_title = f"sklearn_ncti {version}"

# Every class has a page of its own, made from _templates/autosummary/class.rst. Of what it
# inherits only this package's own methods are shown: those of scikit-learn are in its docs.
autosummary_generate = True
autosummary_imported_members = True
autodoc_typehints = "none"
autodoc_default_options = {
    "members": True,
    "inherited-members": ",".join(
        (
            "BaseEstimator",
            "CallbackSupportMixin",
            "ClassNamePrefixFeaturesOutMixin",
            "ClassifierMixin",
            "TransformerMixin",
            "_MetadataRequester",
            "_SetOutputMixin",
        )
    ),
    "exclude-members": ",".join(
        f"set_{method}_request"
        for method in ("fit", "predict", "predict_proba", "score", "transform")
    ),
}
# Next to what autosummary writes: git ignores the folder and `make clean` removes it.
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "generated/gallery",
    "abort_on_example_error": True,
    "backreferences_dir": None,
    "capture_repr": ("_repr_html_", "__repr__"),
    # The return value of a plot is no output.
    "ignore_repr_types": r"RankingDisplay|matplotlib",
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_memory": False,
    "show_signature": False,
    "write_computation_times": False,
}

numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

# Prompts are not copied.
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True


def mark_fitted_attributes(app, what, name, obj, options, lines):
    """Keep the names in shapes such as (n_components_,) from being read as links."""
    lines[:] = [re.sub(r"(?<=[(, ])(n_\w+_)(?=[,)])", r"``\1``", line) for line in lines]


def setup(app):
    # After numpydoc, which has the default priority of 500.
    app.connect("autodoc-process-docstring", mark_fitted_attributes, priority=900)
