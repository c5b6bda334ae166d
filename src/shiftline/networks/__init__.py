"""Models: building them from names or from their own metadata, heads, preprocessing."""
