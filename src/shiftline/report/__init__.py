"""Figures, drawn without pyplot: nothing of matplotlib's global state is read or changed."""
