"""`zsl import`: a new data set is there completely and usable, or everything is as it was."""

import difflib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import typer
from huggingface_hub import constants
from PIL import Image
from pydantic import Field
from ruamel.yaml import YAML
from scipy.io import savemat
from typer.testing import CliRunner

from stages import import_data, prepare, resolve
from tests.conftest import make_dataset
from zslcore.datasets import dataset as datasets
from zslcore.datasets import registry
from zslcore.datasets.dataset import Dataset
from zslcore.datasets.source import Source
from zslcore.errors import ZSLError
from zslcore.project import import_data as imports
from zslcore.project.edit import with_name, with_source, with_values
from zslcore.project.import_data import with_extras
from zslcore.project.params import Params
from zslcore.signatures.source import Source as Signatures

xlsa17, folder = (import_data.COMMANDS[kind] for kind in ("xlsa17", "folder"))
BIRDS = ("kiwi", "moa", "weka", "huia", "kea")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with this project's settings, which is the working folder."""
    folder = tmp_path / "project"
    (folder / "data").mkdir(parents=True)
    shutil.copyfile(ROOT / "params.yaml", folder / "params.yaml")
    for file in (ROOT / "data").glob("*.yaml"):
        shutil.copyfile(file, folder / "data" / file.name)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(autouse=True)
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A hub that answers, if only to say that it has nothing, in place of the one that may or may not be in reach."""
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        yield
        server.shutdown()


@pytest.fixture
def pair(tmp_path: Path, toy: Dataset) -> Path:
    """A folder with the toy data set in the benchmark's format, and one list of validation classes; read-only."""
    folder = tmp_path / "downloads"
    folder.mkdir()
    assert toy.features is not None
    savemat(
        folder / "res101.mat", {"features": toy.features.T, "labels": toy.labels[:, None] + 1.0}, do_compression=True
    )
    savemat(
        folder / "att_splits.mat",
        {
            "att": toy.signatures.T,
            "allclasses_names": np.array(toy.classes, dtype=object)[:, None],
            **{f"{split}_loc": getattr(toy, split)[:, None] + 1.0 for split in datasets.SPLITS},
        },
        do_compression=True,
    )
    (folder / "valclasses1.txt").write_text("class 1\nclass 2\n", encoding="utf-8")
    for path in folder.iterdir():
        path.chmod(0o444)
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of images with its tables; read-only, as archives often are."""
    folder = tmp_path / "photos"
    for position, name in enumerate(BIRDS):
        (folder / "pictures" / name).mkdir(parents=True)
        for number in range(3):
            picture = Image.new("RGB", (8, 8), (position, number, 0))
            picture.save(folder / "pictures" / name / f"{number}.JPG", "PNG")
        (folder / "pictures" / name / ".DS_Store").touch()
        (folder / "pictures" / name).chmod(0o555)
    rows = [f"{name},{position},{position * position}" for position, name in enumerate(BIRDS, 1)]
    (folder / "words.csv").write_text("\n".join(["class,a,b", *rows]), encoding="utf-8")
    (folder / "new.txt").write_text("moa\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize("reached", [True, False])
def test_a_backbone_is_one_whose_weights_can_be_had(
    reached: bool, project: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if not reached:
        monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    folder(photos / "pictures", photos / "new.txt", "mine", signatures=photos / "words.csv", no_dvc=True)
    expected = "resnet101.tv_in1k" if reached else "tf_efficientnet_lite0"
    assert Params().resolve("mine").pipeline.extract.backbone == expected
    assert ("resnet101.tv_in1k are not on this machine" in capsys.readouterr().err) is not reached


def add_pair(pair: Path, name: str = "toy", **options: object) -> None:
    xlsa17(pair / "res101.mat", pair / "att_splits.mat", name, **{"no_dvc": True, **options})


def everything(folder: Path) -> dict[str, bytes]:
    """Relative path -> content of all files below a folder, .git and DVC's temporary files left out."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not {".git", ".dvc"} & set(path.relative_to(folder).parts)
    }


