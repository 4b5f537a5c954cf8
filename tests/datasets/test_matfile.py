"""MATLAB files: what SciPy writes and reads is read alike, and no file can make the reader crash, hang or overeat."""

import os
import random
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.io import loadmat, savemat
from scipy.sparse import csc_matrix

from zslcore.datasets import mat5, matfile
from zslcore.datasets.matfile import read_mat
from zslcore.errors import ZSLError

FEW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
DTYPES = [np.float64, np.float32, np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64]
TEXT = st.text(st.characters(min_codepoint=33, max_codepoint=0x2FFF, exclude_categories=["Cs", "Z"]), max_size=6)
MEMORY = 2**24


@pytest.fixture
def refused(within_limits) -> Callable[..., None]:
    """Check that the variable `a` of a file, or of one with this content, is refused by name, in little memory."""

    def check(path: Path, content: bytes | None = None) -> None:
        if content is not None:
            path.write_bytes(content)
        tracemalloc.start()
        with within_limits(), pytest.raises(ZSLError, match=path.name):
            read_mat(path, ("a",))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < MEMORY

    return check


@FEW
@given(
    values=st.sampled_from(DTYPES).flatmap(lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=2, max_side=4))),
    texts=st.lists(TEXT, min_size=1, max_size=4),
    compressed=st.booleans(),
)
def test_what_scipy_writes_is_read_as_scipy_reads_it(
    values: np.ndarray, texts: list[str], compressed: bool, tmp_path: Path
) -> None:
    path = tmp_path / "x.mat"
    cells = np.array(texts, dtype=object)[:, None]
    savemat(path, {"a": values, "cells": cells, "other": 1}, do_compression=compressed)
    found, expected = read_mat(path, ("a", "cells")), loadmat(path)
    assert found["a"].dtype == expected["a"].dtype
    np.testing.assert_array_equal(found["a"], expected["a"])
    assert found["cells"].tolist() == [str(cell.ravel()[0]) if cell.size else "" for cell in expected["cells"].ravel()]


def test_only_the_blanks_that_matlab_pads_with_are_taken_off(tmp_path: Path) -> None:
    savemat(tmp_path / "x.mat", {"cells": np.array([["\x85"], ["a\u2003"], ["b  "]], dtype=object)})
    assert read_mat(tmp_path / "x.mat", ("cells",))["cells"].tolist() == ["\x85", "a\u2003", "b"]


def test_a_table_of_characters_is_a_list_of_text(tmp_path: Path) -> None:
    savemat(tmp_path / "x.mat", {"a": np.array(["kiwi", "moa", "tūī"])})
    assert read_mat(tmp_path / "x.mat", ("a",))["a"].tolist() == ["kiwi", "moa", "tūī"]


@pytest.mark.parametrize("compressed", [False, True])
def test_memory_follows_the_decoded_size(compressed: bool, tmp_path: Path, within_limits) -> None:
    values = np.zeros((2**10, 2**16), np.uint8)
    values[:, ::32] = np.random.default_rng(0).integers(0, 256, (2**10, 2**11))  # unpacks thirtyfold, to 64 MiB
    savemat(tmp_path / "x.mat", {"a": values}, do_compression=compressed)
    del values
    with within_limits(decoded=2**26, slack=2**25):
        assert read_mat(tmp_path / "x.mat", ("a",))["a"].shape == (2**10, 2**16)


def test_zeros_that_unpack_far_are_read_where_they_are_few(tmp_path: Path) -> None:
    savemat(tmp_path / "x.mat", {"a": np.zeros((2000, 1000))}, do_compression=True)
    assert (tmp_path / "x.mat").stat().st_size < 2**15
    assert read_mat(tmp_path / "x.mat", ("a",))["a"].shape == (2000, 1000)


def test_cells_may_be_empty_text_and_a_variable_may_be_empty(tmp_path: Path) -> None:
    savemat(tmp_path / "x.mat", {"a": np.ones((2, 2)), "b": np.zeros((0, 1)), "c": np.zeros((0, 0), object)})
    assert list(read_mat(tmp_path / "x.mat", ("a",), ("b", "c"))) == ["a"], "empty is as good as absent"
    for name in "bc":
        with pytest.raises(ZSLError, match=rf"x\.mat: '{name}' is empty; check that"):
            read_mat(tmp_path / "x.mat", (name,))


def test_a_name_that_is_nearly_that_of_a_variable_is_offered(tmp_path: Path) -> None:
    savemat(tmp_path / "x.mat", {"Att": 1, "labels": 2})
    with pytest.raises(ZSLError, match=r"no variable 'att', only Att, labels \(did you mean 'Att'\?\); check"):
        read_mat(tmp_path / "x.mat", ("att",))


