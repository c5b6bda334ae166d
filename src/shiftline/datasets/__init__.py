"""The known data sets: one module per family, each of which knows published layouts, splits, classes and label spaces."""