def test_a_pair_is_copied_entered_and_can_be_prepared(project: Path, pair: Path, toy: Dataset) -> None:
    add_pair(pair)
    home = project / "data/toy"
    assert sorted(path.name for path in home.iterdir()) == [
        "features-res101.mat",
        "splits-att_splits.mat",
        "validation_classes1-valclasses1.txt",
    ]
    assert os.access(home / "features-res101.mat", os.W_OK)
    assert not list((project / "data").glob(".*"))
    params = Params()
    assert params.datasets[-1] == "toy"
    assert params.source("toy") == {
        "kind": "xlsa17",
        "features": "data/toy/features-res101.mat",
        "splits": "data/toy/splits-att_splits.mat",
        "validation_classes": ["data/toy/validation_classes1-valclasses1.txt"],
        "signatures": "att",
    }
    shutil.rmtree(pair)  # nothing of it is needed any more
    resolve.command("toy")
    prepare.command("toy")
    data = datasets.load(Path("artifacts/toy/dataset.h5"), with_features=True)
    np.testing.assert_array_equal(data.features, toy.features)
    np.testing.assert_allclose(data.signatures, toy.signatures, rtol=1e-6)
    for split in datasets.SPLITS:
        np.testing.assert_array_equal(getattr(data, split), getattr(toy, split))
    assert [held_out.tolist() for held_out in data.validation_splits] == [[1, 2]]


def test_a_folder_is_copied_without_hidden_files(project: Path, photos: Path) -> None:
    folder(
        photos / "pictures", photos / "new.txt", "mine", signatures=photos / "words.csv", test_share=0.4, no_dvc=True
    )
    files = set(everything(project / "data/mine"))
    images = {f"images/{name}/{number}.JPG" for name in BIRDS for number in range(3)}
    assert files == images | {"signatures-words.csv", "unseen-new.txt"}
    source = Params().source("mine")
    assert not {"descriptions", "encoder", "template"} & set(source)  # no text is read
    data = registry.source(source, "sources").load("mine", Path())
    assert data.image_files[0] == "data/mine/images/kiwi/0.JPG"
    assert Path(data.image_files[0]).read_bytes() == (photos / "pictures/kiwi/0.JPG").read_bytes()
    assert len(data.test_seen) == 4


def test_features_of_ones_own_are_copied_once_and_prepared(project: Path, tmp_path: Path, toy: Dataset) -> None:
    assert toy.features is not None
    names = np.array(toy.classes)
    np.savez(tmp_path / "all.npz", features=toy.features.astype(np.float64), labels=names[toy.labels])
    rows = (",".join([name, *map(str, row)]) for name, row in zip(names, toy.signatures, strict=True))
    columns = ",".join(f"a{k}" for k in range(toy.signatures.shape[1]))
    (tmp_path / "signatures.csv").write_text("\n".join([f"class,{columns}", *rows]))
    (tmp_path / "u.txt").write_text("\n".join(names[toy.unseen]))
    file = str(tmp_path / "all.npz")
    given = ["features", "--features", file, "--labels", file, "--signatures", str(tmp_path / "signatures.csv")]
    done = CliRunner().invoke(
        import_data.app, [*given, "--unseen", str(tmp_path / "u.txt"), "--name", "mine", "--no-dvc"]
    )
    assert done.exit_code == 0, done.output
    assert set(everything(project / "data/mine")) == {"features1-all.npz", "signatures.csv", "unseen-u.txt"}
    (tmp_path / "all.npz").unlink()
    resolve.command("mine")
    prepare.command("mine")
    data = datasets.load(Path("artifacts/mine/dataset.h5"), with_features=True)
    np.testing.assert_array_equal(data.features, toy.features)
    np.testing.assert_array_equal(data.labels, toy.labels)
    np.testing.assert_array_equal(data.test_unseen, toy.test_unseen)
    assert len(data.test_seen) == 24  # a fifth of twelve, of twelve classes