# Files made byte by byte.


def element(kind: int, content: bytes, length: int | None = None) -> bytes:
    return struct.pack("<II", kind, len(content) if length is None else length) + content + b"\0" * (-len(content) % 8)


def matrix(
    data: bytes = element(9, b"\0" * 16), shape: tuple[int, ...] = (2, 1), kind: int = 6, name: bytes = b"a"
) -> bytes:
    head = element(6, struct.pack("<II", kind, 0)) + element(5, struct.pack(f"<{len(shape)}i", *shape))
    return element(14, head + element(1, name) + data)


def packed(content: bytes) -> bytes:
    return element(15, zlib.compress(content))[: 8 + len(zlib.compress(content))]


HEADER = b"MATLAB 5.0".ljust(124) + struct.pack("<H", 0x0100) + b"IM"
NUMBER = element(9, b"\0" * 8)
NUMBER_CELL = matrix(NUMBER, (1, 1), name=b"")
LYING = {
    "absurd shape": matrix(shape=(2**31 - 1, 2**31 - 1)),
    "shape that is 0 in 64 bits": matrix(shape=(2**30, 2**30, 16)),
    "negative shape": matrix(shape=(-2, -1)),
    "a million dimensions": matrix(shape=(1,) * 2**20),
    "one dimension": matrix(shape=(2,)),
    "too few numbers": matrix(shape=(3, 1)),
    "half a number": matrix(element(9, b"\0" * 15)),
    "numbers of no type": matrix(element(8, b"\0" * 16)),
    "text for numbers": matrix(element(16, b"\0" * 16)),
    "element longer than the file": matrix(element(9, b"\0" * 16, 2**32 - 1)),
    "short element of nine bytes": matrix(struct.pack("<II", 9 << 16 | 9, 0)),
    "variable longer than the file": element(14, matrix()[8:], 2**31),
    "nothing in the variable": element(14, b""),
    "a thousand million cells": matrix(b"", (2**15, 2**15), 1),
    "cells without bytes": matrix(b"", (4, 1), 1),
    "cells of numbers": matrix(NUMBER_CELL * 2, (2, 1), 1),
    "cells in cells": matrix(matrix(matrix(NUMBER, (1, 1)), (1, 1), 1), (1, 1), 1),
    "empty cells": matrix(element(14, b"") * 2, (2, 1), 1),
    "struct": matrix(element(5, struct.pack("<i", 2**31 - 1)) + element(1, b"x"), (2**31 - 1, 1), 2),
    "object": matrix(element(1, b"os.system"), (1, 1), 3),
    "sparse": matrix(element(5, b"\0" * 8) * 2, (2**31 - 1, 2**31 - 1), 5),
    "function": matrix(NUMBER_CELL, (1, 1), 16),
    "opaque": element(14, element(6, struct.pack("<II", 17, 0)) + element(1, b"a") * 3),
    "complex": matrix(element(9, b"\0" * 16) * 2, (2, 1), 6 | 0x0800),
    "a thousand million characters": matrix(element(16, b"x"), (2**15, 2**15), 4),
    "characters in three dimensions": matrix(element(16, b"x" * 8), (2, 2, 2), 4),
    "characters that are not UTF-8": matrix(element(16, b"\xff\xff"), (1, 2), 4),
    "characters of numbers": matrix(element(9, b"\0" * 8), (1, 1), 4),
    "more than ten thousand variables": b"".join(matrix(b"", (0, 0), name=b"%d" % k) for k in range(10_001)),
    "a name without end": matrix(name=b"a" * 10**5),
}


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("case", LYING)
def test_a_lying_file_is_refused_in_little_memory(case: str, compressed: bool, tmp_path: Path, refused) -> None:
    content = LYING[case]
    if case.startswith("more than"):
        content = content if not compressed else packed(matrix(b"", (0, 0), name=b"b")) * 10_001
    elif compressed:
        content = packed(content)
    refused(tmp_path / "x.mat", HEADER + content)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 127,
        HEADER,
        HEADER[:-2] + b"XX",
        HEADER + element(9, b"\0" * 8),
        HEADER + packed(NUMBER),
        HEADER + packed(packed(matrix())),
        HEADER + element(15, b"no zlib!"),
        HEADER + element(15, zlib.compress(matrix())[:-8]),
        HEADER + element(15, zlib.compress(matrix())[:-4] + b"sum!"),
        HEADER + packed(matrix() + b"more than it says"),
        HEADER + packed(matrix()[:-8]),
        HEADER + struct.pack("<II", 15, 0),
        HEADER[:-2] + b"MI" + matrix(),
    ],
)
def test_a_damaged_file_is_refused(content: bytes, tmp_path: Path, refused) -> None:
    refused(tmp_path / "x.mat", content)


