"""Labelled images and the demonstration. Needs neither torch nor PIL."""

from ._demo import load_digit_images, load_zoo, load_zoo_accuracies
from ._folder import load_image_folder

__all__ = ["load_digit_images", "load_image_folder", "load_zoo", "load_zoo_accuracies"]
