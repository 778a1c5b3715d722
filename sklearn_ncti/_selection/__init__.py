"""`ModelSelector`: from candidates and images to a ranking."""
