"""Data: written splits, readers, shifts of pixels, loaders."""