def add_photos(photos: Path, **options: object) -> None:
    given = {"signatures": photos / "words.csv", "no_dvc": True, **options}
    folder(photos / "pictures", photos / "new.txt", "mine", **given)


class Unready:
    """What a later stage would refuse, one method a fault of the photographs."""

    def __init__(self, photos: Path) -> None:
        self.photos, self.moa = photos, photos / "pictures/moa"
        self.moa.chmod(0o755)

    def too_few_seen_classes(self) -> None:
        (self.photos / "new.txt").write_text("moa\nkea\n")

    def a_name_that_is_not_utf_8(self) -> None:
        shutil.copyfile(self.moa / "0.JPG", self.moa / "caf\udce9.jpg")

    def a_name_that_is_not_utf_8_of_what_is_no_image(self) -> None:
        (self.moa / "caf\udce9.txt").touch()

    def a_table_whose_name_is_not_utf_8(self) -> None:
        (self.photos / "words.csv").rename(self.photos / "w\udce9.csv")

    def a_copy_whose_name_is_too_long(self) -> None:
        (self.photos / "new.txt").rename(self.photos / f"{'n' * 250}.txt")

    def heic(self) -> None:
        (self.moa / "IMG_1.jpg").write_bytes(b"\0\0\0\x24ftypheic" + bytes(99))

    def a_web_page(self) -> None:
        (self.moa / "3.png").write_bytes(b"<!doctype html>")

    def nothing(self) -> None:
        (self.moa / "3.png").touch()


REFUSED = {
    "too_few_seen_classes": r"3 seen classes; .* needs at least 4: .* in data/mine\.yaml .*`train: \{epochs: 60\}`",
    "a_name_that_is_not_utf_8": r"1 names that are not UTF-8, the first of a file: '.*/moa/caf\\xe9\.jpg'; rename them",
    "a_name_that_is_not_utf_8_of_what_is_no_image": r"1 files have names that are not UTF-8: '.*caf\\xe9\.txt'; rename",
    "a_table_whose_name_is_not_utf_8": r"1 files have names that are not UTF-8: '.*/w\\xe9\.csv'; rename them",
    "a_copy_whose_name_is_too_long": r"its copy unseen-n*\.txt would have a name of more than 255 bytes; rename it",
    "heic": r"1 of 16 images cannot be read:\n  .*/moa/IMG_1\.jpg: a HEIC image: `pip install pillow-heif`",
    "a_web_page": r"1 of 16 images cannot be read:\n  .*/moa/3\.png: a web page \(HTML\)",
    "nothing": r"moa/3\.png: the file is empty \(0 bytes\)\nmend or remove them, or write `extract: .*skip\}` into",
}


