"""The store: every finished output on disk, under the key of its job."""
