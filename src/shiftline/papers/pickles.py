"""Reading pickled models without running code: tensors are rebuilt, every other object becomes an inert record of its state.

A pickle names functions and classes, and loading it calls them: any of them may be code that somebody put there. This reader
resolves a fixed list of names that rebuild tensors and plain containers. What else a file names becomes a class of no behaviour
that keeps what it is given; nothing of the file's own is imported or called.
"""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from shiftline.errors import ModelError


class Inert:
    """What stands for an object of an unknown class: its state, and nothing that it could do."""

    state: dict[Any, Any]
    items: list[Any]

    def __new__(cls, *arguments: Any, **named: Any) -> Inert:
        # Unpickling makes objects without calling __init__.
        made = super().__new__(cls)
        made.state, made.items = dict(named), list(arguments)
        return made

    def __setstate__(self, state: Any) -> None:
        # A state is a dict, or a pair of dicts where there are slots.
        for part in state if isinstance(state, tuple) else (state,):
            if isinstance(part, dict):
                self.state.update(part)

    def append(self, item: Any) -> None:
        self.items.append(item)

    def extend(self, items: Any) -> None:
        self.items.extend(items)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.state[key] = value

    def __call__(self, *arguments: Any, **named: Any) -> Inert:
        return Inert(*arguments, **named)

    def __hash__(self) -> int:
        return id(self)


def _storage(content: bytes) -> Any:
    """Rebuild the numbers below a tensor, with torch's own reader that runs no code."""
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


def _parameter(data: Tensor, requires_grad: bool, hooks: Any) -> Tensor:
    return data


class _Sealed:
    """A function that a file may call and cannot change: pickles may also set attributes of what they name."""

    __slots__ = ("_call",)
    _call: Callable[..., Any]

    def __init__(self, call: Callable[..., Any]) -> None:
        object.__setattr__(self, "_call", call)

    def __call__(self, *arguments: Any) -> Any:
        return self._call(*arguments)

    def __setattr__(self, name: str, value: Any) -> None:
        raise pickle.UnpicklingError(f"the file changes {name!r} of a function")

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("the file changes a function")


_KNOWN = {
    ("torch._utils", "_rebuild_tensor_v2"): _Sealed(torch._utils._rebuild_tensor_v2),
    ("torch._utils", "_rebuild_parameter"): _Sealed(_parameter),
    ("torch.storage", "_load_from_bytes"): _Sealed(_storage),
    ("torch", "Size"): _Sealed(torch.Size),
    ("torch", "device"): _Sealed(torch.device),
    ("collections", "OrderedDict"): _Sealed(OrderedDict),
    ("collections", "defaultdict"): _Sealed(lambda *_: {}),
    ("builtins", "set"): _Sealed(set),
    ("__builtin__", "set"): _Sealed(set),
}
_DTYPES = {name: value for name, value in vars(torch).items() if isinstance(value, torch.dtype)}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _KNOWN:
            return _KNOWN[module, name]
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        # A class of its own for each name, so that what a file holds can be told in a message.
        return type(name, (Inert,), {"__module__": module})


def read_pickle(path: Path) -> Any:
    """Return what a pickle holds, its objects inert.

    Raises
    ------
    ModelError
        The file is no pickle, or is cut.
    """
    try:
        with path.open("rb") as stream:
            return _Reader(stream).load()
    except FileNotFoundError as error:
        raise ModelError(f"{path} does not exist.") from error
    except Exception as error:
        raise ModelError(
            f"{path} cannot be read ({type(error).__name__}: {str(error)[:200]}): the file is cut, or no pickle of tensors."
        ) from error


def tensors_of(value: Any) -> dict[str, Tensor]:
    """Return the tensors of a pickled module, dictionary of tensors or of such, by the names that ``state_dict()`` gives them.

    Buffers that a module does not save are among them.
    """
    return dict(_named(value, "", frozenset()))


def _named(value: Any, prefix: str, above: frozenset[int]) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield prefix.removesuffix("."), value.detach()
        return
    if id(value) in above:
        return  # It holds itself.
    above |= {id(value)}
    if isinstance(value, Inert):
        parts = [value.state.get(part) for part in ("_parameters", "_buffers", "_modules")]
        if any(isinstance(part, Mapping) for part in parts):
            for part in parts:
                yield from _named(part, prefix, above)
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _named(item, f"{prefix}{name}.", above)
