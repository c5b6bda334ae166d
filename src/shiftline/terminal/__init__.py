"""What commands share: options, printed tables, progress, and writing data while a bar is shown."""
