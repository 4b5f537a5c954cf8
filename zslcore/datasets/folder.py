"""A user's own images: a folder a class, a table of class signatures, and a list of the unseen classes."""

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from itertools import compress
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from zslcore.datasets.dataset import Dataset, hold_out_by_name, imageless_note, is_utf8, shown
from zslcore.datasets.image_files import is_image
from zslcore.datasets.names import Meant, by_matching, near_names
from zslcore.datasets.source import MatchNames, SplitName, SplitSeed, TestShare
from zslcore.datasets.source import Source as DataSource
from zslcore.errors import ZSLError, some, unknown
from zslcore.io.layers import validate
from zslcore.io.tables import Table, clean, read_classes, read_rows, read_table
from zslcore.signatures.describe import Recipe, describe
from zslcore.signatures.encoders import MINILM
from zslcore.signatures.source import Source
from zslcore.signatures.texts import ClassTexts, for_classes, read_texts

ROLES = ("trainval", "test_unseen", "ignored")
KNOWN = "; a class has a folder of images; an unseen one may have a description alone"


class FolderSource(DataSource):
    """Your own images: a folder a class, their signatures, and which are unseen.

    A class is called after its folder. `image_attributes` is a CSV with a header: the first column the image as
    `class/file.jpg`, the others what is visible in it, under the same names as in `signatures`.
    """

    kind: ClassVar[str] = "folder"
    images: Path = Field(description="Folder with one folder a class, images directly in it.")
    signatures: Path | None = Field(
        None, description="CSV with a header: first column the class, then its signature; or give --descriptions."
    )
    descriptions: Path | None = Field(
        None, description="Texts about the classes: CSV class,text, JSON, or a folder of <class>.txt."
    )
    encoder: str = Field(MINILM, description="What reads them: tfidf, clip:MODEL, a model's name or its folder.")
    template: str = Field("{text}", description="What it reads: {name} is the class's name, {text} a text.")
    unseen: Path = Field(description="Unseen classes, one a line, or CSV class,split (trainval, test_unseen, ignored).")
    image_attributes: Path | None = Field(
        None, description="What is visible in each image, in the signature's entries: .csv."
    )
    match_names: MatchNames = False
    test_share: TestShare = 0.2
    split_seed: SplitSeed = 0
    split_name: SplitName = None

    @model_validator(mode="after")
    def _texts_alone_have_an_encoder(self) -> "FolderSource":
        """data/<name>.yaml, which holds what is set, does not name an encoder that reads nothing."""
        if self.descriptions is None:
            self.model_fields_set.difference_update(("encoder", "template"))
        return self

    def files(self) -> tuple[Path, ...]:
        """The tables; the images themselves are read by the extraction."""
        given = (self.signatures, self.descriptions, self.unseen, self.image_attributes)
        return tuple(path for path in given if path is not None)

    def load(self, name: str, root: Path) -> Dataset:
        """List the images, read the tables and check that they have the same classes.

        Raises ZSLError naming the file or folder, what is wrong with it and what to do.
        """
        images, unseen_file = root / self.images, root / self.unseen
        folders = class_folders(images)
        table = self._table(root)
        of_table, of_list = (Meant(path, folders, self.match_names) for path in (table.path, unseen_file))
        described = of_table.all(table.names)
        without_folder = tuple(row for row in described if row not in folders)
        unseen, ignored = read_unseen(unseen_file, tuple(folders), of_list, without_folder)
        lacking = [known for known in folders if known not in {*described, *ignored}]
        if lacking:
            hint = "; the first line should be a header" if table.corner in folders else ""
            rest = [row for row in described if row not in folders]
            near, way = near_names(lacking, rest), by_matching(lacking, rest)
            what = "text" if self.signatures is None else "signature"
            raise ZSLError(f"{table.path}: no {what} for {some(lacking)}{hint}{near}; add one row a class{way}")
        classes = tuple(known for known in described if known in {*folders, *unseen} and known not in ignored)
        listed = [list_files(folders[known]) if known in folders else ([], []) for known in classes]
        files = [images_of for images_of, _ in listed]
        others = [file for _, others_of in listed for file in others_of]
        deeper = [file for known in classes if known in folders for file in images_below(folders[known])]
        empty = [known for known, images_of in zip(classes, files, strict=True) if not images_of]
        inner = {known: len(images_below(folders[known])) if known in folders else 0 for known in empty}
        imageless = [known for known in empty if known in unseen and not inner[known]]
        if empty := [known for known in empty if known not in imageless]:
            below = sum(inner[known] for known in empty)
            inside = f" ({below} in folders within: move them up)" if below else ""
            raise ZSLError(f"{images}: no images directly in {some(empty)}{inside}; remove these folders, or fill them")
        labels = np.repeat(np.arange(len(classes)), [len(images_of) for images_of in files])
        is_unseen = np.isin(labels, [classes.index(known) for known in unseen])
        if is_unseen.all():
            raise ZSLError(f"{unseen_file}: no seen class is left; leave at least two out")
        keys = [f"{file.parent.name}/{file.name}" for images_of in files for file in images_of]
        seen_rows = np.flatnonzero(~is_unseen)
        trainval, test_seen = hold_out_by_name(labels, classes, keys, seen_rows, self.test_share, self.split_seed)
        attributes = _image_attributes(root / self.image_attributes, keys, table) if self.image_attributes else None
        sources, notes = self._sources(root, table, described, classes, [known not in unseen for known in classes])
        notes += [*of_table.notes(), *of_list.notes(), *imageless_note(imageless)]
        spare = [row for row in described if row not in classes]
        if spare and self.signatures is not None:  # of texts alone `for_classes` says it
            notes.append(f"{table.path}: {len(spare)} rows describe no class in use; left out: {some(spare)}")
        if others:
            suffixes = Counter(file.suffix.lower() or "without one" for file in others)
            counts = ", ".join(f"{count} {suffix}" for suffix, count in suffixes.most_common(5))
            notes.append(
                f"{images}: {len(others)} files are no images by their suffix ({counts}), the first {others[0]}; left "
                "out"
            )
        if deeper:
            notes.append(
                f"{images}: {len(deeper)} images in folders within the classes' folders, the first {deeper[0]}; left "
                "out: move them up into the folder of their class"
            )
        try:
            return Dataset(
                name=name,
                classes=classes,
                signatures=next(iter(sources.values())).values,
                labels=labels,
                trainval=trainval,
                test_seen=test_seen,
                test_unseen=np.flatnonzero(is_unseen),
                image_files=tuple((self.images / key).as_posix() for key in keys),
                image_attributes=attributes,
                attribute_names=table.columns,
                split_name=self.split_name or "own split",
                notes=tuple(notes),
                sources=sources,
                imageless=np.array([classes.index(known) for known in imageless], np.int64),
            )
        except ZSLError as error:
            raise ZSLError(f"{images} with {table.path} and {unseen_file}: {error}") from error

    def _table(self, root: Path) -> Table:
        """The table of signatures; of texts alone their names, with no column."""
        if self.signatures is not None:
            return read_table(root / self.signatures)
        if self.descriptions is None:
            raise ZSLError("nothing describes the classes: give --signatures, --descriptions, or both")
        names = tuple(read_texts(root / self.descriptions).texts)
        return Table(root / self.descriptions, "class", names, (), np.empty((len(names), 0), np.float32))

    def _sources(
        self, root: Path, table: Table, described: tuple[str, ...], classes: tuple[str, ...], seen: list[bool]
    ) -> tuple[dict[str, Source], list[str]]:
        """Signatures by name, and notes. described: the class that each row of the table means."""
        sources: dict[str, Source] = {}
        notes: list[str] = []
        if self.signatures is not None:
            sources["attributes"] = Source(table.values[[described.index(known) for known in classes]])
        if self.descriptions is not None:
            texts = read_texts(root / self.descriptions)
            meant = Meant(root / self.descriptions, classes, self.match_names)
            means = dict(zip(texts.texts, meant.all(tuple(texts.texts)), strict=True))
            texts = ClassTexts(
                texts.where,
                {means[known]: some for known, some in texts.texts.items()},
                {means[known]: name for known, name in texts.names.items()},
                texts.notes,
            )
            texts, notes = for_classes(texts, classes)
            recipe = validate(Recipe, {"encoder": self.encoder, "templates": (self.template,)}, "source")
            sources["text"], more = describe(texts, seen, recipe)
            notes += more + (meant.notes() if self.signatures is not None else [])
        return sources, notes


