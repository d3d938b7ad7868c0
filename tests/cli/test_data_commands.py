"""``mlffd data`` as a user meets it: from a foreign file to a checked, split, selected and exported data set."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator

from mlff_distiller.atoms.conversion import from_ase
from mlff_distiller.atoms.labels import Labels
from mlff_distiller.data.importers.plan import ImportPlan
from mlff_distiller.data.storage.store import Store
from mlff_distiller.data.storage.writer import StoreWriter
from mlff_distiller.potentials.analytic import morse

ENVIRONMENT = os.environ | {"COLUMNS": "110", "OMP_NUM_THREADS": "1"}


def mlffd(*arguments, cwd=None, env=ENVIRONMENT) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "mlff_distiller.cli.main", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=env, timeout=120, check=False)


def done(result: subprocess.CompletedProcess) -> str:
    assert result.returncode == 0, result.stderr
    return result.stdout + result.stderr


def refused(result: subprocess.CompletedProcess) -> str:
    assert result.returncode == 2, result.stderr + result.stdout
    assert "Traceback" not in result.stderr
    said = [line for line in result.stderr.splitlines() if line.startswith("mlffd: ")]
    assert len(said) == 1, result.stderr
    return said[0]


@pytest.fixture(scope="module")
def frames(tmp_path_factory) -> Path:
    """An extended XYZ file of 60 rattled ethanols and 20 waters with labels that are gradients of a potential."""
    potential = morse(depth=1.0, width=1.2, distance=1.5, cutoff=5.0)
    rng = np.random.default_rng(0)
    frames = []
    for name, count in (("CH3CH2OH", 60), ("H2O", 20)):
        for _ in range(count):
            atoms = molecule(name)
            atoms.positions += rng.normal(0, 0.03, (len(atoms), 3))
            (labels,) = potential.predict([from_ase(atoms)], ["energy", "forces"])
            atoms.calc = SinglePointCalculator(atoms, energy=labels.energy, forces=labels.forces)
            frames.append(atoms)
    path = tmp_path_factory.mktemp("frames") / "frames.xyz"
    ase.io.write(path, frames)
    return path


@pytest.fixture(scope="module")
def store(frames, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("store") / "data"
    done(mlffd("data", "import", frames, "--out", path, "--theory", "Morse"))
    return path


def test_every_command_explains_itself():
    listed = done(mlffd("data", "--help"))
    commands = ("info", "import", "export", "verify", "repair", "merge", "filter", "select", "split")
    for command in commands:
        assert re.search(rf"^  {command} ", listed, re.MULTILINE)
        assert "Usage" in done(mlffd("data", command, "--help"))
    told = done(mlffd("data", "import", "--help"))
    assert all("--" + name.replace("_", "-") in told for name in ImportPlan.model_fields)


def test_an_import_tells_units_and_who_settled_them(frames, tmp_path):
    told = done(mlffd("data", "import", frames, "--out", tmp_path / "data"))
    assert re.search(r"energy +eV +ASE's convention", told)
    assert re.search(r"imported +80", told)
    store = Store.open(tmp_path / "data")
    first = ase.io.read(frames, index=0)
    assert store.labels(0).energy == pytest.approx(first.get_potential_energy(), abs=1e-7)
    assert np.allclose(store.labels(0).forces, first.get_forces(), atol=1e-7)
    again = done(mlffd("data", "import", frames, "--out", tmp_path / "data"))
    assert re.search(r"imported +80", again)


def test_bad_input_is_one_sentence_with_the_option_that_helps(frames, store, tmp_path):
    def said(*arguments):
        return refused(mlffd("data", *arguments))

    (tmp_path / "text.dat").write_text("hello\n")
    assert "--format" in said("import", tmp_path / "text.dat", "-o", tmp_path / "a")
    assert "does not exist" in said("import", tmp_path / "none.xyz", "-o", tmp_path / "a")
    assert "--energy-unit" in said("import", frames, "-o", tmp_path / "a", "--energy-unit", "kcalories")
    assert "--stress-sign" in said("import", frames, "-o", tmp_path / "a", "--stress-sign", "up")
    assert not (tmp_path / "a").exists()
    assert "unknown format 'xzy'" in said("import", frames, "-o", tmp_path / "a", "--format", "xzy")
    assert "does not exist" in said("info", tmp_path / "none")
    assert "did you mean 'extxyz'" in said("export", store, tmp_path / "a.xyz", "--format", "extxy")
    assert "tells no format" in said("export", store, tmp_path / "a.foo")
    assert "same atoms" in said("export", store, tmp_path / "a.npz") or not (tmp_path / "a.npz").exists()
    assert "81" in said("select", store, "-o", tmp_path / "a", "--n", "81")
    assert "--elements" in said("filter", store, "-o", tmp_path / "a", "--elements", "H,Qq")
    assert "nothing to write" in said("filter", store, "-o", tmp_path / "a", "--elements", "He")
    assert "--kind random" in said("split", store)
    assert "give both" in said("export", store, tmp_path / "a.xyz", "--part", "train")
    assert "give both" in said("export", store, tmp_path / "a.xyz", "--split", "mine")
    assert "has no split 'nope'" in said("export", store, tmp_path / "a.xyz", "--split", "nope", "--part", "test")
    assert not (tmp_path / "a.xyz").exists()
    assert "is no data set" in said("info", tmp_path)
    assert "--kind" in said("split", store, "--kind", "radom")
    assert "sealed" in said("import", frames, "-o", frames.parent) or "other files" in said(
        "import", frames, "-o", frames.parent
    )


def test_info_tells_what_is_there_and_what_looks_wrong(store):
    told = done(mlffd("data", "info", store))
    for expected in ("80 (600 atoms)", "import (Morse)", "C2H6O 60, H2O 20", "root mean square", "missing hydrogens"):
        assert expected in told
    assert "missing hydrogens" not in done(mlffd("data", "info", store, "--quick"))


def test_split_select_filter_merge_export(store, tmp_path):
    told = done(mlffd("data", "split", store, "--kind", "random", "--name", "mine", "--test-fraction", 0.2))
    assert "test in train" in told
    assert "of 16 test structures: the composition is also in train" in told
    assert "Warning" not in told
    done(mlffd("data", "split", store, "--kind", "random", "--name", "mine", "--test-fraction", 0.2))
    assert "--overwrite" in refused(mlffd("data", "split", store, "--kind", "random", "--name", "mine", "--seed", 1))
    nowhere = tmp_path / "none.xyz"
    assert "mine" in refused(mlffd("data", "export", store, nowhere, "--split", "nope", "--part", "test"))
    assert "too few for training" in refused(mlffd("data", "split", store, "--kind", "formula"))
    assert "split mine" in done(mlffd("data", "info", store, "--quick"))
    exported = tmp_path / "test.xyz"
    done(mlffd("data", "export", store, exported, "--split", "mine", "--part", "test"))
    read = ase.io.read(exported, index=":")
    assert len(read) == 16
    assert read[0].get_forces().shape == (len(read[0]), 3)

    told = done(
        mlffd("data", "select", store, "--kind", "stratified", "--by", "formula", "--n", 8, "-o", tmp_path / "few")
    )
    assert "as many at random" in told
    assert "without a unit" in told
    assert not re.search(r"\bmin\b", told)
    few = Store.open(tmp_path / "few")
    assert sorted({s.formula for s in few.structures()}) == ["C2H6O", "H2O"]
    assert few.header["settings"]["selection"]["kind"] == "stratified"

    told = done(mlffd("data", "filter", store, "--max-atoms", 3, "--unique", "near", "-o", tmp_path / "water"))
    assert re.search(r"max atoms +60", told)
    everything = ("--elements", "H, C,O", "-o", tmp_path / "all")
    assert "all 80 structures kept, no condition removed any" in done(mlffd("data", "filter", store, *everything))
    done(mlffd("data", "merge", tmp_path / "water", tmp_path / "few", "-o", tmp_path / "both", "--compress"))
    both = Store.open(tmp_path / "both")
    assert len(both) == len(Store.open(tmp_path / "water")) + 8
    assert both.identity == few.identity


def test_parts_far_from_what_was_asked_are_warned_of_and_replaced_only_when_told(tmp_path):
    path = tmp_path / "data"
    with StoreWriter(path) as writer:
        writer.append(range(15), [from_ase(molecule(name)) for name in ("H2O", "CH4", "NH3") for _ in range(5)])
        writer.seal()
    told = done(mlffd("data", "split", path, "--kind", "formula", "--no-leaks"))
    assert "Warning: test has 33.3 % of the structures, not the 10.0 % asked for" in told
    assert "0 of 5 test structures: the composition is also in train" in told
    other = ("data", "split", path, "--kind", "molecule", "--no-leaks")
    assert "made by kind formula and seed 0" in refused(mlffd(*other))
    done(mlffd(*other, "--overwrite"))


def test_labels_that_are_not_finite_are_said(tmp_path):
    water = from_ase(molecule("H2O"))
    with StoreWriter(tmp_path / "data") as writer:
        writer.append([0, 1], [water] * 2, [Labels(energy=-6.0), Labels(energy=np.nan)])
        writer.seal()
    told = done(mlffd("data", "info", tmp_path / "data", "--quick"))
    assert "-2.0000 to -2.0000, mean -2.0000 eV/atom; in 1 structure not a finite" in told


def test_a_flipped_byte_is_found_named_and_repaired(store, tmp_path):
    path = tmp_path / "data"
    done(mlffd("data", "merge", store, "-o", path))
    assert "every byte as written" in done(mlffd("data", "verify", path))
    shard = path / "shards" / "000000.h5"
    content = bytearray(shard.read_bytes())
    content[5000] ^= 1
    shard.write_bytes(content)
    found = mlffd("data", "verify", path)
    assert found.returncode == 1
    assert "000000.h5 does not match its checksum" in found.stderr
    assert "no shard that is whole" in refused(mlffd("data", "repair", path))


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX")
def test_an_interrupted_import_says_how_to_go_on_and_goes_on(frames, tmp_path):
    many, path = tmp_path / "many.xyz", tmp_path / "data"
    many.write_text(frames.read_text() * 60)
    command = [sys.executable, "-m", "mlff_distiller.cli.main", "data", "import", str(many), "--out", str(path)]
    run = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
    journal = path / "journals" / "00.journal"
    while not journal.exists() and run.poll() is None:
        time.sleep(0.005)
    run.send_signal(signal.SIGINT)
    _, said = run.communicate()
    if run.returncode != 0:  # else it was faster than the signal
        assert run.returncode == 130
        assert "run the same command again to continue" in said
        assert "Traceback" not in said
    done(mlffd("data", "import", many, "--out", path))
    assert Store.open(path).ids.tolist() == list(range(4800))


def test_what_cannot_be_written_is_said(store, tmp_path):
    (tmp_path / "file").write_text("x")
    assert "cannot write" in refused(mlffd("data", "merge", store, "-o", tmp_path / "file" / "data"))
    done(mlffd("data", "export", store, tmp_path / "a.xyz"))
    assert "exists" in refused(mlffd("data", "export", store, tmp_path / "a.xyz"))
    done(mlffd("data", "export", store, tmp_path / "a.xyz", "--overwrite"))


def test_the_report_of_an_import_is_kept(store):
    report = json.loads((store / "import.json").read_text())
    assert report["counts"]["imported"] == 80
