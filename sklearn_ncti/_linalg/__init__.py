"""Linear algebra of large feature matrices: no labels but class counts, no estimators."""
