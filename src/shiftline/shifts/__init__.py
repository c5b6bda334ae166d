"""The built-in transforms and augmentations; they implement what a user's own subclasses do."""
