"""The Neural Collapse Transferability Index: discriminant, scorer and its three components."""
