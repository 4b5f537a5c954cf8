"""The gate: verdicts on made-up differences, its statistics against SciPy, and the command in a real repository."""

import io
import json
import math
import os
import shlex
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from stages import cli
from zslcore.errors import ZSLError
from zslcore.io.layers import validate
from zslcore.project.gate import (
    GateSettings,
    Measurement,
    Row,
    as_json,
    cells,
    check_revision,
    check_rows,
    compare,
    counts,
    markdown,
    measurement,
    metrics_diff,
    p_value,
    paired,
    resolve_revision,
    summary,
)
from zslcore.project.params import Params
from zslcore.project.power import detectable_drop

ROOT = Path(__file__).resolve().parents[2]
NAN = math.nan
FILE = "results/toy/metrics.json"
H = GateSettings(metrics={"H": 0.0})


def measured(old: dict[str, float] | None, new: dict[str, float] | None) -> dict:
    """What DVC tells of one metric `H` with these seeds; None where it is absent."""

    def flat(seeds: dict[str, float] | None) -> dict[str, float]:
        if seeds is None:
            return {}
        values = list(seeds.values())
        std = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
        return {"H.mean": float(np.mean(values)), "H.std": std, **{f"H.seeds.{k}": v for k, v in seeds.items()}}

    first, second = flat(old), flat(new)
    return {FILE: {key: {"old": first.get(key), "new": second.get(key)} for key in {*first, *second}}}


def one(old: float | None, new: float | None, tolerance: float = 0.0) -> Row:
    """The verdict on a plain number."""
    rows = compare({FILE: {"H": {"old": old, "new": new}}}, GateSettings(metrics={"H": tolerance}))
    assert [row.metric for row in rows] == [f"{FILE}:H"]
    return rows[0]


@pytest.mark.parametrize(
    ("old", "new", "tolerance", "verdict"),
    [
        (50.0, 49.0, 0.0, "worse"),
        (50.0, 51.0, 0.0, "better"),
        (50.0, 50.0, 0.0, "same"),
        (50.0, 49.5, 0.5, "same"),
        (50.0, 49.4, 0.5, "worse"),
        (50.0, 50.6, 0.5, "better"),
        (50.0, None, 0.0, "missing"),
        (None, 50.0, 0.0, "new"),
        (50.0, NAN, 1e9, "worse"),
        (-math.inf, NAN, 0.0, "worse"),
        (NAN, 0.0, 0.0, "better"),
        (NAN, NAN, 0.0, "same"),
        (math.inf, math.inf, 0.0, "same"),
        (50.0, -math.inf, 1.0, "worse"),
    ],
)
def test_verdicts(old: float | None, new: float | None, tolerance: float, verdict: str) -> None:
    row = one(old, new, tolerance)
    assert row.verdict == verdict
    assert row.allowed == tolerance
    assert row.fails == (verdict in ("worse", "missing"))


def test_a_number_turned_text_is_missing() -> None:
    diff = {FILE: {"H": {"old": 1.0, "new": "n/a"}}}
    assert compare(diff, H)[0].verdict == "missing"


def test_a_metric_that_no_data_set_has_fails() -> None:
    diff = {FILE: {"H": {"old": 1.0, "new": 1.0}}}
    rows = compare(diff, GateSettings(metrics={"H": 0.0, "U": 0.0}))
    assert [(row.metric, row.verdict, row.fails) for row in rows] == [
        ("results/*/metrics.json:U", "missing", True),
        (f"{FILE}:H", "same", False),
    ]
    assert compare({}, H)[0].fails


def test_a_metric_that_one_data_set_never_had_is_not_asked_of_it() -> None:
    diff = {FILE: {"H": {"old": 1.0, "new": 1.0}}, "results/other/metrics.json": {"U": {"old": 1.0, "new": 1.0}}}
    assert [row.metric for row in compare(diff, H)] == [f"{FILE}:H"]


def test_each_metric_has_its_tolerance_and_other_files_and_names_none() -> None:
    fell = {"old": 5, "new": 1}
    diff = {FILE: {"a.x": fell, "b.x": fell, "b.x.y": fell, "c": fell}, "experiments/results/toy/m.json": {"b.x": fell}}
    rows = compare(diff, GateSettings(metrics={"a.x": 10, "b.x": 0}))
    assert {row.metric: row.verdict for row in rows} == {f"{FILE}:a.x": "same", f"{FILE}:b.x": "worse"}


