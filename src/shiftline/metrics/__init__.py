"""The built-in metrics, one class each; they implement what a user's own subclass of `shiftline.Metric` does."""
