"""A ranking of images as one HTML file."""
