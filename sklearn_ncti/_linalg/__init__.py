"""Linear algebra for large feature matrices. It knows classes of rows, but no estimators."""
