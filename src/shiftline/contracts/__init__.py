"""What everything is declared in: identity, the base classes of models, distributions, transforms, metrics and weights.

Built-in classes and users' own are subclasses of the same bases. Nothing here loads torch or pandas.
"""