def test_mean_and_seeds_are_one_measurement() -> None:
    metrics = measured({"0": 1.0, "1": 3.0}, None)[FILE]
    assert measurement(metrics, "H", "old") == Measurement(2.0, {"0": 1.0, "1": 3.0})
    assert measurement(metrics, "H", "new") is None


@pytest.mark.parametrize(("side", "what"), [("old", "at the revision"), ("new", "here")])
def test_a_mean_that_is_not_that_of_its_seeds_is_refused(side: str, what: str) -> None:
    diff = measured({"0": 58.0, "1": 60.0}, {"0": 58.0, "1": 60.0})
    diff[FILE]["H.mean"][side] = 99.9
    with pytest.raises(ZSLError, match=rf"H\.mean is not the mean of its seeds {what}: the file was edited"):
        compare(diff, H)


def test_a_gate_that_nothing_can_fail_is_refused() -> None:
    def check(old: float | None, new: float | None, tolerance: float, name: str = "H") -> None:
        settings = GateSettings(metrics={name: tolerance})
        check_rows(compare({FILE: {"H": {"old": old, "new": new}}}, settings), settings, "0" * 40)

    check(50.0, 50.0, 0.5)
    check(0.0, 0.0, 0.5)
    check(50.0, None, 0.5)
    with pytest.raises(ZSLError, match=r"no results/\*/metrics\.json has U, neither here nor at 0000000000"):
        check(50.0, 50.0, 0.5, "U")
    for tolerance in (50.0, 1e9):
        with pytest.raises(ZSLError, match=r"gate\.metrics\.H allows a fall of .*, more than .* \(50\.00 at most\)"):
            check(50.0, 10.0, tolerance)
    with pytest.raises(ZSLError, match="0000000000 has none of H, so nothing can have fallen"):
        check(None, 50.0, 0.5)


def test_paired_where_seeds_are_shared() -> None:
    def seeds(*names: int) -> Measurement:
        return Measurement(0.0, {str(name): 0.0 for name in names})

    assert paired(seeds(0, 1, 2), seeds(0, 1, 2))
    assert paired(seeds(0, 1), seeds(0, 1, 2))
    assert paired(seeds(0, 1, 2), seeds(1, 2))
    assert not paired(seeds(0, 1, 2), seeds(2, 3, 4))
    assert not paired(seeds(0, 1, 2), seeds(1, 2, 3)), "two are shared, but neither side lies in the other"
    assert not paired(seeds(0, 1), seeds(1))
    assert not paired(seeds(0), seeds(0))


def test_a_seed_that_one_side_lacks_shifts_no_mean() -> None:
    old, new = {"0": 50.0, "1": 51.0, "2": 59.0}, {"0": 50.2, "1": 51.2}  # alike but for seed 2
    for first, second, verdict in ((old, new, "better"), (new, old, "worse")):
        row = compare(measured(first, second), H)[0]
        assert (row.verdict, abs(row.new - row.old)) == (verdict, pytest.approx(0.2))


def test_seeds_shared_in_part_are_tested_as_two_samples() -> None:
    old = {"0": 40.0, "1": 50.0, "2": 60.0, "3": 45.0}
    new = {"1": 49.0, "2": 58.99, "3": 44.01, "4": 58.0}
    row = compare(measured(old, new), H)[0]
    welch = stats.ttest_ind(list(old.values()), list(new.values()), equal_var=False, alternative="less")
    assert row.p == pytest.approx(welch.pvalue)
    assert (row.old, row.new) == (pytest.approx(48.75), pytest.approx(52.5)), "over all seeds of each side"


@pytest.mark.parametrize(("p", "verdict"), [(0.0099, True), (0.01, False), (1.0, False), (NAN, True)])
def test_a_p_that_is_not_a_number_explains_nothing(p: float, verdict: bool) -> None:
    assert bool(counts(-2.0, 1.0, p, 0.01)) is verdict
    assert not counts(-0.5, 1.0, p, 0.01), "what is allowed does not count, whatever p is"


def test_seeds_that_became_infinite_fail_though_no_test_can_tell() -> None:
    with np.errstate(invalid="ignore"):
        diff = measured({"0": 50.0, "1": 51.0}, {"0": -math.inf, "1": 50.0})
    row = compare(diff, H)[0]
    assert math.isnan(row.p)
    assert row.verdict == "worse"