def class_folders(images: Path) -> dict[str, Path]:
    """Class name -> folder, in the order of names; hidden folders are skipped.

    Raises ZSLError when there is no such folder, it has no folders in it or only such with folders of images in them,
    a name is not UTF-8, or two differ in spaces only.
    """
    try:
        paths = sorted(path for path in images.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise ZSLError(f"{images}: cannot be listed ({error.strerror}); give the folder of the images") from error
    if not paths:
        raise ZSLError(f"{images}: holds no folders; put each class's images into a folder of the class's name")
    folders: dict[str, Path] = {}
    for path in paths:
        if not is_utf8(path.name):
            raise ZSLError(f"{images}: the name of the folder {shown(path.name)} is not UTF-8; rename it")
        if clean(path.name) in folders:
            raise ZSLError(f"{path}: the class name is also that of {folders[clean(path.name)]}; rename one")
        folders[clean(path.name)] = path
    if not any(list_files(path)[0] for path in paths) and (deep := [image for path in paths for image in _first(path)]):
        raise ZSLError(
            f"{images}: holds no class's images, but folders of folders of them ({deep[0]}); give the folder in which "
            f"the classes' folders are, such as {deep[0].parents[1]}"
        )
    return folders


def images_below(folder: Path) -> list[Path]:
    """The images in folders within a folder, at any depth, in order; hidden ones and links are skipped."""
    inner = sorted(
        path for path in folder.iterdir() if path.is_dir() and not path.is_symlink() and not path.name.startswith(".")
    )
    return [image for path in inner for image in (*list_files(path)[0], *images_below(path))]


def _first(folder: Path) -> list[Path]:
    return images_below(folder)[:1]


def list_files(folder: Path) -> tuple[list[Path], list[Path]]:
    """The (images, other files) directly in a folder, in the order of names; hidden ones are skipped."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    image = [is_image(path.name) for path in files]
    return list(compress(files, image)), [path for path, known in zip(files, image, strict=True) if not known]


def read_unseen(
    path: Path, classes: tuple[str, ...], meant: Callable[[str], str] = str, imageless: tuple[str, ...] = ()
) -> tuple[set[str], set[str]]:
    """The (unseen, ignored) classes, from a list of unseen ones or a table `class,split`, whatever it is called.

    meant: the class that a name in the file means, or the name. imageless: classes that may be unseen, and no more.
    Raises ZSLError when a name is no class, is repeated, or (in a table) a class is missing or its split unknown.
    """
    if path.suffix.lower() != ".csv" and not _is_split_table(path):
        every = (*classes, *imageless)
        return {every[k] for k in read_classes(path, every, meant, KNOWN)}, set()
    rows = read_rows(path)
    _, header = next(rows)
    if [name.lower() for name in header] != ["class", "split"]:
        raise ZSLError(
            f"{path}: the header is {','.join(header)}, expected class,split; a list of the unseen classes, one a "
            "line, is called .txt"
        )
    roles: dict[str, tuple[str, int]] = {}
    for line, (written, role) in rows:
        name = meant(written)
        if role not in ROLES:
            raise ZSLError(f"{path}: line {line}: {unknown('split', role, ROLES)}")
        if name in roles:
            before, first = roles[name]
            conflict = "" if role == before else f", as {role} and as {before} (line {first})"
            raise ZSLError(f"{path}: line {line}: class {name!r} appears twice{conflict}; leave one")
        if name not in classes and role != "ignored" and not (name in imageless and role == "test_unseen"):
            raise ZSLError(f"{path}: line {line}: {unknown('class', name, classes, most=10)}{KNOWN}")
        roles[name] = role, line
    if missing := [name for name in classes if name not in roles]:
        near = near_names(missing, [name for name in roles if name not in classes])
        raise ZSLError(f"{path}: nothing about {some(missing)}{near}; add a line each, `ignored` to leave a class out")
    unseen, ignored = ({name for name, (given, _) in roles.items() if given == role} for role in ROLES[1:])
    if not unseen:
        raise ZSLError(f"{path}: no class is test_unseen; zero-shot learning needs at least one unseen class")
    return unseen, ignored


def _is_split_table(path: Path) -> bool:
    with suppress(ZSLError):  # said by whoever reads it
        for _, header in read_rows(path):
            return [name.lower() for name in header] == ["class", "split"]
    return False


def _image_attributes(path: Path, keys: list[str], signatures: Table) -> NDArray[np.float32]:
    """Rows (n, a) of an image table in the order of `keys`, columns in the order of the signatures."""
    table = read_table(path)
    if set(table.columns) != set(signatures.columns):
        other = sorted(set(table.columns) - set(signatures.columns))
        differing = sorted(set(table.columns) ^ set(signatures.columns))
        near = near_names(other, set(signatures.columns) - set(table.columns))
        raise ZSLError(
            f"{path}: its columns and those of {signatures.path} differ in {some(differing)}{near}; use the same"
        )
    rows = {name.replace("\\", "/"): row for row, name in enumerate(table.names)}
    rows |= {name: row for row, name in enumerate(table.names)}
    if missing := [key for key in keys if clean(key) not in rows]:
        near = near_names(missing, set(rows) - set(map(clean, keys)))
        raise ZSLError(f"{path}: no row for {some(missing)}{near}; add one row an image, called class/file")
    order = [table.columns.index(column) for column in signatures.columns]
    return table.values[[rows[clean(key)] for key in keys]][:, order]
