"""A user's own images and tables: what loads, and what is said about each mistake in them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zslcore.datasets.dataset import Dataset
from zslcore.datasets.folder import FolderSource
from zslcore.errors import ZSLError
from zslcore.io.layers import validate
from zslcore.io.tables import read_table
from zslcore.signatures.compose import Composition

NAMES = ("kiwi", "moa", "tūī", "weka")
SIGNATURES = "class,size,colour\nweka,0.1,1\nkiwi,0.5,-2e-1\nmoa,1,0\ntūī,0.2,3\n"


def write(folder: Path, signatures: str = SIGNATURES, unseen: str = "moa\n", name: str = "unseen.txt") -> FolderSource:
    """A small correct set, with the tables given."""
    for position, class_name in enumerate(NAMES):
        (folder / "images" / class_name).mkdir(parents=True, exist_ok=True)
        for number in range(3 + position):
            (folder / "images" / class_name / f"{number}.jpg").touch()
    (folder / "signatures.csv").write_text(signatures, encoding="utf-8")
    (folder / name).write_text(unseen, encoding="utf-8")
    return FolderSource(images="images", signatures="signatures.csv", unseen=name)


def load(folder: Path, **tables: Any) -> Dataset:
    return write(folder, **tables).load("birds", folder)


def test_given_signatures_are_called_what_they_are(tmp_path: Path) -> None:
    source = write(tmp_path)
    assert list(source.dataset("birds", tmp_path).sources) == ["attributes"]
    data = source.model_copy(update={"call": "sentences"}).dataset("birds", tmp_path)
    assert list(data.sources) == ["sentences"]
    assert Composition().label(data.sources) == "sentences"
    with pytest.raises(ZSLError, match=r"call"):
        validate(FolderSource, {**source.model_dump(exclude_unset=True), "call": "two words"}, "source")


def test_a_folder_loads_in_the_order_of_its_signatures(tmp_path: Path) -> None:
    data = load(tmp_path)
    assert data.classes == ("weka", "kiwi", "moa", "tūī")
    np.testing.assert_allclose(data.signatures, [[0.1, 1], [0.5, -0.2], [1, 0], [0.2, 3]], rtol=1e-6)
    assert data.attribute_names == ("size", "colour")
    assert np.bincount(data.labels).tolist() == [6, 3, 4, 5]
    assert data.image_files[:2] == ("images/weka/0.jpg", "images/weka/1.jpg")
    assert data.image_files[-1] == "images/tūī/4.jpg"
    assert data.unseen.tolist() == [2]
    assert np.bincount(data.labels[data.test_seen], minlength=4).tolist() == [1, 1, 0, 1]
    assert data.features is None
    assert data.notes == ()


def test_the_seed_decides_the_seen_test_images(tmp_path: Path) -> None:
    first, again = load(tmp_path), load(tmp_path)
    np.testing.assert_array_equal(first.test_seen, again.test_seen)
    others = [
        write(tmp_path).model_copy(update={"split_seed": seed}).load("birds", tmp_path).test_seen
        for seed in range(1, 6)
    ]
    assert any(not np.array_equal(first.test_seen, other) for other in others)


def test_hidden_files_are_skipped_and_suffixes_may_be_capitals(tmp_path: Path) -> None:
    write(tmp_path)
    for name in ("moa/A.JPG", "moa/b.Png", "moa/.hidden.jpg", "moa/Thumbs.db", ".git/x.jpg", "loose.jpg"):
        (tmp_path / "images" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "images" / name).touch()
    data = load(tmp_path)
    moa = [file for file, label in zip(data.image_files, data.labels, strict=True) if label == 2]
    assert moa == [f"images/moa/{name}" for name in ("0.jpg", "1.jpg", "2.jpg", "3.jpg", "A.JPG", "b.Png")]
    assert len(data.notes) == 1
    assert "1 files are no images by their suffix" in data.notes[0]
    assert "Thumbs.db" in data.notes[0]


def test_names_match_in_either_unicode_form(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "images/tūī").rename(tmp_path / "images/tu\u0304i\u0304")
    data = FolderSource(images="images", signatures="signatures.csv", unseen="unseen.txt").load("birds", tmp_path)
    assert data.classes[3] == "tūī"
    assert data.image_files[-1] == "images/tu\u0304i\u0304/4.jpg"


def test_a_table_of_splits_may_ignore_classes(tmp_path: Path) -> None:
    table = "class,split\nkiwi,trainval\nmoa,test_unseen\ntūī,ignored\nweka,trainval\ndodo,ignored\n"
    data = load(tmp_path, unseen=table, name="splits.csv")
    assert data.classes == ("weka", "kiwi", "moa")
    assert data.unseen.tolist() == [2]
    assert "1 rows describe no class in use" in data.notes[0]


def test_texts_alone_are_called_texts_and_what_is_left_out_is_said_once(tmp_path: Path) -> None:
    table = "class,text\nweka,brown bird\nkiwi,round bird\ntūī,blue bird\nmoa,tall bird\n"
    write(tmp_path)
    source = FolderSource(images="images", descriptions="texts.csv", encoder="tfidf", unseen="unseen.txt")
    (tmp_path / "texts.csv").write_text(table + "dodo,grey\n", encoding="utf-8")
    assert [note for note in source.load("birds", tmp_path).notes if "dodo" in note] == [
        f"{tmp_path / 'texts.csv'}: texts of classes not in use are left out: 'dodo'"
    ]
    (tmp_path / "texts.csv").write_text(table.replace("kiwi,round bird\n", ""), encoding="utf-8")
    with pytest.raises(ZSLError, match=r"texts\.csv: no text for 'kiwi'; add one row"):
        source.load("birds", tmp_path)


def test_a_spreadsheets_byte_order_mark_and_blank_lines_are_no_matter(tmp_path: Path) -> None:
    data = load(
        tmp_path, signatures="\ufeff" + SIGNATURES.replace("\n", "\r\n") + "\r\n,,\r\n", unseen="\ufeffmoa\r\n\r\n"
    )
    assert data.classes == ("weka", "kiwi", "moa", "tūī")


HEADER = "class,split\n"
SPLITS = "kiwi,trainval\nmoa,test_unseen\ntūī,trainval\nweka,trainval\n"


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"signatures": SIGNATURES.replace("moa,1,0\n", "")}, r"signatures\.csv: no signature for 'moa'; add one row"),
        (
            {"signatures": SIGNATURES.partition("\n")[2]},
            r"signatures\.csv: no signature for 'weka'; the first line should be a header",
        ),
        (
            {"signatures": SIGNATURES.replace("-2e-1", "big")},
            r"signatures\.csv: line 3, column 'colour' \('kiwi'\): 'big' is no finite number",
        ),
        ({"signatures": SIGNATURES.replace("-2e-1", "nan")}, r"line 3, column 'colour' \('kiwi'\): 'nan' is no finite"),
        (
            {"signatures": SIGNATURES.replace("-2e-1", "1e99")},
            r"line 3, column 'colour' \('kiwi'\): '1e99' is no finite",
        ),
        ({"signatures": SIGNATURES.replace("-2e-1", "")}, r"line 3, column 'colour' \('kiwi'\): an empty cell is no"),
        ({"signatures": SIGNATURES.replace(",-2e-1", "")}, r"signatures\.csv: line 3 has 2 cells, the header 3"),
        ({"signatures": SIGNATURES + "moa,3,3\n"}, r"signatures\.csv: name 'moa' appears twice"),
        ({"signatures": SIGNATURES.replace("colour", "size")}, r"signatures\.csv: column 'size' appears twice"),
        ({"signatures": SIGNATURES.replace(",", " ")}, r"signatures\.csv: only one column; separate"),
        ({"signatures": "class,size\n"}, r"signatures\.csv: a header and no rows"),
        ({"signatures": ""}, r"signatures\.csv: the file is empty"),
        ({"signatures": 'class,a\n"x'}, r"signatures\.csv: not a CSV file in UTF-8"),
        ({"unseen": "mao\n"}, r"unseen\.txt: unknown class 'mao': did you mean 'moa'\?"),
        ({"unseen": "moa\nmoa\n"}, r"unseen\.txt: class 'moa' appears twice"),
        ({"unseen": ""}, r"unseen\.txt: the list is empty"),
        ({"unseen": "\n".join(NAMES)}, r"unseen\.txt: no seen class is left"),
        ({"unseen": "moa\nkiwi\nweka\n"}, r"only one seen class"),
        ({"unseen": SPLITS, "name": "s.csv"}, r"s\.csv: the header is kiwi,trainval, expected class,split"),
        (
            {"unseen": HEADER + SPLITS.replace("moa,test_unseen", "moa,unseen"), "name": "s.csv"},
            r"s\.csv: line 3: unknown split 'unseen': did you mean 'test_unseen'\?",
        ),
        ({"unseen": HEADER + SPLITS + "moa,trainval\n", "name": "s.csv"}, r"s\.csv: line 6: class 'moa' appears twice"),
        ({"unseen": HEADER + SPLITS + "dodo,trainval\n", "name": "s.csv"}, r"s\.csv: line 6: unknown class 'dodo'"),
        ({"unseen": "rail\n"}, r"unknown class 'rail': .*an unseen one may have a description alone"),
        (
            {"unseen": HEADER + SPLITS.replace("weka,trainval\n", ""), "name": "s.csv"},
            r"s\.csv: nothing about 'weka'; add a line each",
        ),
        (
            {"unseen": HEADER + SPLITS.replace("moa,test_unseen", "moa,trainval"), "name": "s.csv"},
            r"s\.csv: no class is test_unseen",
        ),
    ],
)
def test_a_mistake_in_a_table_is_named(tables: dict[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ZSLError, match=message):
        load(tmp_path, **tables)


@pytest.mark.parametrize("table", [False, True])
@pytest.mark.parametrize("empty_folder", [False, True])
def test_an_unseen_class_may_have_no_image(empty_folder: bool, table: bool, tmp_path: Path) -> None:
    unseen = "class,split\nkiwi,trainval\nweka,trainval\ntūī,trainval\nmoa,test_unseen\nrail,test_unseen\n"
    settings = write(
        tmp_path,
        signatures=SIGNATURES + "rail,2,2\nspare,3,3\n",
        unseen=unseen if table else "moa\nrail\n",
        name="unseen.csv" if table else "unseen.txt",
    )
    if empty_folder:
        (tmp_path / "images/rail").mkdir()
    data = settings.load("birds", tmp_path)
    assert [data.classes[k] for k in data.unseen] == ["moa", "rail"]
    assert [data.classes[k] for k in data.imageless] == ["rail"]
    assert "spare" not in data.classes
    assert any("1 unseen classes have no image ('rail'): they compete" in note for note in data.notes)


def test_a_mistake_in_the_folders_is_named(tmp_path: Path) -> None:
    settings = write(tmp_path)
    (tmp_path / "images/new").mkdir()
    with pytest.raises(ZSLError, match=r"signatures\.csv: no signature for 'new'"):
        settings.load("birds", tmp_path)
    (tmp_path / "signatures.csv").write_text(SIGNATURES + "new,1,1\n", encoding="utf-8")
    (tmp_path / "images/new/deeper").mkdir()
    with pytest.raises(ZSLError, match=r"images: no images directly in 'new'"):
        settings.load("birds", tmp_path)
    (tmp_path / "images/moa ").mkdir()
    with pytest.raises(ZSLError, match=r"moa : the class name is also that of .*moa; rename one"):
        settings.load("birds", tmp_path)
    (tmp_path / "images/moa ").rmdir()
    for images, message in (("absent", r"absent: cannot be listed"), ("images/kiwi", r"kiwi: holds no folders")):
        with pytest.raises(ZSLError, match=message):
            settings.model_copy(update={"images": Path(images)}).load("birds", tmp_path)
    for table in ("signatures", "unseen"):
        with pytest.raises(ZSLError, match=r"absent: no such file"):
            settings.model_copy(update={table: Path("absent")}).load("birds", tmp_path)
        with pytest.raises(ZSLError, match=r"images: cannot be read \(Is a directory\)"):
            settings.model_copy(update={table: Path("images")}).load("birds", tmp_path)


def test_image_attributes_follow_images_and_columns_by_name(tmp_path: Path) -> None:
    settings = write(tmp_path).model_copy(update={"image_attributes": Path("visible.csv")})
    files = write(tmp_path).load("birds", tmp_path).image_files
    rows = {file.removeprefix("images/"): (position, -position) for position, file in enumerate(files)}
    lines = [f"{image},{minus},{plus}" for image, (plus, minus) in reversed(rows.items())]
    (tmp_path / "visible.csv").write_text("\n".join(["image,colour,size", *lines]), encoding="utf-8")
    data = settings.load("birds", tmp_path)
    assert data.image_attributes is not None
    np.testing.assert_array_equal(data.image_attributes, [[k, -k] for k in range(len(files))])
    (tmp_path / "visible.csv").write_text("\n".join(["image,colour,size", *lines[1:]]), encoding="utf-8")
    with pytest.raises(ZSLError, match=r"visible\.csv: no row for 'tūī/4\.jpg'"):
        settings.load("birds", tmp_path)
    (tmp_path / "visible.csv").write_text("\n".join(["image,colour,length", *lines]), encoding="utf-8")
    with pytest.raises(ZSLError, match=r"visible\.csv: its columns and those of .* differ in 'length', 'size'"):
        settings.load("birds", tmp_path)


@pytest.mark.realdata
def test_the_real_flowers(real_data: Path) -> None:
    settings = FolderSource(
        images="flo/images", signatures="flo/class_embeddings.csv", unseen="flo/classes.csv", test_share=0.2
    )
    data = settings.load("flo", real_data)
    assert (len(data.image_files), len(data.seen), len(data.unseen)) == (1246, 71, 18)
    assert data.signatures.shape == (89, 1024)
    np.testing.assert_allclose(np.linalg.norm(data.signatures, axis=1), 1, atol=1e-4)
    assert set(data.test_seen) | set(data.trainval) | set(data.test_unseen) == set(range(1246))
    for file, label in zip(data.image_files, data.labels, strict=True):
        assert file.split("/")[-2] == data.classes[label]
    table = read_table(real_data / "flo/class_embeddings.csv")
    np.testing.assert_array_equal(table.values, data.signatures)


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        (
            {"signatures": SIGNATURES.replace("moa,", "Moa,").replace("kiwi", "02.ki wi")},
            r"no signature for 'kiwi', 'moa' \(there is '02\.ki wi' for 'kiwi', 'Moa' for 'moa'\); add one row",
        ),
        ({"unseen": "Moa\n"}, r"unknown class 'Moa': did you mean 'moa'\?"),
        ({"unseen": "MOA\n"}, r"unknown class 'MOA': did you mean 'moa'\?"),
        (
            {"unseen": HEADER + SPLITS.replace("weka,trainval", "Weka,ignored"), "name": "s.csv"},
            r"nothing about 'weka' \(there is 'Weka' for 'weka'\)",
        ),
        (
            {"unseen": HEADER + SPLITS + "moa,trainval\n", "name": "s.csv"},
            r"line 6: class 'moa' appears twice, as trainval and as test_unseen \(line 3\); leave one",
        ),
        (
            {"signatures": SIGNATURES.replace(",-2e-1", ",a word")},
            r"line 3, column 'colour' \('kiwi'\): 'a word' is no finite number; correct it, or leave the column out",
        ),
    ],
)
def test_a_name_that_is_nearly_right_is_offered(tables: dict[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ZSLError, match=message):
        load(tmp_path, **tables)


def test_a_table_of_splits_is_known_by_its_header(tmp_path: Path) -> None:
    expected = load(tmp_path, unseen=HEADER + SPLITS, name="s.csv")
    for name, header, delimiter in (("s.txt", HEADER, ","), ("s.tsv", HEADER, "\t"), ("s", "Class,Split\n", ";")):
        data = load(tmp_path, unseen=(header + SPLITS).replace(",", delimiter), name=name)
        np.testing.assert_array_equal(data.unseen, expected.unseen)
        np.testing.assert_array_equal(data.test_seen, expected.test_seen)


def test_the_names_of_image_attributes_may_have_backslashes_and_near_ones_are_offered(tmp_path: Path) -> None:
    settings = write(tmp_path).model_copy(update={"image_attributes": Path("visible.csv")})
    keys = [file.removeprefix("images/") for file in write(tmp_path).load("birds", tmp_path).image_files]

    def visible(names: list[str], columns: str = "size,colour") -> None:
        rows = [f"{name},{row},0" for row, name in enumerate(names)]
        (tmp_path / "visible.csv").write_text("\n".join([f"image,{columns}", *rows]), encoding="utf-8")

    visible([key.replace("/", "\\") for key in keys])
    data = settings.load("birds", tmp_path)
    assert data.image_attributes is not None
    assert data.image_attributes[:, 0].tolist() == list(range(len(keys)))
    visible([key.replace(".jpg", ".JPG") for key in keys])
    with pytest.raises(ZSLError, match=r"no row for 'weka/0\.jpg', .* \(there is 'weka/0\.JPG' for 'weka/0\.jpg'"):
        settings.load("birds", tmp_path)
    visible(keys, "Size,colour")
    with pytest.raises(ZSLError, match=r"differ in 'Size', 'size' \(there is 'size' for 'Size'\); use the same"):
        settings.load("birds", tmp_path)


def test_images_in_folders_within_a_class_are_counted(tmp_path: Path) -> None:
    write(tmp_path)
    for name in ("moa/2024/a.jpg", "moa/2024/deep/b.png", "kiwi/more/c.jpg", "kiwi/.hidden/d.jpg", "kiwi/more/e.txt"):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / name).touch()
    (note,) = load(tmp_path).notes
    assert "3 images in folders within the classes' folders, the first" in note
    assert note.count("kiwi/more/c.jpg") == 1
    assert "move them up" in note


def test_a_folder_one_level_too_high_names_the_right_one(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "images").rename(tmp_path / "photos/all")
    settings = FolderSource(images="photos", signatures="signatures.csv", unseen="unseen.txt")
    with pytest.raises(ZSLError, match=r"photos: holds no class's images, but folders of .* such as .*/photos/all$"):
        settings.load("birds", tmp_path)


def test_what_is_left_out_is_counted_by_suffix(tmp_path: Path) -> None:
    write(tmp_path)
    for name in ("a.svg", "b.svg", "c.txt", "d"):
        (tmp_path / "images/moa" / name).touch()
    (note,) = load(tmp_path).notes
    assert "4 files are no images by their suffix (2 .svg, 1 .txt, 1 without one)" in note


def test_sorting_or_adding_a_class_moves_nobody_else_s_split(tmp_path: Path) -> None:
    def drawn(data: Dataset) -> dict[str, set[str]]:
        held = [data.image_files[row] for row in data.test_seen]
        return {name: {file for file in held if file.split("/")[-2] == name} for name in data.classes}

    first = drawn(load(tmp_path))
    head, *rows = SIGNATURES.splitlines()
    assert drawn(load(tmp_path, signatures="\n".join([head, *sorted(rows)]))) == first
    (tmp_path / "images/huia").mkdir()
    for number in range(9):
        (tmp_path / f"images/huia/{number}.jpg").touch()
    more = drawn(load(tmp_path, signatures="\n".join([head, "huia,3,4", *rows])))
    assert len(more.pop("huia")) == 2
    assert more == first
    other = drawn(load(tmp_path, signatures="\n".join([head, "huia,3,4", *rows]), unseen="weka\n"))
    assert other["tūī"] == first["tūī"]


def test_seen_classes_of_one_image_each_leave_none_for_test_seen(tmp_path: Path) -> None:
    settings = write(tmp_path)
    for path in (tmp_path / "images").glob("*/*.jpg"):
        if path.name != "0.jpg":
            path.unlink()
    with pytest.raises(
        ZSLError, match=r"split test_seen is empty; .* a seen class of a single image keeps it for trainv"
    ):
        settings.load("birds", tmp_path)


def test_a_class_whose_images_are_all_one_level_down_is_told_so(tmp_path: Path) -> None:
    settings = write(tmp_path)
    (tmp_path / "images/moa/2024").mkdir()
    for path in (tmp_path / "images/moa").glob("*.jpg"):
        path.rename(path.parent / "2024" / path.name)
    (tmp_path / "images/moa/loop").symlink_to("..")
    (tmp_path / "images/kiwi/2024").mkdir()
    (tmp_path / "images/kiwi/2024/x.jpg").touch()
    with pytest.raises(ZSLError, match=r"no images directly in 'moa' \(4 in folders within: move them up\); remove"):
        settings.load("birds", tmp_path)


def test_a_folder_whose_name_is_not_utf_8_is_named(tmp_path: Path) -> None:
    settings = write(tmp_path)
    (tmp_path / "images/caf\udce9").mkdir()
    with pytest.raises(ZSLError, match=r"images: the name of the folder 'caf\\xe9' is not UTF-8; rename it"):
        settings.load("birds", tmp_path)


def test_near_names_are_matched_when_asked_for_all_said(tmp_path: Path) -> None:
    source = write(tmp_path, SIGNATURES.replace("kiwi", "01 Ki-Wi").replace("moa", "MOA") + "dodo,1,2\n")
    with pytest.raises(
        ZSLError, match=r"no signature for 'kiwi', 'moa' .*; add one row a class, or give --match-names"
    ):
        source.load("birds", tmp_path)
    (tmp_path / "unseen.txt").write_text("1.moa\n")
    data = source.model_copy(update={"match_names": True}).load("birds", tmp_path)
    plain = load(tmp_path)
    assert data.classes == plain.classes
    np.testing.assert_array_equal(data.signatures, plain.signatures)
    for split in ("trainval", "test_seen", "test_unseen"):
        np.testing.assert_array_equal(getattr(data, split), getattr(plain, split))
    of_table, of_list, left_out = data.notes
    assert "2 names matched, please read them:\n  '01 Ki-Wi' is class 'kiwi'\n  'MOA' is class 'moa'" in of_table
    assert "unseen.txt: 1 names matched, please read them:\n  '1.moa' is class 'moa'" in of_list
    assert "left out: 'dodo'" in left_out


def test_two_rows_of_one_class_are_refused_however_they_are_written(tmp_path: Path) -> None:
    source = write(tmp_path, SIGNATURES + "MOA,1,2\n").model_copy(update={"match_names": True})
    with pytest.raises(ZSLError, match=r"signatures\.csv: 'moa' and 'MOA' are both class 'moa'; leave one"):
        source.load("birds", tmp_path)
