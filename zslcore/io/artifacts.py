"""Every HDF5 and safetensors file of the project: its format, written atomically, the same bytes for the same inputs.

An artifact carries root attributes `format`, `version`, `created_by`, `params` (JSON), `inputs` (JSON), `libraries`
(JSON) and `content`. Nothing in it depends on the time or on the machine's name, so equal files have equal bytes.

It knows what it holds and what it was made of. Each row of an array has a digest (`digests.py`), checked whenever that
row is read; `content` is the digest of all of them and of the attributes, checked when the file is opened. `inputs`
holds, by name, the `content` of each artifact it was made of, and the SHA-256 of any other file. So to ask whether an
artifact was made of the one next to it, or of one that the caller names, is to compare two attributes, however large
both files are.
"""

import glob
import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from pathlib import Path
from traceback import walk_tb
from typing import Any

import h5py
import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from zslcore.errors import BadFile, StaleFile, ZSLError
from zslcore.io import digests

MAX_OBJECTS, MAX_DEPTH = 100_000, 8  # of an HDF5 file; the project's own have a few dozen, three deep
TEXT_AT_ONCE = 2**28  # bytes that a block of strings may decode to at most
UNREADABLE = (OSError, RuntimeError, ValueError, TypeError, KeyError, OverflowError, MemoryError)  # what h5py raises

PACKAGE = Path(__file__).resolve().parents[1]
LIBRARIES = ("numpy", "h5py", "torch", "timm", "scikit-learn", "scipy", "pillow")


@dataclass(frozen=True)
class Format:
    """A kind of artifact: its name, its version, and the stage that writes it.

    remedy: what to do with a bad one, where no stage writes it.
    """

    name: str
    version: int
    stage: str
    remedy: str = ""

    def bad(self, path: Path, problem: str) -> BadFile:
        """An error for a file that should be of this kind."""
        return BadFile(path, problem, self.stage, self.remedy)

    def check(self, path: Path, name: str | int | None, version: str | int | None) -> None:
        """Raise BadFile unless a file of this format and version was found."""
        if name != self.name:
            raise self.bad(path, f"holds '{name}', expected '{self.name}'")
        if version != self.version:
            problem = f"{self.name} version {version}, this program reads version {self.version}"
            if isinstance(version, int) and version > self.version:
                raise BadFile(path, problem, remedy="a newer program wrote it: update this one")
            raise self.bad(path, problem)