def test_pairing_finds_what_seeds_hide_and_disjoint_seeds_cannot() -> None:
    old = {str(k): value for k, value in enumerate([40.0, 50.0, 60.0, 45.0, 55.0])}
    same_seeds = {name: value - 1 - 0.01 * int(name) for name, value in old.items()}
    others = {str(int(name) + 5): value for name, value in same_seeds.items()}
    assert compare(measured(old, same_seeds), H)[0].verdict == "worse"
    assert compare(measured(old, others), H)[0].verdict == "same"


def test_p_values_are_scipys_and_one_sided() -> None:
    random = np.random.default_rng(0)
    old, new = random.normal(size=(2, 6))
    new = new - 1
    expected = stats.ttest_ind(new, old, equal_var=False, alternative="less").pvalue
    assert p_value(old, new, False) == pytest.approx(expected)
    assert p_value(old, new, True) == pytest.approx(stats.ttest_rel(new, old, alternative="less").pvalue)


def test_seeds_that_all_agree_leave_no_doubt() -> None:
    for names in (("0", "1", "2"), ("3", "4", "5")):
        old, new = {"0": 50.0, "1": 50.0, "2": 50.0}, dict.fromkeys(names, 49.0)
        assert compare(measured(old, new), H)[0].verdict == "worse"


def test_alpha_is_shared_among_the_metrics_tested() -> None:
    random = np.random.default_rng(1)
    old, new = random.normal(size=(2, 5))
    change = new.mean() - old.mean()
    p = float(p_value(old, new, False))
    assert counts(change, 0.0, p, 1.01 * p)
    diff = measured({str(k): v for k, v in enumerate(old)}, {str(k + 5): v for k, v in enumerate(new)})
    settings = GateSettings(alpha=1.5 * p, metrics={"H": 0.0})
    assert compare(diff, settings)[0].verdict in ("worse", "better")
    assert {row.verdict for row in compare({**diff, "results/other/metrics.json": diff[FILE]}, settings)} == {"same"}


def test_false_alarms_and_power() -> None:
    random = np.random.default_rng(2)
    old, new = random.normal(size=(2, 4000, 5))
    change = new.mean(axis=1) - old.mean(axis=1)
    alarms = counts(change, 0.0, p_value(old, new, False), 0.01) & (change < 0)
    assert alarms.mean() <= 0.015  # 1 % and three standard errors
    drop = new - 4
    assert counts(change - 4, 0.0, p_value(old, drop, False), 0.01).mean() > 0.95


def test_what_validation_classes_said_is_gated_too() -> None:
    """What gains on test images and loses on validation classes fails: keeping it were a choice on test."""
    diff = {
        FILE: {"zsl.T1.mean": {"old": 80.0, "new": 84.0}, "zsl.T1.seeds.0": {"old": 80.0, "new": 84.0}},
        "results/toy/selected.json": {
            "validation.T1": {"old": 70.0, "new": 66.0},
            "train.epochs": {"old": 9, "new": 1},
        },
    }
    rows = compare(diff, GateSettings(metrics={"zsl.T1": 0.5, "validation.T1": 1.0}))
    assert {row.metric: row.verdict for row in rows} == {
        "results/toy/selected.json:validation.T1": "worse",
        f"{FILE}:zsl.T1": "better",
    }
    del diff["results/toy/selected.json"]["validation.T1"]["new"]
    rows = compare(diff, GateSettings(metrics={"validation.T1": 1.0}))
    assert [row.verdict for row in rows] == ["missing"]


def test_every_verdict_says_which_drop_it_could_have_found() -> None:
    seeds = {str(k): 60 + 0.7 * value for k, value in enumerate((-1.265, -0.632, 0.0, 0.632, 1.265))}  # of std 0.7
    rows = compare(measured(seeds, seeds), GateSettings(alpha=0.01, metrics={"H": 0.5}))
    (row,) = rows
    assert row.found == pytest.approx(detectable_drop(list(seeds.values()), list(seeds.values()), 0.5, 0.01, True))
    assert f"a drop of {row.found:.1f} would have been found" in summary(rows, "abc")
    assert json.loads(as_json(rows, "abc"))["metrics"][0]["found"] == row.found
    assert "(one seed)" in summary([one(50.0, 49.9, 0.5)], "abc")
    assert compare(measured(seeds, None), H)[0].found is None


