"""The Neural Collapse Transferability Index: discriminant, scorer and the three components."""
