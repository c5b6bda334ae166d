"""Two readers of the .beton format behind one interface: FFCV's native decoder, and ours (PIL, no compiled extension).

Raw images are the same bytes through both. JPEG differs by a few grey levels: FFCV decodes with the fast DCT and resizes
by area, ours with libjpeg's accurate one and antialiased bicubic. Evaluation always uses ours.
"""

from __future__ import annotations

import functools
import io
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np

from shiftline.data.beton import JPEG, Index
from shiftline.data.ffcv_native import library_path, native_functions
from shiftline.errors import DataError
from shiftline.store.arrays import mapped

COMPILE_FROM = 20_000
"""Images in a file from which on the time of compiling FFCV's loop is won back within a few epochs."""


class Reader(ABC):
    """Decodes examples of one file. Every call returns arrays that belong to the caller."""

    name: str

    def __init__(self, index: Index) -> None:
        self.index = index
        self.memory = mapped(index.path) if len(index) else np.zeros(0, np.uint8)

    def images(self, ids: np.ndarray) -> list[np.ndarray]:
        """Decode whole images.

        Parameters
        ----------
        ids : ndarray of int64, shape (B,)

        Returns
        -------
        list of ndarray of uint8, each of shape (H, W, 3)

        Raises
        ------
        DataError
            An id is out of range, or an image cannot be decoded (its id is named).
        """
        return [self._image(int(i)) for i in self.index.check_ids(ids)]

    def crops(self, ids: np.ndarray, boxes: np.ndarray, size: int) -> np.ndarray:
        """Decode, cut a box and resize it to a square.

        Parameters
        ----------
        ids : ndarray of int64, shape (B,)
        boxes : ndarray of int64, shape (B, 4)
            top, left, height, width in pixels of the stored image.
        size : int
            Side of the result.

        Returns
        -------
        ndarray of uint8, shape (B, size, size, 3)
        """
        ids = self.index.check_ids(ids)
        out = np.empty((len(ids), size, size, 3), dtype=np.uint8)
        self._crops(ids, np.ascontiguousarray(boxes, dtype=np.int64), out)
        return out

    def stored(self, row: int) -> bytes | np.ndarray:
        """Return what is stored of one example: the bytes of a JPEG file, or pixels, uint8 of shape (H, W, 3)."""
        (row,) = self.index.check_ids(np.array([row]))
        return self._raw(row).tobytes() if self.index.mode[row] == JPEG else self._image(row)

    def _raw(self, row: int) -> np.ndarray:
        start = int(self.index.pointer[row])
        return self.memory[start : start + int(self.index.size[row])]

    @abstractmethod
    def _image(self, row: int) -> np.ndarray: ...

    @abstractmethod
    def _crops(self, ids: np.ndarray, boxes: np.ndarray, out: np.ndarray) -> None: ...

    def _undecodable(self, row: int, why: str) -> DataError:
        return DataError(f"example {row} of {self.index.path} cannot be decoded ({why}): the file is damaged. Write it again.")


class PlainReader(Reader):
    """Memory map and PIL: runs everywhere, releases the interpreter while it decodes."""

    name = "plain"

    def _image(self, row: int) -> np.ndarray:
        from PIL import Image

        data = self._raw(row)
        if self.index.mode[row] != JPEG:
            return np.array(data).reshape(int(self.index.height[row]), int(self.index.width[row]), 3)
        try:
            with Image.open(io.BytesIO(data.tobytes())) as image:
                pixels = np.array(image if image.mode == "RGB" else image.convert("RGB"))
        except (OSError, SyntaxError, ValueError) as error:
            raise self._undecodable(row, str(error)) from error
        if pixels.shape[:2] != (self.index.height[row], self.index.width[row]):
            raise self._undecodable(row, f"it is {pixels.shape[:2]}, the index says otherwise")
        return pixels

    def _crops(self, ids: np.ndarray, boxes: np.ndarray, out: np.ndarray) -> None:
        from PIL import Image

        side = out.shape[1:3]
        for target, row, (top, left, height, width) in zip(out, ids, boxes, strict=True):
            pixels = self._image(int(row))
            if (height, width) == side:
                target[:] = pixels[top : top + height, left : left + width]
            else:
                box = (left, top, left + width, top + height)
                target[:] = Image.fromarray(pixels).resize(side[::-1], Image.Resampling.BICUBIC, box=box)