def test_a_compression_bomb_is_refused(tmp_path: Path, refused) -> None:
    """Five hundred million zeros, honestly declared."""
    size = 4 * 10**9
    head = matrix(struct.pack("<II", 9, size), (size // 8, 1))
    engine = zlib.compressobj(9)
    start = struct.pack("<II", 14, len(head) - 8 + size) + head[8:]
    bomb = engine.compress(start) + b"".join(engine.compress(bytes(2**20)) for _ in range(80)) + engine.flush()
    refused(tmp_path / "x.mat", HEADER + element(15, bomb)[: 8 + len(bomb)])


@pytest.mark.parametrize("compressed", [False, True])
def test_a_changed_byte_is_read_or_refused(compressed: bool, tmp_path: Path) -> None:
    """Compressed, the checksum fits the change."""
    stream, path = BytesIO(), tmp_path / "x.mat"
    cells = np.array([["kiwi"], ["moa"]], dtype=object)
    savemat(stream, {"a": np.arange(6.0).reshape(2, 3), "b": cells, "c": np.array(["x", "yz"])})
    whole, chance, outcomes = stream.getvalue(), random.Random(0), set()
    for _ in range(400):
        damaged = bytearray(whole)
        for _ in range(chance.randint(1, 3)):
            damaged[chance.randrange(128, len(whole))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        if compressed:
            damaged[128:] = packed(bytes(damaged[128:]))
        path.write_bytes(damaged)
        try:
            read_mat(path, ("a",), ("b", "c"))
            outcomes.add("read")
        except ZSLError:
            outcomes.add("refused")
    assert outcomes == {"read", "refused"} or compressed


STRING = element(14, element(6, struct.pack("<II", 17, 0)) + element(1, b"a") + element(1, b"MCOS") + NUMBER)
OTHERS = {
    "sparse": (matrix(element(5, b"\0" * 8) * 2, (2, 2), 5), r"sparse: save full\(\.\.\.\) of it"),
    "struct": (matrix(element(5, struct.pack("<i", 8)) + element(1, b"x"), (1, 1), 2), r"a struct: save its fields as"),
    "object": (matrix(element(1, b"os.system"), (1, 1), 3), r"a string array, a table or another object: save cellstr"),
    "string array": (STRING, r"a string array, a table or another object: save cellstr"),
    "complex": (matrix(element(9, b"\0" * 16) * 2, (2, 1), 6 | 0x0800), r"complex numbers: save their real parts"),
    "function": (matrix(NUMBER_CELL, (1, 1), 16), r"a function"),
    "cells of numbers": (matrix(NUMBER_CELL * 2, (2, 1), 1), r"cells that hold other things than text: save a list"),
}


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("case", OTHERS)
def test_what_is_neither_numbers_nor_text_is_named_with_what_to_do(case: str, compressed: bool, tmp_path: Path) -> None:
    content, message = OTHERS[case]
    (tmp_path / "x.mat").write_bytes(HEADER + (packed(content) if compressed else content))
    with pytest.raises(ZSLError, match=rf"x\.mat: 'a' is neither numbers nor a list of text, but {message}"):
        read_mat(tmp_path / "x.mat", ("a",))


def test_what_scipy_writes_sparse_and_as_a_struct_is_named(tmp_path: Path) -> None:
    savemat(tmp_path / "x.mat", {"a": csc_matrix(np.eye(3)), "b": {"x": 1}, "c": np.ones((2, 2))})
    for name, message in {"a": "sparse: save full", "b": "a struct: save its fields"}.items():
        with pytest.raises(ZSLError, match=rf"x\.mat: '{name}' is .*, but {message}"):
            read_mat(tmp_path / "x.mat", (name,))
    assert read_mat(tmp_path / "x.mat", ("c",))["c"].tolist() == [[1, 1], [1, 1]]


# Version 7.3.


def classed(file: h5py.File, name: str, kind: str, data: np.ndarray, **attributes: int) -> None:
    file[name] = data
    file[name].attrs["MATLAB_class"] = np.bytes_(kind)
    for key, value in attributes.items():
        file[name].attrs[key] = value


def test_version_73_names_what_it_cannot_read_and_reads_tables_of_characters(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.mat", "w", userblock_size=512) as file:
        file.create_group("sparse").attrs["MATLAB_sparse"] = np.uint64(3)
        file.create_group("struct").attrs["MATLAB_class"] = np.bytes_("struct")
        classed(file, "string", "string", np.array([[1, 2, 3]], np.uint32), MATLAB_object_decode=3)
        classed(file, "table", "table", np.array([[1, 2, 3]], np.uint32), MATLAB_object_decode=3)
        classed(file, "empty", "double", np.zeros(2, np.uint64), MATLAB_empty=1)
        classed(file, "numbers", "double", np.arange(6.0).reshape(3, 2))
        letters = np.array([list("kiwi"), list("moa ")]).view(np.uint32).astype(np.uint16).reshape(2, 4)
        classed(file, "letters", "char", letters.T)
    for name, message in {
        "sparse": "sparse: save full", "struct": "a struct: save its fields as variables",
        "string": "a string array, a table or another object: save cellstr", "table": "a string array, a table or",
    }.items():  # fmt: skip
        with pytest.raises(ZSLError, match=rf"x\.mat: '{name}' is neither .*, but {message}"):
            read_mat(tmp_path / "x.mat", (name,))
    with pytest.raises(ZSLError, match=r"'empty' is empty"):
        read_mat(tmp_path / "x.mat", ("empty",))
    found = read_mat(tmp_path / "x.mat", ("numbers", "letters"), ("empty",))
    assert sorted(found) == ["letters", "numbers"]
    assert found["letters"].tolist() == ["kiwi", "moa"]
    assert found["numbers"].tolist() == [[0, 2, 4], [1, 3, 5]]


def absurd_rows(file: h5py.File) -> None:
    file.create_dataset("a", (2**62, 3), "f8", chunks=(1, 3))


def bomb(file: h5py.File) -> None:
    file.create_dataset("a", data=np.zeros((2**11, 2**11)), chunks=(2**9, 2**11), compression="gzip")


def repeated_text(file: h5py.File) -> None:
    cell = file.create_dataset("#refs#/x", data=np.full((2**16, 1), 65, np.uint16))
    cell.attrs["MATLAB_class"] = np.bytes_("char")
    file.create_dataset("a", data=np.full((1, 500), cell.ref, dtype=h5py.ref_dtype), dtype=h5py.ref_dtype)


def reference_to_a_group(file: h5py.File) -> None:
    file.create_dataset("a", data=np.full((1, 2), file.ref, dtype=h5py.ref_dtype), dtype=h5py.ref_dtype)


def reference_to_nothing(file: h5py.File) -> None:
    file.create_dataset("a", (1, 2), dtype=h5py.ref_dtype)


def soft_link_loop(file: h5py.File) -> None:
    file["a"], file["b"] = h5py.SoftLink("/b"), h5py.SoftLink("/a")


def soft_link(file: h5py.File) -> None:
    file["b"], file["a"] = [1.0], h5py.SoftLink("/b")


def external_link(file: h5py.File) -> None:
    """To a pipe: whoever opens it waits for ever."""
    pipe = Path(file.filename).with_name("pipe")
    os.mkfifo(pipe)
    file["a"] = h5py.ExternalLink(str(pipe), "/a")


def external_storage(file: h5py.File) -> None:
    file.create_dataset("a", (4, 3), "f4", external=[("/etc/hostname", 0, 48)])


def group(file: h5py.File) -> None:
    file.create_group("a")


def compound(file: h5py.File) -> None:
    file["a"] = np.zeros((2, 2), [("x", "f4")])


def ragged(file: h5py.File) -> None:
    file.create_dataset("a", (2, 2), h5py.vlen_dtype(np.float32))[0, 0] = [1, 2]


@pytest.mark.parametrize(
    "make",
    [
        absurd_rows, bomb, repeated_text, reference_to_a_group, reference_to_nothing, soft_link_loop, soft_link,
        external_link, external_storage, group, compound, ragged,
    ],
    ids=lambda make: make.__name__,
)  # fmt: skip
def test_hostile_hdf5_is_refused(make: Callable[[h5py.File], None], tmp_path: Path, monkeypatch, refused) -> None:
    monkeypatch.setattr(mat5, "SMALL", 2**20)
    monkeypatch.setattr(matfile, "CHARACTERS", 2**20)
    with h5py.File(tmp_path / "x.mat", "w", userblock_size=512) as file:
        make(file)
    refused(tmp_path / "x.mat")


@FEW
@given(content=st.binary(max_size=300), compressed=st.booleans(), hdf5=st.booleans())
def test_any_bytes_are_read_or_refused(content: bytes, compressed: bool, hdf5: bool, tmp_path: Path) -> None:
    start = b"\x89HDF\r\n\x1a\n" if hdf5 else HEADER
    (tmp_path / "x.mat").write_bytes(start + (packed(content) if compressed else content))
    with suppress(ZSLError):
        read_mat(tmp_path / "x.mat", ("a",))