def test_what_the_same_seeds_share_hides_no_drop() -> None:
    old = {"0": 50.0, "1": 52.0, "2": 51.0, "3": 49.0, "4": 53.0}
    new = {name: value - 0.1 * int(name) for name, value in old.items()}
    others = {str(int(name) + 5): value for name, value in new.items()}
    (same,), (disjoint,) = (compare(measured(old, side), H) for side in (new, others))
    assert same.found == pytest.approx(detectable_drop(list(old.values()), list(new.values()), 0.0, 0.05, True))
    assert same.found < 0.5 < 3 < disjoint.found


def test_markdown_and_json_survive_hostile_names() -> None:
    diff = {"results/a|b\n<script>/metrics.json": {"H": {"old": 1.0, "new": NAN}}}
    rows = compare(diff, H)
    text = markdown(rows, "0" * 40)
    assert len(text.splitlines()) == 5
    assert r"results/a\|b \<script\>/metrics.json:H" in text
    read = json.loads(as_json(rows, "0" * 40), parse_constant=lambda name: pytest.fail(name))
    assert read["passed"] is False
    assert read["metrics"][0]["new"] == "nan"
    assert "failed" in summary(rows, "0" * 40)
    assert len(cells(rows[0])) == 7


def test_what_is_printed_of_a_row_and_of_several() -> None:
    fell, same = one(50.0, 49.0), one(50.0, 49.5, 0.5)
    assert cells(same) == ("same", f"{FILE}:H", "50.00", "49.50", "-0.50", "± 0.50", "")
    assert cells(replace(same, p=NAN)) == cells(same)
    lines = markdown([fell, same], "abc").splitlines()
    assert lines[3] == "|---|---|---|---|---|---|---|"
    assert [line.split(" |")[0] for line in lines[4:]] == ["| **worse**", "| same"]
    assert json.loads(as_json([fell, same], "abc"))["passed"] is False
    assert json.loads(as_json([same], "abc"))["passed"] is True


def test_the_shipped_settings_gate_every_data_set() -> None:
    settings = GateSettings(**Params(ROOT).top("gate")).with_tolerances()
    metrics = {f"{group}.mean": {"old": 50.0, "new": 40.0} for group in ("zsl.T1", "gzsl.H", "gzsl.AUSUC", "plain.H")}
    validation = {f"validation.{name}": {"old": 50.0, "new": 40.0} for name in ("T1", "H")}
    files = {"metrics.json": metrics, "selected.json": validation}
    rows = compare(
        {f"results/{name}/{file}": values for name in ("birds", "cub") for file, values in files.items()}, settings
    )
    assert len(rows) == 10
    assert all(row.verdict == "worse" for row in rows)


