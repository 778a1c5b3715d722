"""Beside floors 1-3: labelled images from a folder. Needs neither torch nor PIL."""

from ._folder import load_image_folder

__all__ = ["load_image_folder"]
