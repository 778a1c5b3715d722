"""Labelled images and texts, the demonstration, a catalogue of models. Needs no torch or PIL."""

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
