"""Declarations: values that say what a study is. Standard library only."""
