"""Launching: planning against a store, running, and saying what is done."""
