"""MATLAB files of versions 5 to 7, as far as a data set needs them: numbers, text, and cells of text.

SciPy's reader believes what a file says of itself: a false size crashes it, or takes all memory. Here every size is
held against the bytes that are there before anything is read. The format: MathWorks, "MAT-File Format", chapter 1.
"""

import math
import struct
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
"""Type of a data element -> dtype of its numbers."""
TEXTS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
"""Type of a data element -> encoding, when it holds characters."""
SIGNED, UNSIGNED, MATRIX, COMPRESSED = 5, 6, 14, 15
CELL, CHARACTERS, NUMERIC, COMPLEX = 1, 4, range(6, 16), 0x0800
SPARSE = "sparse: save full(...) of it"
STRUCT = "a struct: save its fields as variables of their own, save('file.mat', '-struct', 'name')"
OBJECT = "a string array, a table or another object: save cellstr(...) of text, a matrix of numbers"
OPAQUE = 17
CELLS = "cells that hold other things than text: save a list of text, or a matrix of numbers"
OTHERS = {2: STRUCT, 3: OBJECT, 5: SPARSE, 16: "a function", OPAQUE: OBJECT}
"""Class of a variable -> what it is, and what to do, where it is neither numbers nor text."""
PADDING = " \t\r\n"
HEADER, BEGINNING = 128, 4096
"""Bytes before the first variable, and bytes of a variable that are read to see its name."""
SMALL, RATIO = 2**26, 100
"""A variable may unpack to this many bytes, or to so many times those it takes in the file; real ones stay below 20."""
VARIABLES, STRINGS = 10_000, 500_000
"""A file may hold so many variables, and one of them so many strings."""

Value = NDArray[Any] | str
"""Numbers in MATLAB's shape; rows or cells of text as (n,) object, each a str; of anything else what it is."""


class Damaged(Exception):
    """A file that does not hold what its header or sizes claim; the message names what."""