DATASET = Format("zsl-dataset", 2, "prepare")
FEATURES = Format("zsl-features", 2, "extract")
FINETUNED = Format("zsl-finetuned", 2, "finetune")
TRAINED = Format("zsl-trained", 1, "train")
SYNTHETIC = Format("zsl-synthetic", 2, "generate")
SCORES = Format("zsl-scores", 2, "classify")
MODEL = Format("zsl-model", 2, "classify")
METHOD = Format("zsl-method", 2, "fit", "fit the method and save it: Method(settings).fit(train, seed).save(path)")
CHECKPOINT = Format("zsl-checkpoint", 2, "fit", "delete it to train from the start")
PACKAGED = Format("zsl-packaged-model", 1, "package", "copy it once more from where it came, or run `zsl package`")
CLASSIFIERS = Format("zsl-classifiers", 1, "predict", "delete it: they are trained once more")
FORMATS = (DATASET, FEATURES, FINETUNED, TRAINED, SYNTHETIC, SCORES, MODEL, METHOD, CHECKPOINT, PACKAGED, CLASSIFIERS)
"""Every kind of artifact. `tests/artifacts` keeps one of each version ever released."""


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`; on success it takes the final name, on failure it is removed.

    What killed processes have left of theirs is removed, too. Raises ZSLError when the folder cannot be written or the
    disk is full; `path` is untouched then.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _write_error(path, error) from error
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        writer = left.name.split(".")[-2]
        if writer.isdigit() and not alive(int(writer)):
            left.unlink(missing_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with open(temporary, "rb") as stream:
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise _write_error(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def alive(process: int) -> bool:
    """Whether a process of this number runs on this machine."""
    try:
        os.kill(process, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def _write_error(path: Path, error: OSError) -> ZSLError:
    reason = error.strerror or str(error)
    return ZSLError(f"{path}: cannot be written ({reason}); free disk space or check the permissions, then run again")


def write_text(path: Path, text: str) -> None:
    """Write a small text file (UTF-8) atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write JSON with sorted keys, two spaces, a final newline: a diff shows what changed."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, default=_plain) + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def read_json(path: Path) -> Any:
    """Read a JSON file. Raises BadFile when it is missing or damaged."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadFile(path, "no such file") from error
    except (ValueError, RecursionError, OSError) as error:
        raise BadFile(path, f"not valid JSON ({error})") from error


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@cache
def library_versions() -> dict[str, str]:
    """Versions of the libraries whose arithmetic reaches an artifact."""
    versions = {}
    for name in LIBRARIES:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions


@cache
def code(package: Path = PACKAGE) -> str:
    """SHA-256 of a package's source files; by default of all of zslcore."""
    whole = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        whole.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes())
    return whole.hexdigest()


def provenance(
    format: Format, params: Mapping[str, Any], inputs: Mapping[str, Path] | None = None
) -> dict[str, str | int]:
    """The root attributes every artifact carries, HDF5 and safetensors alike, but for `content`."""
    hashes = {name: identity(path) for name, path in (inputs or {}).items()}
    return {
        "format": format.name,
        "version": format.version,
        "created_by": format.stage,
        "params": json.dumps(params, sort_keys=True, default=_plain),
        "inputs": json.dumps(hashes, sort_keys=True),
        "libraries": json.dumps(library_versions(), sort_keys=True),
    }


def identity(path: Path) -> str:
    """What `inputs` record of a file: the `content` of an artifact, of any other file the SHA-256 of its bytes.

    Raises BadFile for a damaged artifact.
    """
    content = None
    if path.suffix == ".safetensors":
        content = open_tensors(path)[0].get("content")
    elif path.suffix == ".h5" and h5py.is_hdf5(path):
        with open_hdf5(path) as file:
            content = attribute(file, "content")
    return str(content or sha256(path))


def _check_inputs(path: Path, format: Format, recorded: Any, given: Mapping[str, Path]) -> None:
    """Raise StaleFile where an artifact was not made of the artifacts next to it, or of those given by the caller.

    recorded: JSON of what it was made of, name -> identity; what it does not name is not compared. An input `name` is
    `name.h5` or `name.safetensors` next to it; where both are there, one must be the recorded one.
    """
    try:
        inputs = dict(json.loads(recorded))
    except (TypeError, ValueError, RecursionError) as error:
        raise format.bad(path, f"damaged ({error})") from error
    for name, was in inputs.items():
        others = [path.with_name(f"{name}{suffix}") for suffix in (".h5", ".safetensors")] if "/" not in name else []
        for files in (others, [given[name]] if name in given else []):
            there = {file: identity(file) for file in files if file.exists()}
            if there and was not in there.values():
                other, now = next(iter(there.items()))
                problem = f"made of another {name} ({str(was)[:12]}) than {other} ({now[:12]}): of other data, or older"
                raise StaleFile(path, problem, format.stage, format.remedy)


class _Writer(h5py.File):  # type: ignore[misc]
    """Creates groups one by one: HDF5 stamps those it makes on the way to something with the time of day."""

    def flush(self) -> None:
        """Record the digests of what was written, then write all of it to disk."""
        digests.seal(self)
        super().flush()

    def create_group(self, name: str | bytes, **options: Any) -> h5py.Group:
        *parents, last = os.fsdecode(name).strip("/").split("/")
        if not parents:
            return super().create_group(last, **options)
        return self.require_group("/".join(parents)).create_group(last, **options)

    def __setitem__(self, name: str, value: Any) -> None:
        if "/" in name.strip("/"):
            self.require_group(name.strip("/").rpartition("/")[0])
        super().__setitem__(name, value)


@contextmanager
def create(
    path: Path, format: Format, params: Mapping[str, Any], inputs: Mapping[str, Path] | None = None
) -> Iterator[h5py.File]:
    """Create an artifact: yields an open HDF5 file that takes its final name only once complete.

    params: the resolved parameters it is made with. inputs: the files it is made from, by a stable name.
    Raises ZSLError when it cannot be written.
    """
    attributes = provenance(format, params, inputs)
    with atomic(Path(path)) as temporary:
        try:
            with _Writer(temporary, "w", libver="v110", locking=False) as file:  # nobody else knows its name
                file.attrs.update(attributes)
                yield file
                file.flush()
        except RuntimeError as error:  # h5py reports a full disk at close as a RuntimeError
            if not _raised_by_h5py(error):
                raise
            raise OSError(str(error)) from error


def _raised_by_h5py(error: RuntimeError) -> bool:
    """Whether h5py raised it, rather than what else stands in the body of a `with`: training, say."""
    *_, (frame, _) = walk_tb(error.__traceback__)
    return str(frame.f_globals.get("__name__")).startswith("h5py.")


@contextmanager
def open_artifact(path: Path, format: Format, inputs: Mapping[str, Path] | None = None) -> Iterator[h5py.File]:
    """Open an artifact for reading, after checking that it is complete, of this format and version, and up to date.

    inputs: files that it should have been made of, by name; those next to it are asked in any case.
    Raises BadFile, which says which stage writes it; StaleFile where it was made of something else.
    """
    path = Path(path)
    with open_hdf5(path, format) as file:
        format.check(path, attribute(file, "format"), attribute(file, "version"))
        try:
            content = digests.content(file)
        except UNREADABLE as error:
            raise format.bad(path, f"damaged ({error})") from error
        if attribute(file, "content") != content:
            raise format.bad(path, "damaged: its attributes or digests are not those that were written")
        _check_inputs(path, format, attribute(file, "inputs"), inputs or {})
        yield file


def open_file(path: Path) -> h5py.File:
    """Open an HDF5 file for reading, without a lock where the file system has none: NFS, a read-only mount.

    The project's own files are never written in place, so that a reader needs no lock. Raises OSError.
    """
    try:
        return h5py.File(path, "r")
    except OSError as error:
        try:
            return h5py.File(path, "r", locking=False)
        except OSError:
            raise error from None


ANY = Format("any", 1, "")
"""A file of no kind in particular."""


@contextmanager
def open_hdf5(path: Path, format: Format = ANY) -> Iterator[h5py.File]:
    """Open any HDF5 file for reading that keeps to itself: no link in it leads elsewhere, few objects, not deep.

    format: what it should be, for messages; it is not checked. Raises BadFile when it is missing, damaged or does not.
    """
    path = Path(path)
    if not path.exists():
        raise format.bad(path, "no such file")
    try:
        file = open_file(path)
    except OSError as error:
        reason = "truncated or damaged" if path.is_file() and h5py.is_hdf5(path) else "not an HDF5 file, or cut short"
        raise format.bad(path, reason) from error
    with file:
        try:
            _check_links(file)
        except UNREADABLE as error:
            raise format.bad(path, f"damaged ({error})") from error
        yield file


def _check_links(file: h5py.File) -> None:
    """Refuse what a reader must not follow: external and soft links, and trees without an end."""
    count, waiting = 0, [(file, 0)]
    while waiting:
        group, depth = waiting.pop()
        for name in group:
            count += 1
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise _bad(file, f"'{name}' is a link, not data")
            child = group[name]
            if isinstance(child, h5py.Group):
                waiting.append((child, depth + 1))
            if count > MAX_OBJECTS or depth > MAX_DEPTH:
                raise _bad(file, "too many or too deep groups")


def _bad(node: h5py.File | h5py.Group | h5py.Dataset, problem: str) -> BadFile:
    """An error about an open file, by the stage it names as its maker."""
    return BadFile(Path(node.file.filename), problem, str(attribute(node.file, "created_by") or ""))


def attribute(file: h5py.File | h5py.Group, name: str) -> str | int | None:
    """A root attribute that is one text or one whole number; None where it is absent or anything else."""
    try:
        if name not in file.attrs or file.attrs.get_id(name).shape != ():
            return None
        value = file.attrs[name]
    except UNREADABLE:
        return None
    return value if isinstance(value, str) else int(value) if isinstance(value, np.integer) else None


def save_tensors(
    path: Path,
    format: Format,
    tensors: Mapping[str, NDArray[Any]],
    params: Mapping[str, Any],
    inputs: Mapping[str, Path] | None = None,
) -> None:
    """Write named arrays as safetensors, atomically, with the same attributes as an HDF5 artifact."""
    plain = {name: np.asarray(value, order="C") for name, value in sorted(tensors.items())}
    about = provenance(format, params, inputs) | {"digests": digests.of_arrays(plain)}
    # One entry: the library writes several in an order that changes from one call to the next.
    metadata = {"provenance": json.dumps(about | {"content": digests.of_json(about)}, sort_keys=True)}
    with atomic(Path(path)) as temporary:  # bytes, for the library's own files are readable by their owner alone
        temporary.write_bytes(safetensors.numpy.save(plain, metadata))


def load_tensors(path: Path, format: Format) -> dict[str, NDArray[Any]]:
    """The arrays that `save_tensors` wrote; see `read_tensors`."""
    return read_tensors(path, format)[1]


def read_tensors(path: Path, format: Format) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Parameters and arrays that `save_tensors` wrote.

    Raises BadFile when the file is missing, damaged, or of another format or version; StaleFile where it was made of
    something else than the artifacts next to it.
    """
    path = Path(path)
    attributes, tensors = open_tensors(path, format)
    format.check(path, attributes.get("format"), attributes.get("version"))
    about = {name: value for name, value in attributes.items() if name != "content"}
    if attributes.get("content") != digests.of_json(about):
        raise format.bad(path, "damaged: its attributes or digests are not those that were written")
    now = digests.of_arrays(tensors)
    if now != about.get("digests"):
        known = dict(about.get("digests") or {})
        damaged = next((name for name in now if now[name] != known.get(name)), "an array")
        raise format.bad(path, f"'{damaged}' is damaged: its bytes are not those that were written")
    _check_inputs(path, format, about.get("inputs"), {})
    try:
        return dict(json.loads(attributes["params"])), tensors
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise format.bad(path, f"damaged ({error})") from error


def open_tensors(path: Path, format: Format = ANY) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Attributes and arrays of any safetensors file. Raises BadFile for anything else.

    format: what it should be, for messages; it is not checked.
    """
    try:
        with safetensors.safe_open(str(path), framework="numpy") as file:
            attributes = json.loads((file.metadata() or {}).get("provenance", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no iterator here
        return dict(attributes), tensors
    except FileNotFoundError as error:
        raise format.bad(path, "no such file") from error
    except (*UNREADABLE, AttributeError, RecursionError, safetensors.SafetensorError) as error:
        raise format.bad(path, f"damaged, or not a safetensors file ({error})") from error


def under(tensors: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    """The arrays whose names start with `prefix`, without it. Raises ZSLError when there is none."""
    arrays = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    if not arrays:
        raise ZSLError(f"no weights of '{prefix.rstrip('/')}' in the file; it was made with other seeds")
    return arrays


def params(path: Path, format: Format) -> dict[str, Any]:
    """The parameters an HDF5 artifact was made with."""
    with open_artifact(path, format) as file:
        return params_of(file)


def params_of(file: h5py.File) -> dict[str, Any]:
    """The same, of one that is open."""
    parameters: dict[str, Any] = json.loads(str(attribute(file, "params")))
    return parameters


def array(file: h5py.File | h5py.Group, name: str, dtype: Any = None, ndim: int | None = None) -> NDArray[Any]:
    """Read one whole data set of numbers.

    Raises ZSLError when it is absent, is no plain data set of this file, has another type or rank, or is damaged.
    """
    source = dataset(file, name, dtype, ndim)
    values = np.asarray(read(source, ()))
    _compare(source, digests.of_rows(values))
    return values


def verify(file: h5py.File | h5py.Group, name: str) -> None:
    """Raise ZSLError unless a data set of numbers or text is as it was written; it is read a block at a time."""
    source = file[name]
    try:
        now = digests.of_dataset(source)
    except UNREADABLE as error:
        raise _bad(file, f"'{name}' is damaged ({error})") from error
    _compare(source, now)


def _compare(
    source: h5py.Dataset,
    now: NDArray[np.uint64],
    rows: NDArray[np.int64] | None = None,
    known: NDArray[np.uint64] | None = None,
) -> None:
    """Raise BadFile unless these are the digests a data set was written with. rows: of which rows, None: of all."""
    try:
        known = digests.stored(source) if known is None else known
    except UNREADABLE as error:
        raise _bad(source, f"'{source.name}' is damaged ({error})") from error
    wrong = np.flatnonzero(now != (known if rows is None else known[rows]))
    if len(wrong):
        row = int(wrong[0] if rows is None else rows[wrong[0]])
        where = f" in row {row}" if len(known) > 1 else ""
        raise _bad(source, f"'{source.name}' is damaged{where}: its bytes are not those that were written")


def dataset(file: h5py.File | h5py.Group, name: str, dtype: Any = None, ndim: int | None = None) -> h5py.Dataset:
    """One data set of an artifact, unread: checked to be stored in this very file, in the size it claims.

    dtype: what its numbers must be safe to take as, None for any numbers, `str` for text.
    """
    try:
        entry = file.get(name)
        if not isinstance(entry, h5py.Dataset) or entry.shape is None:
            raise _bad(file, f"'{name}' is missing")
        if entry.external or entry.is_virtual:
            raise _bad(file, f"'{name}' is not stored in the file itself")
        kind, shape = entry.dtype, entry.shape
        claimed, stored = math.prod(shape) * kind.itemsize, entry.id.get_storage_size()
        whole = file.file.id.get_filesize()
    except UNREADABLE as error:
        raise _bad(file, f"'{name}' is damaged ({error})") from error
    if not claimed <= stored <= whole:
        raise _bad(file, f"'{name}' claims {claimed} bytes, {stored} are stored in a file of {whole}")
    if ndim is not None and len(shape) != ndim:
        raise _bad(file, f"'{name}' has {len(shape)} dimensions, expected {ndim}")
    if dtype is str:
        fits = h5py.check_string_dtype(kind) is not None
    else:
        fits = kind.kind in "biuf" and (dtype is None or np.can_cast(kind, dtype, casting="same_kind"))
    if not fits:
        expected = "text" if dtype is str else "numbers" if dtype is None else np.dtype(dtype)
        raise _bad(file, f"'{name}' holds {kind}, expected {expected}")
    return entry


def read(source: h5py.Dataset, selection: Any) -> Any:
    """`source[selection]`; ZSLError where the stored bytes are damaged."""
    try:
        return source[selection]
    except UNREADABLE as error:
        raise _bad(source, f"'{source.name}' is damaged ({error})") from error


def read_rows(source: h5py.Dataset, rows: NDArray[np.int64], known: NDArray[np.uint64] | None = None) -> NDArray[Any]:
    """Rows of a data set, in the order asked for, touching no others: contiguous runs are read one by one.

    known: the digests of all its rows, where the caller has read them already. Raises ZSLError for rows that the data
    set lacks, and where one of them is damaged.
    """
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]
    if len(rows) and not (ordered[0] >= 0 and ordered[-1] < len(source)):
        raise _bad(source, f"'{source.name}' has {len(source)} rows, asked for others")
    out = np.empty((len(rows), *source.shape[1:]), dtype=source.dtype)
    starts = np.flatnonzero(np.diff(ordered, prepend=-2) != 1)
    for start, stop in pairwise([*starts, len(ordered)]):
        out[order[start:stop]] = read(source, slice(ordered[start], ordered[stop - 1] + 1))
    _compare(source, digests.of_rows(out), rows, known)
    return out


def strings(file: h5py.File | h5py.Group, name: str) -> tuple[str, ...]:
    """Read a data set of strings."""
    source = dataset(file, name, str, ndim=1)
    whole = file.file.id.get_filesize()  # of which no honest file repeats a string's bytes, so all of them fit in it
    block = max(1, TEXT_AT_ONCE // whole)
    values: list[str] = []
    length = 0
    for start in range(0, len(source), block):
        for value in read(source, slice(start, start + block)):
            length += len(value)
            if length > whole:
                raise _bad(file, f"'{name}' repeats its text")
            try:
                values.append(value.decode("utf-8") if isinstance(value, bytes) else str(value))
            except UnicodeDecodeError as error:
                raise _bad(file, f"'{name}' is not UTF-8") from error
    _compare(source, digests.of_text(value.encode() for value in values))
    return tuple(values)


def put_strings(file: h5py.File | h5py.Group, name: str, values: tuple[str, ...]) -> None:
    """Write a data set of UTF-8 strings."""
    file.create_dataset(name, data=np.array(values, dtype=object), dtype=h5py.string_dtype())
