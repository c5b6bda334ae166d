"""What speaks the dialect of the programs that shiftline replaces: their commands, names, rows and files."""