def read(path: Path, wanted: Collection[str]) -> tuple[list[str], dict[str, Value]]:
    """Names of all variables in the file, and the values of those wanted; of two with one name the first counts.

    Raises Damaged for a file that is none of this format or does not hold what it says, OSError when it cannot be read.
    """
    present: list[str] = []
    variables: dict[str, Value] = {}
    with open(path, "rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(0)
        header = stream.read(HEADER)
        order = {b"IM": "<", b"MI": ">"}.get(header[126:])
        if order is None:
            raise Damaged("the header is not that of version 5, 6 or 7: save it with -v7")
        while (left := size - stream.tell()) >= 8:
            kind, length = struct.unpack(f"{order}II", stream.read(8))
            if length > left - 8:
                raise Damaged(f"a variable of {length} bytes where {left - 8} are left")
            end = stream.tell() + length
            if kind == COMPRESSED:
                beginning = _unpack(stream, length, BEGINNING)
                inner = _Elements(beginning, order).tag()
                beginning = beginning[8:]
            elif kind == MATRIX:
                beginning, inner = memoryview(stream.read(min(length, BEGINNING))), (kind, length)
            else:
                raise Damaged(f"an element of type {kind} where a variable should stand")
            if inner[0] != MATRIX:
                raise Damaged(f"an element of type {inner[0]} where a variable should stand")
            name = _name(_Elements(beginning, order))
            present.append(name)
            if len(present) > VARIABLES:
                raise Damaged(f"more than {VARIABLES:,} variables")
            if name in wanted and name not in variables:
                stream.seek(end - length)
                if kind == COMPRESSED:
                    content = _unpack(stream, length, inner[1] + 8, whole=True)[8:]
                else:
                    content = memoryview(stream.read(length))
                variables[name] = _value(_Elements(content, order))
            stream.seek(end)
    return present, variables


def _unpack(stream: BinaryIO, length: int, size: int, whole: bool = False) -> memoryview:
    """The first `size` bytes of what the next `length` bytes unpack to; whole: exactly so many, checksum included."""
    if whole and size > max(SMALL, RATIO * length):
        raise Damaged(f"{length} bytes that unpack to {size}: too good to be true")
    unpacked = np.empty(size, np.uint8)  # untouched memory costs nothing
    engine, done = zlib.decompressobj(), 0
    try:
        while length and not engine.eof and (whole or done < size):
            block = stream.read(min(length, 2**18))
            length -= len(block)
            while (piece := engine.decompress(block, 2**20)) or engine.unconsumed_tail:
                block = engine.unconsumed_tail
                if done + len(piece) > size:
                    if whole:
                        raise Damaged("a variable longer than it says")
                    piece = piece[: size - done]
                unpacked[done : done + len(piece)] = np.frombuffer(piece, np.uint8)
                done += len(piece)
                if done == size and not whole:
                    break
    except zlib.error as error:
        raise Damaged(str(error)) from error
    if whole and not (done == size and engine.eof):
        raise Damaged("a variable that is cut short")
    return unpacked.data[:done]


class _Elements:
    """The data elements in a run of bytes, one after another."""

    def __init__(self, content: memoryview, order: str) -> None:
        self.content, self.order, self.at = content, order, 0

    def tag(self) -> tuple[int, int]:
        """Type and length of the next element; its bytes follow. Raises Damaged where there is none."""
        self.at += 8
        if self.at > len(self.content):
            raise Damaged("the bytes end where an element should stand")
        kind, length = struct.unpack_from(f"{self.order}II", self.content, self.at - 8)
        return kind, length

    def next(self) -> tuple[int, memoryview]:
        """Type and bytes of the next element. Raises Damaged where they are not all there."""
        kind, length = self.tag()
        start = self.at
        if kind >> 16:  # at most four bytes, kept within the tag
            kind, length, start = kind & 0xFFFF, kind >> 16, start - 4
            if length > 4:
                raise Damaged(f"a short element of {length} bytes")
        elif length > len(self.content) - start:
            raise Damaged(f"{length} bytes expected where {len(self.content) - start} are left")
        else:
            self.at = start + length + (-length & 7)
        return kind, self.content[start : start + length]

    def integers(self, expected: int) -> tuple[int, ...]:
        """The next element as integers of four bytes of type `expected`. Raises Damaged for anything else."""
        kind, content = self.next()
        if kind != expected or len(content) % 4:
            raise Damaged(f"an element of type {kind} and {len(content)} bytes where integers should stand")
        return struct.unpack(f"{self.order}{len(content) // 4}{'i' if kind == SIGNED else 'I'}", content)


def _head(elements: _Elements) -> tuple[int, bool, tuple[int, ...], str]:
    """What a variable starts with: its class, whether it is complex, its shape and its name; an object has no shape."""
    flags = elements.integers(UNSIGNED)
    if len(flags) == 2 and flags[0] & 0xFF == OPAQUE:
        return OPAQUE, False, (), str(elements.next()[1], "latin-1")
    shape = elements.integers(SIGNED)
    if len(flags) != 2 or len(shape) < 2 or len(shape) > 32 or min(shape) < 0:
        raise Damaged(f"a variable of shape {shape[:32]}")
    name = str(elements.next()[1], "latin-1")
    return flags[0] & 0xFF, bool(flags[0] & COMPLEX), shape, name


def _name(elements: _Elements) -> str:
    return _head(elements)[3]


def _value(elements: _Elements) -> Value:
    """The value of a variable whose bytes these are."""
    kind, is_complex, shape, _ = _head(elements)
    if kind in OTHERS:
        return OTHERS[kind]
    count = math.prod(shape)
    if kind == CELL:
        if count > min(len(elements.content) // 8, STRINGS):
            raise Damaged(f"{count} cells in {len(elements.content)} bytes, of at most {STRINGS:,}")
        texts = [_cell(elements) for _ in range(count)]
        if None in texts:
            return CELLS
        return np.array(texts, dtype=object)
    if kind == CHARACTERS:
        return np.array([text.strip(PADDING) for text in _rows(elements, shape)], dtype=object)
    if kind not in NUMERIC or is_complex:
        return "complex numbers: save their real parts" if kind in NUMERIC else f"of class {kind}, unknown here"
    kind, content = elements.next()
    if kind not in NUMBERS:
        raise Damaged(f"an element of type {kind} where numbers should stand")
    dtype = np.dtype(elements.order + NUMBERS[kind])
    if len(content) != count * dtype.itemsize:
        raise Damaged(f"{len(content)} bytes of numbers for a shape of {shape}")
    return np.frombuffer(content, dtype).reshape(shape, order="F")


def _cell(elements: _Elements) -> str | None:
    """The text of the next cell, or None where it holds something else."""
    kind, content = elements.next()
    if kind != MATRIX:
        raise Damaged(f"an element of type {kind} where a cell should stand")
    if not len(content):
        return None
    inner = _Elements(content, elements.order)
    kind, _, shape, _ = _head(inner)
    rows = _rows(inner, shape) if kind == CHARACTERS else ()
    return rows[0].strip(PADDING) if len(rows) == 1 else "" if kind == CHARACTERS and not math.prod(shape) else None


def _rows(elements: _Elements, shape: tuple[int, ...]) -> list[str]:
    """The rows of a table of characters, column after column in the file."""
    if len(shape) != 2 or shape[0] > STRINGS:
        raise Damaged(f"characters of shape {shape}")
    if not math.prod(shape):
        return []
    kind, content = elements.next()
    if kind not in TEXTS:
        raise Damaged(f"an element of type {kind} where characters should stand")
    little = {"<": "-le", ">": "-be"}[elements.order] if TEXTS[kind] in ("utf-16", "utf-32") else ""
    try:
        characters = str(content, TEXTS[kind] + little)
    except UnicodeDecodeError as error:
        raise Damaged(str(error)) from error
    if len(characters) != math.prod(shape):
        raise Damaged(f"{len(characters)} characters for a shape of {shape}")
    return [characters[row :: shape[0]] for row in range(shape[0])]