@pytest.mark.parametrize(
    ("gate", "message"),
    [
        ("{metric: {H: 1}}", "gate: unknown parameter 'metric'; did you mean 'metrics'"),
        ("{alpha: 1}", "gate: alpha is 1"),
        ("{metrics: {gzsl.H: -1}}", r"gate: metrics\.gzsl\.H is -1"),
        ("{metrics: {gzsl.H: .inf}}", r"gate: metrics\.gzsl\.H is inf"),
        ("{metrics: {gzsl.H: .nan}}", r"gate: metrics\.gzsl\.H is nan"),
    ],
)
def test_bad_settings_are_named(gate: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(f"gate: {gate}")
    with pytest.raises(ZSLError, match=message):
        validate(GateSettings, Params(tmp_path).top("gate"), "gate")


# The command, in a real git and DVC repository.


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    identity = {f"GIT_{who}_{what}": "t@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environment = {**os.environ, **identity, "PYTHONPATH": str(ROOT), "COLUMNS": "200", "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def git(folder: Path, *arguments: str) -> str:
    done = run(folder, "git", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def gate(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`zsl gate` in this process, which has imported all it needs."""
    out, error = io.StringIO(), io.StringIO()
    with chdir(folder), redirect_stdout(out), redirect_stderr(error), pytest.MonkeyPatch.context() as patched:
        patched.setattr("sys.argv", ["zsl", "gate", *arguments])
        patched.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as ended:
            cli.run(cli.app)
    return subprocess.CompletedProcess(arguments, int(ended.value.code or 0), out.getvalue(), error.getvalue())


def write_metrics(folder: Path, harmonic: float | None, name: str = "toy") -> None:
    (folder / "results" / name).mkdir(parents=True, exist_ok=True)
    metrics = {"zsl": {"T1": 50.0}, "gzsl": {"H": harmonic, "AUSUC": 50.0}, "about": {"split": "own"}}
    (folder / "results" / name / "metrics.json").write_text(json.dumps(metrics))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with one commit on main (H 50) and a branch one commit further."""
    folder = tmp_path_factory.mktemp("gate")
    git(folder, "init", "-q", "-b", "main")
    assert run(folder, sys.executable, "-m", "dvc", "init", "-q").returncode == 0
    (folder / "params.yaml").write_text("gate: {metrics: {gzsl.H: 0.5}}\n")
    (folder / "dvc.yaml").write_text(f"metrics: [{FILE}]\n")
    write_metrics(folder, 50.0)
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "baseline")
    git(folder, "switch", "-qc", "branch")
    write_metrics(folder, 49.8)
    git(folder, "commit", "-qam", "change")
    return folder


@pytest.mark.slow
def test_exit_codes_and_formats(project: Path) -> None:
    passed = gate(project)
    assert passed.returncode == 0, passed.stderr
    assert "gate passed" in passed.stdout
    write_metrics(project, 48.0)
    failed = gate(project, "--against", "main", "--format", "json")
    assert failed.returncode == 1
    assert json.loads(failed.stdout)["metrics"][0]["verdict"] == "worse"
    write_metrics(project, NAN)
    nan = gate(project, "--format", "markdown")
    assert nan.returncode == 1
    assert "| **worse** |" in nan.stdout
    (project / FILE).unlink()
    gone = gate(project)
    assert gone.returncode == 1
    assert "missing" in gone.stdout
    git(project, "checkout", "-q", "results")


@pytest.mark.slow
def test_a_revision_is_not_compared_with_itself(project: Path) -> None:
    for against in ([], ["--against", "HEAD"]):
        git(project, "switch", "-q", "--detach", "main")
        itself = gate(project, *against)
        assert itself.returncode == 2
        assert "HEAD would be compared with itself" in itself.stderr
        write_metrics(project, 48.0)
        assert gate(project, *against).returncode == 1, "what was run since is compared"
        git(project, "checkout", "-q", "results")
    scores = project / "artifacts/toy/scores.h5"
    scores.parent.mkdir(parents=True)
    scores.touch()  # CI has run the pipeline, which gave the same bytes
    passed = gate(project, "--against", "HEAD")
    assert (passed.returncode, "byte for byte" in passed.stderr) == (0, True)
    assert gate(project).returncode == 2
    scores.unlink()
    git(project, "switch", "-q", "branch")


@pytest.mark.slow
def test_misuse_exits_with_2(project: Path, tmp_path: Path) -> None:
    unknown = gate(project, "--against", "nowhere")
    assert unknown.returncode == 2
    assert "no revision 'nowhere'" in unknown.stderr
    assert gate(project, "--against=--all").returncode == 2
    assert gate(tmp_path).returncode == 2  # no params.yaml, no repository


def test_head_is_compared_with_itself_only_where_every_data_set_was_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    commit = "c" * 40
    said: dict[str, str | None] = {"rev-parse": commit, "diff": "", "ls-files": ""}
    monkeypatch.setattr("zslcore.project.gate._git", lambda *arguments: said[arguments[0]])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ZSLError, match="HEAD would be compared with itself"):
        check_revision(commit, named=True)
    for name in ("a", "b"):
        write_metrics(tmp_path, 50.0, name)
    (tmp_path / "artifacts/a").mkdir(parents=True)
    (tmp_path / "artifacts/a/scores.h5").touch()
    with pytest.raises(ZSLError, match="nothing was run here"):
        check_revision(commit, named=True)
    (tmp_path / "artifacts/b").mkdir()
    (tmp_path / "artifacts/b/scores.h5").touch()
    assert check_revision(commit, named=True).startswith("note: ")
    with pytest.raises(ZSLError, match="commit on a branch"):
        check_revision(commit, named=False)
    assert check_revision("d" * 40, named=False) == ""
    for changed in ({"diff": None}, {"ls-files": "results/new/metrics.json"}):
        said |= {"diff": "", "ls-files": "", **changed}
        assert check_revision(commit, named=False) == ""


@pytest.mark.parametrize(
    ("code", "stdout", "stderr", "message"),
    [
        (1, "", " no remote \n", r"against cccccccccc failed: no remote; try `dvc metrics diff`"),
        (1, "", "", "failed: no reason given"),
        (0, "{", "", "gave no JSON"),
    ],
)
def test_a_difference_that_dvc_cannot_tell(
    monkeypatch: pytest.MonkeyPatch, code: int, stdout: str, stderr: str, message: str
) -> None:
    monkeypatch.setattr(
        subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, code, stdout, stderr)
    )
    with pytest.raises(ZSLError, match=message):
        metrics_diff("c" * 40)


def test_no_difference_at_all_is_an_empty_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 0, "", ""))
    assert metrics_diff("c" * 40) == {}


