"""The command line: the verbs of `ExperimentManager`, data, models, clusters, and tables from elsewhere."""
