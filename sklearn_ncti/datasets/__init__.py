"""Labelled images and texts, the demonstration, a catalogue of models. Needs no torch or PIL."""

from typing import TYPE_CHECKING

from .._utils.lazy import lazy_names

if TYPE_CHECKING:
    from ._catalogue import Catalogue, load_catalogue
    from ._demo import load_digit_images, load_zoo, load_zoo_accuracies
    from ._folder import load_image_folder
    from ._images import load_images
    from ._table import load_image_table, load_text_table

__all__ = [
    "Catalogue",
    "load_catalogue",
    "load_digit_images",
    "load_image_folder",
    "load_image_table",
    "load_images",
    "load_text_table",
    "load_zoo",
    "load_zoo_accuracies",
]

# Late, so that the command line has its help without scikit-learn.
_MODULE_OF = {
    "Catalogue": "_catalogue",
    "load_catalogue": "_catalogue",
    "load_digit_images": "_demo",
    "load_image_folder": "_folder",
    "load_image_table": "_table",
    "load_images": "_images",
    "load_text_table": "_table",
    "load_zoo": "_demo",
    "load_zoo_accuracies": "_demo",
}

__getattr__, __dir__ = lazy_names(__name__, _MODULE_OF)
