"""A ranking as one self-contained HTML file."""
