"""The contracts as checks on what a user wrote: each raises `ContractError` with one message."""

from shiftline.testing.contract import ContractError
from shiftline.testing.declarations import check_declaration, check_defaults, record_defaults
from shiftline.testing.families import check_family
from shiftline.testing.merges import check_merge
from shiftline.testing.metrics import check_metric
from shiftline.testing.studies import StudyReport, check_study
from shiftline.testing.transforms import check_transform

__all__ = [
    "ContractError",
    "StudyReport",
    "check_declaration",
    "check_defaults",
    "check_family",
    "check_merge",
    "check_metric",
    "check_study",
    "check_transform",
    "record_defaults",
]
