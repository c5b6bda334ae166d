"""The contract of transforms."""

from __future__ import annotations

from shiftline.contracts.transforms import Transform
from shiftline.testing.contract import require_contract
from shiftline.testing.declarations import check_declaration


def check_transform(transform: Transform, *, size: int = 16) -> None:
    """Check a transform on random images: same shape and type, deterministic, independent of the batch.

    Parameters
    ----------
    size : int
        Height and width of the images, in pixels.

    Raises
    ------
    ContractError, DataError
        It breaks the contract; or it returns something else than images of the shape that it was given.
    """
    import torch
    from torch import Tensor

    from shiftline.data.pixels import apply_transforms

    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (6, 3, size, size), dtype=torch.uint8, generator=generator)
    labels, ids = torch.arange(6) % 3, torch.arange(100, 106)
    before = images.clone()

    def applied(rows: Tensor) -> Tensor:
        return apply_transforms([transform], images[rows], labels[rows], ids[rows])

    everything = torch.arange(6)
    name = f"the transform {type(transform).tag!r}"
    whole = apply_transforms([transform], images, labels, ids)
    require_contract(torch.equal(images, before), f"{name} changed the images that it was given: work on a copy.")
    again = applied(everything)
    require_contract(torch.equal(whole, again), f"{name} gives other pixels the second time: draw with ids and a seed.")
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    require_contract(
        torch.equal(applied(order), whole[order]),
        f"{name} depends on the order of the batch: an example's pixels must be a function of its image, label and id.",
    )
    alone = torch.cat([applied(everything[row : row + 1]) for row in range(6)])
    require_contract(torch.equal(alone, whole), f"{name} depends on the rest of the batch: compute per image.")
    check_declaration(transform)
