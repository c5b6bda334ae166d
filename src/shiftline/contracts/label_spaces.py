"""Label spaces: the classes in which a model is scored where a shift does not have the reference's own.

ImageNet-R has 200 of ImageNet's 1,000 classes, ObjectNet 113 that cover 125 of them. Both axes of a panel are then scored
in the shift's classes: examples of other classes are left out, and a model answers with the class of its highest logit
among the members of all classes of the space.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from shiftline.contracts.identity import Declaration
from shiftline.errors import DeclarationError


class LabelSpace(Declaration):
    """Classes, each made of one or more class identifiers of the data sets that it relates.

    Attributes
    ----------
    name : str
        For tables.
    members : tuple of tuples of str
        One tuple per class: class identifiers of the reference and of the shift that mean this class (WordNet ids for
        ImageNet and its shifts, class names for others). An identifier that is in none is left out on both axes.
    """

    tag = "label-space"
    name: str
    members: tuple[tuple[str, ...], ...]

    def validate(self) -> None:
        if len(self.members) < 2:
            raise DeclarationError(f"the label space {self.name!r} has {len(self.members)} classes: expected two or more.")
        seen: set[str] = set()
        for group in self.members:
            if not isinstance(group, tuple) or not group:
                raise DeclarationError(
                    f"the label space {self.name!r} holds {group!r}: expected a list of class identifiers per class."
                )
            if twice := seen.intersection(group):
                raise DeclarationError(f"the label space {self.name!r} has {sorted(twice)[0]!r} in two classes.")
            seen.update(group)

    def __len__(self) -> int:
        return len(self.members)

    def indices(self, class_ids: Iterable[str]) -> tuple[int, ...]:
        """Return the class of the space for each class identifier, -1 for one that is in none."""
        index = {member: row for row, group in enumerate(self.members) for member in group}
        return tuple(index.get(class_id, -1) for class_id in class_ids)


def sub_list(name: str, class_ids: Iterable[str]) -> LabelSpace:
    """Return the space of some of the reference's classes."""
    if isinstance(class_ids, str):
        raise DeclarationError(f"sub_list({name!r}, {class_ids!r}): expected a list of class identifiers, got text.")
    return LabelSpace(name, tuple((class_id,) for class_id in class_ids))


def many_to_one(name: str, members: Mapping[str, Iterable[str]]) -> LabelSpace:
    """Return the space of classes that cover several of the reference's.

    Parameters
    ----------
    members : mapping of str to iterable of str
        The reference's class identifiers by the shift's class identifier.
    """
    if text := [below for below in members.values() if isinstance(below, str)]:
        raise DeclarationError(f"many_to_one({name!r}): expected a list of class identifiers per class, got the text {text[0]!r}.")
    return LabelSpace(name, tuple((own, *(m for m in below if m != own)) for own, below in members.items()))