@pytest.mark.parametrize("fault", REFUSED)
def test_what_a_later_stage_would_refuse_is_refused_before_a_file_is_copied(
    fault: str, project: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    getattr(Unready(photos), fault)()
    before = everything(project)
    monkeypatch.setattr(imports.shutil, "copyfile", lambda *paths: pytest.fail("copied"))
    tables = [next(photos.glob(f"{letter}*.*")) for letter in "wn"]
    with pytest.raises(ZSLError, match=REFUSED[fault]):
        folder(photos / "pictures", tables[1], "mine", signatures=tables[0], no_dvc=True)
    assert everything(project) == before


def test_too_few_seen_classes_are_taken_where_nothing_is_left_to_choose(
    project: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The way out that the refusal names: it is followed to the letter, as far as the stage `prepare`."""
    Unready(photos).too_few_seen_classes()
    (project / "data/mine.yaml").write_text("train: {epochs: 60}\nclassify: {calibration: 0}\n")
    add_photos(photos)
    assert "mine: note: 3 seen classes are too few to choose on" in capsys.readouterr().err
    resolve.command("mine")
    prepare.command("mine")
    assert len(datasets.load(Path("artifacts/mine/dataset.h5")).seen) == 3


def test_unreadable_images_are_listed_and_taken_where_they_are_skipped(
    project: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Unready(photos).heic()
    (project / "data/mine.yaml").write_text("extract: {on_bad_image: skip}\n")
    add_photos(photos)
    noted = capsys.readouterr().err
    assert "1 of 16 images cannot be read:\n" in noted
    assert "moa/IMG_1.jpg: a HEIC image" in noted
    for number in range(3):
        (photos / f"pictures/moa/{number}.JPG").write_bytes(b"")
    with pytest.raises(ZSLError, match="split test_unseen is empty"):
        add_photos(photos, replace=True)


def test_what_is_worth_knowing_is_said_and_a_dry_run_changes_nothing(
    project: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kea = photos / "pictures/kea"
    kea.chmod(0o755)
    shutil.copyfile(photos / "pictures/moa/0.JPG", kea / "copy.jpg")
    (kea / "2024").mkdir()
    shutil.copyfile(photos / "pictures/kiwi/0.JPG", kea / "2024/x.jpg")
    (photos / "words.csv").write_text("class,a,b\nkiwi,0,0\nmoa,1,0\nweka,2,0\nhuia,3,0\nkea,1e30,0\n")
    before = everything(project)
    add_photos(photos, dry_run=True)
    assert everything(project) == before
    said = capsys.readouterr().err
    for note in (
        "1 images in folders within the classes' folders, the first",
        "1 class has a signature of zeros, which says nothing: 'kiwi'",
        "of 2 attributes 1 never varies: 'b'",
        "1 value is far outside the rest of the attribute: 1e+30 of 'kea' in 'a'",
        "1 group of identical images in two classes:",
    ):
        assert note in said
    assert "mine: 16 images (" in said
    assert said.strip().endswith("4 seen and 1 unseen classes, 2 attributes; nothing was changed (--dry-run)")
    add_photos(photos)
    assert "Next: dvc repro" in capsys.readouterr().err


def test_every_other_line_of_the_parameters_stays(project: Path, pair: Path) -> None:
    before = (project / "params.yaml").read_text(encoding="utf-8")
    add_pair(pair)
    after = (project / "params.yaml").read_text(encoding="utf-8")
    lines = list(difflib.ndiff(before.splitlines(), after.splitlines()))
    assert [line for line in lines if line.startswith(("- ", "+ "))] == ["+ - toy"]


def test_edits_leave_comments_and_long_lines_as_they_are() -> None:
    long = f"  long: {'word ' * 60}end\n"
    text = f"datasets: [a] # c\n\n# next\ntrain:\n  lr: 0.5\n{long}override: {{}} # o\n"
    assert with_name(text, "b") == text.replace("[a]", "[a, b]")
    assert with_name(text, "a") == text
    text = f"# head\nbest: {{train: {{lr: 0.5}}}} # b\ntrain:\n{long}"
    source = with_source(text, {"kind": "folder", "unseen": "u.txt"})
    assert {"# head\n", "best: {train: {lr: 0.5}} # b\n", long} <= set(source.splitlines(keepends=True))
    assert YAML(typ="safe").load(source)["source"] == {"kind": "folder", "unseen": "u.txt"}
    assert next(line for line in source.splitlines() if not line.startswith("#")) == "source:"
    replaced = with_source(source, {"kind": "birds"})
    assert "unseen" not in replaced
    assert long in replaced
    assert with_source("", {"kind": "birds"}) == "source:\n  kind: birds\n"


def test_values_go_under_a_preset_beside_what_stands_there() -> None:
    text = "train: {lr: 0.1}\nbest: {train: {hidden: 8}} # chosen\n"
    edited = with_values(text, "best", {"train": {"lr": 0.5}, "generate": {"noise": 0.2}})
    assert "# chosen" in edited
    assert YAML(typ="safe").load(edited) == {
        "train": {"lr": 0.1},
        "best": {"train": {"hidden": 8, "lr": 0.5}, "generate": {"noise": 0.2}},
    }
    assert YAML(typ="safe").load(with_values("", "paper", {"train": {"lr": 1.0}})) == {"paper": {"train": {"lr": 1.0}}}


def test_settings_are_those_of_like_or_of_the_beginning_of_the_name(project: Path, pair: Path) -> None:
    for known, hidden in (("zed", 11), ("zed2", 22)):
        Path(f"data/{known}.yaml").write_text(f"best: {{train: {{hidden: {hidden}}}}} # chosen\n")
    for name, like, hidden in (
        ("Zed-x", None, 11),
        ("zed2-x", None, 22),
        ("q", "zed2", 22),
        ("q2", None, 1024),
        ("zedX", None, 1024),
    ):
        add_pair(pair, name, like=like)
        assert Params().resolve(name).pipeline.train.hidden == hidden
        assert ("# chosen" in Path(f"data/{name}.yaml").read_text()) is (hidden < 1024)
    with pytest.raises(ZSLError, match=r"--like: unknown data set 'zd2': did you mean 'zed2'"):
        add_pair(pair, "q3", like="zd2")


def test_the_settings_of_a_benchmark_s_data_set_stay_as_they_are_written(project: Path, pair: Path) -> None:
    before = Path("data/sun.yaml").read_text(encoding="utf-8")
    add_pair(pair, "sun")
    after = Path("data/sun.yaml").read_text(encoding="utf-8")
    assert after.startswith("source:\n  kind: xlsa17\n")
    assert after.endswith(before)


def test_an_existing_name_is_refused_unless_replaced(project: Path, pair: Path) -> None:
    add_pair(pair)
    before = everything(project)
    for name in ("toy", "birds"):
        with pytest.raises(ZSLError, match=f"data set '{name}' exists"):
            add_pair(pair, name)
    assert everything(project) == before
    (pair / "valclasses1.txt").unlink()
    add_pair(pair, replace=True, signatures="att")
    assert "validation_classes" not in Params().source("toy")
    assert sorted(path.name for path in (project / "data/toy").iterdir()) == [
        "features-res101.mat",
        "splits-att_splits.mat",
    ]
    assert Params().datasets.count("toy") == 1
    assert not list((project / "data").glob(".*"))


@pytest.mark.parametrize("name", ["", "a b", "../up", "a.b", "-x"])
def test_a_name_that_paths_or_parameters_cannot_hold_is_refused(name: str, project: Path, pair: Path) -> None:
    before = everything(project)
    with pytest.raises(ZSLError, match="use letters, digits, - and _ only"):
        add_pair(pair, name)
    assert everything(project) == before


class Faults:
    """What can go wrong on the way, one method a fault."""

    def __init__(self, pair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pair, self.patch = pair, monkeypatch

    def damaged_file(self) -> None:
        (self.pair / "res101.mat").chmod(0o644)
        (self.pair / "res101.mat").write_bytes(b"broken")

    def disk_full_at_the_second_file(self) -> None:
        copy = shutil.copyfile

        def fail(source: Path, target: Path) -> None:
            if target.name == "splits-att_splits.mat":
                target.write_bytes(b"half")
                raise OSError(28, "No space left on device")
            copy(source, target)

        self.patch.setattr(imports.shutil, "copyfile", fail)

    def dvc_not_set_up(self) -> None:
        """.dvc is an empty folder."""

    def interrupted_while_dvc_adds(self) -> None:
        def fail(home: Path) -> None:
            self.add(home)
            raise KeyboardInterrupt

        self.patch.setattr(imports, "_dvc_add", fail)

    def parameters_not_writable(self) -> None:
        def fail(path: Path, text: str, **options: str) -> None:
            raise OSError(30, "Read-only file system")

        self.patch.setattr(imports, "_dvc_add", self.add)
        self.patch.setattr(Path, "write_text", fail)

    def parameters_not_writable_after_the_data_set_s_file(self) -> None:
        write = import_data.write_text

        def fail(path: Path, text: str) -> None:
            if path.name == "params.yaml":
                raise ZSLError(f"{path}: cannot be written (No space left on device)")
            write(path, text)

        self.patch.setattr(imports, "_dvc_add", self.add)
        self.patch.setattr(import_data, "write_text", fail)

    @staticmethod
    def add(home: Path) -> None:
        """The traces that `dvc add` leaves."""
        home.with_name("toy.dvc").write_bytes(b"added")
        with open(home.with_name(".gitignore"), "ab") as stream:
            stream.write(b"/toy")


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        ("damaged_file", ZSLError, "cannot be read as a MATLAB file"),
        ("disk_full_at_the_second_file", ZSLError, r"data/toy: cannot be written \(No space left on device\)"),
        ("dvc_not_set_up", ZSLError, "`dvc add data/toy` failed; put that right or give --no-dvc: ERROR"),
        ("interrupted_while_dvc_adds", KeyboardInterrupt, None),
        ("parameters_not_writable_after_the_data_set_s_file", ZSLError, r"params\.yaml: cannot be written \(No space"),
        ("parameters_not_writable", ZSLError, r"toy\.yaml: cannot be written \(Read-only"),
    ],
)
def test_a_failure_leaves_everything_as_it_was(
    fault: str,
    error: type[BaseException],
    message: str | None,
    replace: bool,
    project: Path,
    pair: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (project / ".dvc").mkdir()
    if replace:
        add_pair(pair)
        Faults.add(project / "data/toy")
    before = everything(project)
    folders = {path for path in project.rglob("*") if path.is_dir() and ".dvc" not in path.parts}
    (pair / "valclasses1.txt").unlink()
    getattr(Faults(pair, monkeypatch), fault)()
    with pytest.raises(error, match=message):
        add_pair(pair, replace=replace, no_dvc=False)
    assert everything(project) == before
    assert {path for path in project.rglob("*") if path.is_dir() and ".dvc" not in path.parts} == folders


def test_without_dvc_here_nothing_is_copied(project: Path, pair: Path) -> None:
    before = everything(project)
    with pytest.raises(ZSLError, match=r"no \.dvc folder here: .*--no-dvc"):
        add_pair(pair, no_dvc=False)
    assert everything(project) == before


@pytest.mark.slow
def test_the_files_stand_under_dvc_by_the_command_line(project: Path, pair: Path) -> None:
    for command in (("git", "init", "-q"), (sys.executable, "-m", "dvc", "init", "-q")):
        subprocess.run(command, check=True, capture_output=True)
    options = ["--features", str(pair / "res101.mat"), "--splits", str(pair / "att_splits.mat"), "--name", "toy"]
    result = CliRunner().invoke(import_data.app, ["xlsa17", *options, "--signatures", "att"])
    assert result.exit_code == 0, result.output
    assert (project / "data/toy.dvc").exists()
    assert "/toy" in (project / "data/.gitignore").read_text(encoding="utf-8")
    status = subprocess.run((sys.executable, "-m", "dvc", "status", "-q"), capture_output=True, check=False)
    assert status.returncode == 0


def test_the_help_says_where_the_benchmark_is_downloaded() -> None:
    for arguments in (["--help"], ["xlsa17", "--help"]):
        output = CliRunner().invoke(import_data.app, arguments, terminal_width=200).output
        assert "datasets.d2.mpi-inf.mpg.de/xian/xlsa17.zip" in output


class NumbersSource(Source):
    """Numbers in plain files, a kind that nothing else knows."""

    kind: ClassVar[str] = "numbers"
    settings_only: ClassVar[frozenset[str]] = frozenset({"hidden"})
    table: Path = Field(description="The table of numbers.")
    extra: tuple[Path, ...] = Field((), description="More of them.")
    scale: float = Field(1.0, gt=0, description="Times this.")
    exact: bool = Field(False, description="No rounding.")
    title: str | None = Field(None, description="What it is called.")
    hidden: int = Field(3, description="In the data set's file alone.")

    def load(self, name: str, root: Path) -> Dataset:
        assert all((root / path).is_file() for path in (self.table, *self.extra))
        return make_dataset()


def test_a_new_kind_gets_its_command_from_the_fields_of_its_source(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry.SOURCES, "numbers", f"{__name__}:NumbersSource")
    monkeypatch.setitem(sys.modules, __name__, SimpleNamespace(NumbersSource=NumbersSource))
    for name in "abc":
        (tmp_path / f"{name}.txt").write_text(name)
    app = typer.Typer()
    app.command()(import_data.import_command("numbers", registry.get("numbers")))
    output = CliRunner().invoke(app, ["--help"], terminal_width=200).output
    for option, help_text in {"--table": "The table of numbers.", "--exact": "No rounding."}.items():
        assert any(option in line and help_text in line for line in output.splitlines()), option
    assert "Add numbers in plain files" in output
    assert "--no-exact" not in output
    assert "--hidden" not in output
    arguments = ["--table", str(tmp_path / "a.txt"), "--name", "n", "--no-dvc"]
    repeated = ["--extra", str(tmp_path / "b.txt"), "--extra", str(tmp_path / "c.txt")]
    result = CliRunner().invoke(app, [*arguments, *repeated, "--exact", "--scale", "2.5"])
    assert result.exit_code == 0, result.output
    assert Params().source("n") == {
        "kind": "numbers",
        "table": "data/n/table-a.txt",
        "extra": ["data/n/extra1-b.txt", "data/n/extra2-c.txt"],
        "scale": 2.5,
        "exact": True,
    }
    assert CliRunner().invoke(app, [*arguments, "--replace"]).exit_code == 0
    assert Params().source("n") == {"kind": "numbers", "table": "data/n/table-a.txt", "scale": 1.0}
    failed = CliRunner().invoke(app, [*arguments, "--replace", "--scale", "-1"])
    assert "scale is -1" in str(failed.exception)


@pytest.mark.realdata
def test_real_flowers_and_cub_are_imported(project: Path, real_data: Path) -> None:
    lists = [real_data / f"splits/class_lists/CUB_valclasses{k}.txt" for k in (1, 2, 3)]
    cub = real_data / "cub"
    xlsa17(cub / "resnet_fc1000.mat", cub / "att_splits.mat", "cub-fc1000", validation_classes=lists, no_dvc=True)
    flo = real_data / "flo"
    folder(flo / "images", flo / "classes.csv", "flo", signatures=flo / "class_embeddings.csv", no_dvc=True)
    for name, images in (("cub-fc1000", 11788), ("flo", 1246)):
        resolve.command(name)
        prepare.command(name)
        data = datasets.load(Path("artifacts") / name / "dataset.h5")
        assert len(data.labels) == images
    assert len(data.image_files) == 1246
    assert all(Path(file).is_file() for file in data.image_files)


def test_requirements_name_the_extras_that_read_the_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    values = np.ones((2, 3), np.float32)

    def read_by(encoder: str) -> Signatures:
        return Signatures(values, {"recipe": {"encoder": encoder}}, (("a",), ("b",)))

    file = Path("requirements.txt")
    sources = [Signatures(values), read_by("tfidf"), read_by("all-MiniLM-L6-v2"), read_by("clip:ViT-B-32")]
    assert with_extras(sources) == {}  # no such file
    file.write_text("torch\n")
    assert with_extras(sources) == {}  # not one that installs zslcore
    file.write_text("zslcore[pipeline]==0.1.0\n# rest")
    assert with_extras(sources[:2]) == {}
    assert with_extras(sources) == {file: "zslcore[pipeline]==0.1.0\n# rest\nzslcore[clip]\nzslcore[text]\n"}
    file.write_text("zslcore[pipeline,text]==0.1.0\n")
    assert with_extras(sources[:3]) == {}
    file.write_text("zslcore[all]==0.1.0\n")
    assert with_extras(sources) == {}
