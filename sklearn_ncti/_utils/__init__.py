"""Small things that every other folder may use: optional packages, versions, terminals, labels."""