class FfcvReader(Reader):
    """FFCV's native decoder and resizer (libjpeg-turbo, OpenCV), called from our own loop; Pillow for images that it refuses.

    FFCV's `Loader` is not used: it reuses the memory of earlier batches, hangs when a worker raises, and changes torch's
    number of threads. The loop is compiled with numba for large files and runs as Python for small ones, where compiling
    would take longer than the epochs.
    """

    name = "ffcv"

    def __init__(self, index: Index, *, compiled: bool | None = None) -> None:
        super().__init__(index)
        self.compiled = len(index) >= COMPILE_FROM if compiled is None else compiled
        self._decode = _ffcv_loop(self.compiled)
        self._largest = int((index.height.astype(np.int64) * index.width).max()) if len(index) else 0

    def _image(self, row: int) -> np.ndarray:
        height, width = int(self.index.height[row]), int(self.index.width[row])
        out = np.empty((1, height, width, 3), dtype=np.uint8)
        self._crops(np.array([row]), np.array([[0, 0, height, width]]), out)
        image: np.ndarray = out[0]
        return image

    def _crops(self, ids: np.ndarray, boxes: np.ndarray, out: np.ndarray) -> None:
        scratch = np.empty(self._largest * 3, dtype=np.uint8)
        index = self.index
        where = (self.memory, index.pointer, index.size, index.height, index.width, index.mode)
        while (bad := self._decode(ids, boxes, out, scratch, *where)) >= 0:
            # PNG and WebP, and what Pillow reads with a warning, such as an end marker half way. The writer took it.
            one = slice(bad, bad + 1)
            PlainReader(index)._crops(ids[one], boxes[one], out[one])
            _say_once(
                f"{index.path}: libjpeg-turbo refuses some of its images (PNG, WebP, or an unusual JPEG): they are read with "
                "Pillow, which is slower. `shiftline data write ... --format raw --again` stores pixels."
            )
            ids, boxes, out = ids[bad + 1 :], boxes[bad + 1 :], out[bad + 1 :]


_loops: dict[bool, Callable[..., int]] = {}
_loops_lock = threading.Lock()


def _ffcv_loop(compiled: bool) -> Callable[..., int]:
    """Return the decoding loop; it is compiled once in a process, whatever number of files is read."""
    with _loops_lock:
        if compiled not in _loops:
            _loops[compiled] = _make_ffcv_loop(compiled)
        return _loops[compiled]


def _make_ffcv_loop(compiled: bool) -> Callable[..., int]:
    native_decode, native_copy, native_resize = native_functions()

    # These are compiled below: what they call has to be compiled, or native, too.
    def decode(
        ids: Any, boxes: Any, out: Any, scratch: Any, memory: Any, pointer: Any, size: Any, heights: Any, widths: Any, modes: Any
    ) -> int:
        for row in range(len(ids)):
            example = ids[row]
            start = np.int64(pointer[example])
            data = memory[start : start + np.int64(size[example])]
            height, width = np.int64(heights[example]), np.int64(widths[example])
            pixels = scratch[: height * width * 3]
            if modes[example] == 0:
                failed = native_decode(
                    data.ctypes.data, data.size, height, width, pixels.ctypes.data, height, width, 0, 0, 1, 1, False, False
                )
                if failed != 0:
                    return row
            else:
                native_copy(data.ctypes.data, pixels.ctypes.data, data.size)
            image = pixels.reshape((height, width, 3))
            top, left, tall, wide = boxes[row]
            target = out[row]
            if tall == out.shape[1] and wide == out.shape[2]:
                target[:] = image[top : top + tall, left : left + wide]
            else:
                native_resize(
                    0,
                    image.ctypes.data,
                    height,
                    width,
                    top,
                    top + tall,
                    left,
                    left + wide,
                    target.ctypes.data,
                    target.shape[0],
                    target.shape[1],
                )
        return -1

    if not compiled:
        return decode
    import numba

    made: Callable[..., int] = numba.njit(fastmath=True, nogil=True, error_model="numpy")(decode)
    return made


def ffcv_is_installed() -> bool:
    """FFCV is there (it is not imported: the import takes seconds)."""
    return library_path() is not None


READERS = ("auto", "ffcv", "plain")


def check_reader(name: str) -> None:
    """Raise `DataError` where there is no reader of that name."""
    if name not in READERS:
        raise DataError(f"there is no reader {name!r}: choose {', '.join(READERS)}.")


def training_reader(index: Index, name: str = "auto") -> Reader:
    """Return a reader by name; "auto" is FFCV's where it can be imported, ours otherwise (said once).

    Raises
    ------
    DataError
        There is no such reader, or FFCV was named and cannot be imported.
    """
    check_reader(name)
    if name == "plain":
        return PlainReader(index)
    if name == "auto" and not ffcv_is_installed():
        _say_once("FFCV is not installed: training reads with Pillow instead (uv pip install 'shiftline[ffcv]' adds it).")
        return PlainReader(index)
    try:
        return FfcvReader(index)
    except ImportError as error:
        if name == "auto":
            _say_once(f"FFCV cannot be imported ({error}): training reads with Pillow instead.")
            return PlainReader(index)
        raise DataError(
            f'the reader "ffcv" was requested, but FFCV cannot be imported ({error}). Install it, uv pip install '
            "'shiftline[ffcv]', with the system libraries that CONTRIBUTING.md names, or say reader = \"plain\"."
        ) from error


@functools.cache
def _say_once(line: str) -> None:
    print(line, file=sys.stderr)
