"""The exceptions of shiftline. Every message says what is wrong, what was expected, what was got, and what to do."""

from __future__ import annotations


class ShiftlineError(Exception):
    """Base of every error that shiftline raises on purpose."""


class DeclarationError(ShiftlineError, ValueError):
    """A study, a distribution or a recipe is declared in a way that cannot be carried out."""


class IdentityError(DeclarationError):
    """A value has no canonical form, so that it cannot be part of a key."""


class PlanError(ShiftlineError):
    """The jobs of a study cannot be laid out."""


class StoreError(ShiftlineError):
    """An artifact cannot be written, read or trusted."""


class DataError(ShiftlineError):
    """A dataset is missing, damaged, or not what was declared."""


class ModelError(ShiftlineError):
    """A model cannot be built or its weights do not fit."""


class WeightsError(ModelError):
    """Weights cannot be combined."""


class TrainingError(ShiftlineError):
    """Training cannot start, or cannot go on."""


class AnalysisError(ShiftlineError, ValueError):
    """A statistic is not defined for what was given."""


class StudyNotFoundError(ShiftlineError):
    """The command line was given a study that cannot be loaded."""


class DeviceError(ShiftlineError):
    """More devices or processes are requested than there are, or a library for them is missing."""