def test_without_git_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ZSLError, match="git cannot be run"):
        resolve_revision()


@pytest.fixture
def forked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The current folder is a repository whose branch left main, and main went on: commit by name."""
    folder = tmp_path / "forked"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    commits = {}
    for name in ("root", "work", "main"):
        if name == "work":
            git(folder, "switch", "-qc", "work")
        if name == "main":
            git(folder, "switch", "-q", "main")
        git(folder, "commit", "-qm", name, "--allow-empty")
        commits[name] = git(folder, "rev-parse", "HEAD").strip()
    git(folder, "switch", "-q", "work")
    monkeypatch.chdir(folder)
    return commits


def test_the_revision_is_the_one_asked_for_else_where_head_left_main(forked: dict[str, str], tmp_path: Path) -> None:
    assert resolve_revision() == forked["root"]
    assert (resolve_revision("main"), resolve_revision("HEAD")) == (forked["main"], forked["work"])
    with pytest.raises(ZSLError, match=r"^this clone has no revision 'nope'; .* with: git fetch --tags origin"):
        resolve_revision("nope")
    with pytest.raises(ZSLError, match="has no revision '--all'"):
        resolve_revision("--all")
    git(tmp_path, "clone", "-q", "--branch=work", "forked", "clone")  # which has main as origin/main alone
    with chdir(tmp_path / "clone"):
        assert (resolve_revision(), resolve_revision("main")) == (forked["root"], forked["main"])
    git(Path(), "switch", "-q", "--orphan", "apart")
    git(Path(), "commit", "-qm", "apart", "--allow-empty")
    with pytest.raises(ZSLError, match=r"^HEAD and main have no common commit here; .* with: git fetch --tags"):
        resolve_revision()


def test_a_shallow_clone_and_no_repository_are_named(forked: dict[str, str], tmp_path: Path) -> None:
    git(tmp_path, "clone", "-q", "--depth=1", "--branch=work", f"file://{tmp_path / 'forked'}", "clone")
    with chdir(tmp_path / "clone"), pytest.raises(ZSLError, match=r"^this shallow clone .*: git fetch --unshallow --"):
        resolve_revision("main")
    (tmp_path / "empty").mkdir()
    with chdir(tmp_path / "empty"), pytest.raises(ZSLError, match="not in a git repository"):
        resolve_revision()


def test_only_files_of_head_itself_are_not_compared(forked: dict[str, str]) -> None:
    """Edited, new and other commits' metrics are compared, HEAD's only where it is asked for and was run."""
    write_metrics(Path(), 50.0)
    assert check_revision(forked["work"], named=False) == "", "a new file"
    git(Path(), "add", "-A")
    git(Path(), "commit", "-qm", "metrics")
    head = git(Path(), "rev-parse", "HEAD").strip()
    with pytest.raises(ZSLError, match=rf"are those of {head[:10]}, byte for byte; commit on a branch"):
        check_revision(head, named=False)
    assert check_revision(forked["work"], named=False) == "", "another commit"
    write_metrics(Path(), 51.0)
    assert check_revision(head, named=False) == "", "an edited file"


def test_by_default_a_fall_within_the_noise_of_seeds_is_none() -> None:
    old, new = {"0": 50.0, "1": 52.0, "2": 48.0}, {"0": 49.9, "1": 51.8, "2": 48.1}
    (row,) = compare(measured(old, new), H)
    assert (row.verdict, row.p) == ("same", pytest.approx(0.27, abs=0.03))
    (row,) = compare(measured(old, {name: value - 2 for name, value in new.items()}), H)
    assert row.verdict == "worse"


@pytest.mark.slow
def test_a_shallow_clone_is_told_which_fetch_it_needs(project: Path, tmp_path: Path) -> None:
    git(tmp_path, "clone", "-q", "--depth=1", "--branch=branch", f"file://{project}", "clone")
    clone = tmp_path / "clone"
    refused = gate(clone)
    assert refused.returncode == 2
    assert "shallow clone" in refused.stderr
    fetch = refused.stderr[refused.stderr.index("git fetch") :].strip()
    git(clone, *shlex.split(fetch)[1:])
    assert gate(clone).returncode == 0
