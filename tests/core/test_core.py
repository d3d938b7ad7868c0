"""Files, registries, randomness, provenance, errors and the console."""

import io
import pickle

import pytest
from rich.console import Console

from mlff_distiller.core import console, files, provenance
from mlff_distiller.core.errors import DistillerError, PredictionError, UnknownNameError
from mlff_distiller.core.measurement import Measurement
from mlff_distiller.core.randomness import derived_seed, generator
from mlff_distiller.core.registry import Registry


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    files.write_text(path, "old")

    def fail(temporary):
        temporary.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(DistillerError, match=r"cannot write .*a\.txt \(No space left on device\)"):
        files.write_atomically(path, fail)
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text() == "old"


def test_writing_below_a_file_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DistillerError, match="cannot write"):
        files.write_json(tmp_path / "file" / "a.json", {})


def test_registry_names_the_nearest():
    registry = Registry("teacher", {"xtb": "math:pi", "ase": "math:e"})
    with pytest.raises(UnknownNameError, match=r"unknown teacher 'xtbb' \(did you mean 'xtb'\?\); known: ase, xtb"):
        registry.get("xtbb")
    assert registry.all() == [2.718281828459045, 3.141592653589793]


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ('Literal["other"] = "other"', r"teacher 'added' .* not a plan with a field kind: Literal\["),
        ('str = "added"', r"teacher 'added' .* not a plan with a field kind"),
        ("", r"teacher 'added' comes from the package badteacher_\d, which cannot be used \(SyntaxError"),
    ],
)
def test_what_a_package_adds_and_recipes_cannot_name_breaks_nothing_else(tmp_path, monkeypatch, kind, said):
    module = f"badteacher_{len(kind) % 10}"
    (tmp_path / f"{module}.py").write_text(
        f"from typing import Literal\nfrom mlff_distiller.core.plan import Plan\nclass Added(Plan):\n    kind: {kind}\n"
    )
    info = tmp_path / "bad-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bad\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[mlffd_test.teachers]\nadded = {module}:Added\n")
    monkeypatch.syspath_prepend(tmp_path)
    registry = Registry("teacher", {"xtb": "math:pi"}, entry_point_group="mlffd_test.teachers")
    assert registry.names() == ["added", "xtb"]
    assert registry.all() == [3.141592653589793]
    with pytest.raises(UnknownNameError, match=said):
        registry.get("added")


def test_random_streams_are_named_and_independent():
    assert derived_seed(1, "a", "b") != derived_seed(1, "ab")
    assert generator(1, "a").random() == generator(1, "a").random()
    assert generator(1, "a").random() != generator(2, "a").random()


def test_prediction_errors_cross_process_boundaries():
    error = pickle.loads(pickle.dumps(PredictionError(3, "SCF did not converge")))
    assert (error.index, error.reason) == (3, "SCF did not converge")


def test_stamp_names_versions_and_machine():
    stamp = provenance.stamp()
    assert stamp["versions"]["mlff-distiller"] != "not installed"
    assert stamp["machine"]["cores"] >= 1


def test_measurements_survive_json():
    for measurement in (Measurement("a", 1.0, "eV", (0.5, 1.5), 3, {"x": [1]}), Measurement("b", 2.0, "")):
        assert Measurement.from_json(measurement.to_json()) == measurement


def test_progress_without_a_terminal_is_lines_with_an_estimate(monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr(console, "CONSOLE", Console(file=out, width=200))
    monkeypatch.setattr(console.Bars, "_INTERVAL_S", 0.0)
    with console.progress_bars() as bars:
        advance = bars.start("labeling", 4, done=1)
        advance(1, note="0 refused")
        advance(2)
        bars.message("a message")
    lines = out.getvalue().splitlines()
    assert lines[0].strip().startswith("labeling: 2/4 0 refused")
    assert "left" in lines[0]
    assert "labeling: 4/4" in lines[1]
    assert "done" in lines[1]
    assert lines[2] == "a message"
