"""Artifacts: written whole or not at all, the same bytes twice, and read without trusting what they claim."""

import hashlib
import json
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from stages.inspect import command as inspect_command
from tests.conftest import write_project
from zslcore.datasets import dataset as datasets
from zslcore.errors import ZSLError
from zslcore.io import artifacts
from zslcore.io.inspection import inspect
from zslcore.project.params import Params

ROOT = Path(__file__).resolve().parents[1]
FORMAT = artifacts.FEATURES
VALUES = np.arange(12, dtype=np.float32).reshape(4, 3)
FEW = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def write(path: Path, values: np.ndarray = VALUES) -> Path:
    """A small artifact with numbers and text."""
    with artifacts.create(path, FORMAT, {"train": {"lr": 0.1}}) as file:
        file["values"] = values
        artifacts.put_strings(file, "names", ("a", "ü\n", ""))
    return path


def read(path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    with artifacts.open_artifact(path, FORMAT) as file:
        return artifacts.array(file, "values", np.float32, ndim=2), artifacts.strings(file, "names")


def read_without_digests(path: Path) -> None:
    """What is checked of a file before its digests are."""
    with artifacts.open_hdf5(path, FORMAT) as file:
        FORMAT.check(path, artifacts.attribute(file, "format"), artifacts.attribute(file, "version"))
        artifacts.read(artifacts.dataset(file, "values", np.float32, ndim=2), ())


# Writing.


def test_what_is_written_is_read(tmp_path: Path) -> None:
    values, names = read(write(tmp_path / "a.h5"))
    np.testing.assert_array_equal(values, VALUES)
    assert names == ("a", "ü\n", "")


def test_same_inputs_same_bytes(tmp_path: Path) -> None:
    first, second = (write(tmp_path / folder / "a.h5").read_bytes() for folder in ("one", "two"))
    assert first == second
    for folder in ("one", "two"):
        artifacts.save_tensors(tmp_path / folder / "t", FORMAT, {"b": VALUES, "a": VALUES.T}, {"x": 1})
    assert (tmp_path / "one/t").read_bytes() == (tmp_path / "two/t").read_bytes()


def test_nothing_in_an_artifact_depends_on_the_time(tmp_path: Path) -> None:
    def untimed(name: str, node: h5py.Group | h5py.Dataset) -> None:
        assert not node.id.get_create_plist().get_obj_track_times(), name

    with artifacts.create(tmp_path / "a.h5", FORMAT, {}) as file:
        file["seed=0/seen/features"] = VALUES
        file["seed=0/seen/labels"] = VALUES[0]
        file.create_dataset("a/b/c", data=VALUES)
        file.create_group("d/e/f")["g"] = 1
        artifacts.put_strings(file, "x/y/names", ("a",))
    with h5py.File(tmp_path / "a.h5") as file:
        untimed("/", file["/"])
        file.visititems(untimed)
        assert len(file["seed=0/seen"]) == 2


def test_provenance_names_inputs_by_content_and_other_files_by_hash(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text("x")
    inputs = {"in": write(tmp_path / "a.h5"), "table": tmp_path / "b.csv"}
    made = artifacts.provenance(FORMAT, {"b": np.float32(1), "a": np.arange(2)}, inputs)
    with h5py.File(tmp_path / "a.h5") as file:
        content = file.attrs["content"]
    assert json.loads(str(made["inputs"])) == {"in": content, "table": hashlib.sha256(b"x").hexdigest()}
    assert made["params"] == '{"a": [0, 1], "b": 1.0}'
    assert json.loads(str(made["libraries"]))["numpy"] == np.__version__


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    before = write(tmp_path / "a.h5").read_bytes()

    def interrupted() -> None:
        with artifacts.create(tmp_path / "a.h5", FORMAT, {}) as file:
            file["values"] = VALUES
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (tmp_path / "a.h5").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]


def test_an_error_of_the_body_is_no_error_of_writing(tmp_path: Path) -> None:
    def failing(raise_error: Callable[[], object]) -> None:
        with artifacts.create(tmp_path / "a.h5", FORMAT, {}):
            raise_error()

    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        failing(lambda: torch.zeros(2, 3) @ torch.zeros(2, 3))
    with pytest.raises(ZSLError, match=r"cannot be written \(.*flush"):
        failing(lambda: h5py.h5f.flush(h5py.h5s.create_simple((2,))))


WRITERS: dict[str, str] = {
    "hdf5": "with a.create(path, a.FEATURES, {}) as file: file['values'] = values",
    "safetensors": "a.save_tensors(path, a.FEATURES, {'values': values}, {})",
    "json": "a.write_json(path, values)",
}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk_leaves_what_was_there(writer: str, tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("before")
    program = f"""
import resource, signal, sys
from pathlib import Path
import numpy as np
from zslcore.io import artifacts as a
from zslcore.errors import ZSLError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, 2**16))
path, values = Path(sys.argv[1]), np.zeros((1000, 100))
try:
    {WRITERS[writer]}
except ZSLError as error:
    print(error)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], env=environment, capture_output=True, text=True, check=True
    )
    assert "cannot be written" in done.stdout
    assert path.read_text() == "before"
    assert [found.name for found in tmp_path.iterdir()] == ["out"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    for path in (tmp_path / "file" / "a.h5", tmp_path / "folder"):
        with pytest.raises(ZSLError, match="cannot be written"):
            write(path)
    assert {path.name for path in tmp_path.iterdir()} == {"file", "folder"}


# Reading what is not what it should be.


def test_missing_truncated_foreign_and_old(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    for content, message in ((None, "no such file"), (b"", "not an HDF5"), (b"text", "not an HDF5")):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ZSLError, match=message):
            read(path)
    whole = write(path).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ZSLError, match=r"truncated.*by the step `extract`"):
        read(path)
    write(path)
    with pytest.raises(ZSLError, match=r"holds 'zsl-features', expected 'zsl-dataset'.*by the step `prepare`"):
        datasets.load(path)
    newer = artifacts.Format(FORMAT.name, FORMAT.version + 1, FORMAT.stage)
    with pytest.raises(ZSLError, match=rf"reads version {FORMAT.version + 1}"), artifacts.open_artifact(path, newer):
        pass
    with pytest.raises(ZSLError):
        read(tmp_path)


def outside(file: h5py.File) -> str:
    """Another artifact beside this one, which must not be opened through it."""
    path = Path(file.filename).with_name("outside.h5")
    write(path)
    return path.name


def external_link(file: h5py.File) -> None:
    file["values"] = h5py.ExternalLink(outside(file), "/values")


def external_group(file: h5py.File) -> None:
    file["validation_splits"] = h5py.ExternalLink(outside(file), "/")


def soft_link_loop(file: h5py.File) -> None:
    file["values"], file["loop"] = h5py.SoftLink("/loop"), h5py.SoftLink("/values")


def external_storage(file: h5py.File) -> None:
    file.create_dataset("values", (4, 3), "f4", external=[(outside(file), 0, 48)])


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((4, 3), "f4")
    layout[...] = h5py.VirtualSource(outside(file), "values", (4, 3))
    file.create_virtual_dataset("values", layout)


def references(file: h5py.File) -> None:
    file["values"] = np.array([[file.ref]], dtype=h5py.ref_dtype)


def ragged(file: h5py.File) -> None:
    file.create_dataset("values", (2, 2), h5py.vlen_dtype(np.float32))[0, 0] = [1, 2]


def compound(file: h5py.File) -> None:
    file["values"] = np.zeros((2, 2), [("x", "f4")])


def text(file: h5py.File) -> None:
    file.create_dataset("values", data=np.array([["1", "2"]], dtype=object), dtype=h5py.string_dtype())


def absurd_rows(file: h5py.File) -> None:
    file.create_dataset("values", (2**62, 3), "f4", chunks=(1, 3))


def absurd_product(file: h5py.File) -> None:
    file.create_dataset("values", (2**62, 4), "f4", chunks=(1, 4))  # 2^66 bytes: 0 in 64 bits


def bomb(file: h5py.File) -> None:
    file.create_dataset("values", data=np.zeros((2**12, 2**11), "f4"), chunks=(2**9, 2**11), compression="gzip")


def no_space(file: h5py.File) -> None:
    file["values"] = h5py.Empty("f4")


def group(file: h5py.File) -> None:
    file.create_group("values")


def one_dimension(file: h5py.File) -> None:
    file["values"] = VALUES[0]


def deep(file: h5py.File) -> None:
    file.create_group("/".join("a" * 50))


def cycle(file: h5py.File) -> None:
    file["values"] = VALUES
    file["again"] = file["/"]


def list_of_formats(file: h5py.File) -> None:
    file.attrs["format"] = ["zsl-features"] * 3


def no_format(file: h5py.File) -> None:
    file.attrs["format"] = h5py.Empty("f4")


def reference_format(file: h5py.File) -> None:
    file.attrs.create("format", file.ref, dtype=h5py.ref_dtype)


def forge(file: h5py.File) -> None:
    """Digests and content as whoever knows the format can write them."""
    with suppress(Exception):  # of what no digests can fit
        if len(file["values"].shape or ()) and len(file["values"]) < 2**13:
            file["values"].attrs["digests"] = np.zeros(len(file["values"]), "<u8")
        file.attrs["content"] = artifacts.digests.content(file)


HOSTILE: list[Callable[[h5py.File], None]] = [
    external_link, external_group, soft_link_loop, external_storage, virtual, references, ragged, compound, text,
    absurd_rows, absurd_product, bomb, no_space, group, one_dimension, deep, cycle, list_of_formats, no_format,
    reference_format,
]  # fmt: skip


@pytest.mark.parametrize("change", HOSTILE, ids=lambda change: change.__name__)
def test_hostile_hdf5_is_refused_in_little_memory(
    change: Callable[[h5py.File], None], tmp_path: Path, within_limits
) -> None:
    path = write(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        del file["values"]
        change(file)
        forge(file)
    tracemalloc.start()
    for reader in (read, read_without_digests):
        with within_limits(slack=2**25), pytest.raises(ZSLError, match=r"a\.h5"):
            reader(path)
    peak = tracemalloc.get_traced_memory()[1]  # what was asked for, used or not
    tracemalloc.stop()
    assert peak < 2**24
    with within_limits(slack=2**25), suppress(ZSLError):
        inspect(path)


def test_text_that_repeats_one_string_is_refused(tmp_path: Path, within_limits) -> None:
    path = write(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        del file["names"]
        artifacts.put_strings(file, "names", ("x" * 2**16, *["y"] * 2**12))
        artifacts.digests.seal(file)
        offset = file["names"].id.get_offset()
    content = bytearray(path.read_bytes())
    content[offset : offset + 16 * 2**12] = content[offset : offset + 16] * 2**12  # all point to the long one: 256 MiB
    path.write_bytes(content)
    with within_limits(), pytest.raises(ZSLError, match="repeats its text"):
        read(path)


def test_text_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        del file["names"]
        file["names"] = np.array([b"\xff\xfe"])
        artifacts.digests.seal(file)
    with pytest.raises(ZSLError, match="UTF-8"):
        read(path)


def test_what_a_killed_writer_left_goes_with_the_next_write(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left, other = tmp_path / f".a.h5.{ended.pid}.tmp", tmp_path / f".b.h5.{ended.pid}.tmp"
    at_work = tmp_path / f".a.h5.{os.getppid()}.tmp"
    for path in (left, other, at_work):
        path.touch()
    write(tmp_path / "a.h5")
    assert {path.name for path in tmp_path.iterdir()} == {"a.h5", other.name, at_work.name}


def test_rows_that_are_not_there(tmp_path: Path) -> None:
    with artifacts.open_artifact(write(tmp_path / "a.h5"), FORMAT) as file:
        source = artifacts.dataset(file, "values")
        np.testing.assert_array_equal(artifacts.read_rows(source, np.array([3, 0, 1, 1])), VALUES[[3, 0, 1, 1]])
        assert artifacts.read_rows(source, np.arange(0)).shape == (0, *VALUES.shape[1:])
        for rows in ([4], [0, 2**40], [-1]):
            with pytest.raises(ZSLError, match="asked for others"):
                artifacts.read_rows(source, np.array(rows))


def header(value: object, data: bytes = b"\0" * 16, length: int | None = None) -> bytes:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def tensor(shape: list[int], start: int = 0, stop: int = 16, dtype: str = "F32") -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 8,
        header({}, length=2**62),
        header({}, length=2**20),
        header(b"not JSON"),
        header(b"[" * 100_000),
        header([1]),
        header({"a": 1}),
        header({"a": tensor([4])}, data=b""),
        header({"a": tensor([2**62])}),
        header({"a": tensor([2**33, 2**33])}),
        header({"a": tensor([4], 0, 2**62)}),
        header({"a": tensor([4], 16, 0)}),
        header({"a": tensor([4], 8, 24)}),
        header({"a": tensor([4]), "b": tensor([4])}),
        header({"a": tensor([-4])}),
        header({"a": tensor([4], dtype="PICKLE")}),
        header({"a": tensor([8], dtype="BF16")}),
        header({"__metadata__": {"format": 1}, "a": tensor([4])}),
        header({"a": tensor([4])}),
    ],
)
def test_lying_safetensors_are_refused(content: bytes, tmp_path: Path, within_limits) -> None:
    (tmp_path / "w.safetensors").write_bytes(content)
    with within_limits(slack=2**25), pytest.raises(ZSLError, match=r"w\.safetensors"):
        artifacts.load_tensors(tmp_path / "w.safetensors", FORMAT)


NUMBERS = hnp.arrays(
    st.sampled_from([np.float32, np.float16, np.int64, np.uint8, np.bool_]),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5),
)


@FEW
@given(values=NUMBERS)
def test_any_array_comes_back(values: np.ndarray, tmp_path: Path) -> None:
    with artifacts.open_artifact(write(tmp_path / "a.h5", values), FORMAT) as file:
        np.testing.assert_array_equal(artifacts.array(file, "values"), values)
    artifacts.save_tensors(tmp_path / "t", FORMAT, {"values": values}, {})
    np.testing.assert_array_equal(artifacts.load_tensors(tmp_path / "t", FORMAT)["values"], values)


@FEW
@given(names=st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), max_size=5))
def test_any_text_comes_back(names: list[str], tmp_path: Path) -> None:
    with artifacts.create(tmp_path / "a.h5", FORMAT, {}) as file:
        artifacts.put_strings(file, "names", tuple(names))
    with artifacts.open_artifact(tmp_path / "a.h5", FORMAT) as file:
        assert artifacts.strings(file, "names") == tuple(names)


@FEW
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused(data: st.DataObject, tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5")
    artifacts.save_tensors(tmp_path / "t", FORMAT, {"values": VALUES}, {})
    for name, reader in ((path, read), (tmp_path / "t", lambda p: artifacts.load_tensors(p, FORMAT))):
        content = bytearray(name.read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        name.write_bytes(content[: data.draw(st.integers(0, len(content)))])
        with suppress(ZSLError):
            reader(name)
        name.unlink()


# Parameters.


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("train: !!python/object/apply:os.system [touch pwned]", "not valid YAML"),
        ("train: !include /etc/passwd", "not valid YAML"),
        ("a: &a [1]\ntrain: *a", "line 2: aliases"),
        ("a: &a [*a]", "aliases"),
        ("base: &b {lr: 1}\ntrain: {<<: *b}", "aliases"),
        ("a: 2001-99-99", "not valid YAML"),
        ("[" * 5000, "not valid YAML"),
        ("{a: " * 5000, "not valid YAML"),
        ("- " * 5000, "not valid YAML"),
        ("? [a]\n: 1", "YAML|parameter"),
        ("a: 1\na: 2", "not valid YAML"),
        ("1: 2", "unknown parameter '1'"),
        ("a: \x00", "not valid YAML"),
        ("", "names and values"),
    ],
)
def test_hostile_yaml_is_refused(
    content: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, within_limits
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(content)
    with within_limits(slack=2**25), pytest.raises(ZSLError, match=message):
        Params()
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT | st.integers(), inner, max_size=3),
    max_leaves=8,
)
IN_PARAMS = ["train", "classify", "extract", "preset", "datasets", "seeds", "gate", "device", "override"]


@FEW
@given(
    name=st.sampled_from(IN_PARAMS),
    in_data=st.sampled_from(["source", "train", "best", "fewshot", "x"]),
    junk=JUNK,
    depth=st.integers(0, 3),
)
def test_junk_in_settings_is_a_named_error(name: str, in_data: str, junk: object, depth: int, tmp_path: Path) -> None:
    for key in ("train", "best", "a")[:depth]:
        junk = {key: junk}
    for params, data in (({name: junk}, {}), ({}, {in_data: junk})):
        write_project(tmp_path, params, {"a": data}, resolve=False)
        for look in (
            lambda: Params(tmp_path).resolve("a"),
            lambda: Params(tmp_path).source("a"),
            lambda: Params(tmp_path).seeds,
            lambda: Params(tmp_path).datasets,
            lambda: Params(tmp_path).top("gate"),
            lambda: Params(tmp_path).known(),
            lambda: Params(tmp_path).origins("a"),
        ):
            with suppress(ZSLError):
                look()


@FEW
@given(content=st.text(max_size=60) | st.text(alphabet="ab:-[]{}&*!#'\"|>?% \n\t0.", max_size=60))
def test_any_text_is_parameters_or_an_error(content: str, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_bytes(content.encode("utf-8", "surrogatepass"))
    with suppress(ZSLError):
        Params(tmp_path)


# Inspecting.


def test_inspect_tells_provenance_shapes_and_ranges(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = VALUES.copy()
    values[0, 0] = np.nan
    path = write(tmp_path / "a.h5", values)
    artifacts.save_tensors(tmp_path / "t", FORMAT, {"seed=0/w": values}, {"train": {"lr": 0.1}}, {"in": path})
    found = inspect(path)
    assert (found.about["format"], found.about["version"], found.params) == (
        FORMAT.name,
        FORMAT.version,
        {"train": {"lr": 0.1}},
    )
    assert [(array.name, array.shape, array.dtype) for array in found.arrays] == [
        ("names", (3,), "text"), ("values", (4, 3), "float32"),
    ]  # fmt: skip
    assert (found.arrays[1].low, found.arrays[1].high, found.arrays[1].not_finite) == (1.0, 11.0, 1)
    inspect_command(tmp_path / "t")
    printed = capsys.readouterr().out
    for line in (
        "format: zsl-features",
        f"  in: {artifacts.identity(path)}",
        f"  numpy: {np.__version__}",
        "  train.lr: 0.1",
        "  seed=0/w: 4 × 3, float32, 1 … 11, 1 NaN or infinite",
    ):
        assert line in printed.splitlines()


def test_inspect_reads_blocks_and_prints_no_control_characters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("zslcore.io.inspection.BYTES_AT_ONCE", 20)
    with artifacts.create(tmp_path / "a.h5", FORMAT, {}) as file:
        file["\x1b[31m"] = VALUES
        file["one"], file["none"] = 7, np.empty((0, 3))
    inspect_command(tmp_path / "a.h5")
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert "4 × 3, float32, 0 … 11" in printed
    assert "one: one value, int64, 7 … 7" in printed
    assert "none: 0 × 3, float64\n" in printed


def test_inspect_refuses_what_is_no_artifact(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("hello")
    for path in (tmp_path / "a", tmp_path / "absent", tmp_path):
        with pytest.raises(ZSLError):
            inspect(path)


@pytest.mark.parametrize("name", ["metrics.json", "selection.csv"])
def test_inspect_says_that_a_result_is_text(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("{}")
    with pytest.raises(ZSLError, match=rf"^\S*{name}: text, not an artifact; open it in an editor$"):
        inspect(tmp_path / name)


def test_damaged_json_is_refused(tmp_path: Path, within_limits) -> None:
    (tmp_path / "a.json").write_text("{")
    (tmp_path / "deep.json").write_text('{"a":' * 10**5 + "1" + "}" * 10**5)
    with pytest.raises(ZSLError, match=r"a\.json: not valid JSON"):
        artifacts.read_json(tmp_path / "a.json")
    with within_limits(), suppress(ZSLError):  # what is too deep depends on Python's version
        artifacts.read_json(tmp_path / "deep.json")
