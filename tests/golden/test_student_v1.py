"""Version 1 of the student format stays readable and gives the energies and forces that it gave.

``student-v1.safetensors`` was written once, by the last release that wrote version 1, and ``student-v1.json`` says what
it gave then for a molecule, a cation and a small triclinic cell. Neither is ever written again.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.students.checkpoint import load, read_header, save
from mlff_distiller.students.potential import StudentPotential

HERE = Path(__file__).parent
FILE = HERE / "student-v1.safetensors"


@pytest.fixture(scope="module")
def expected():
    return json.loads((HERE / "student-v1.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["float32", "float64"])
def test_predictions(expected, name, tmp_path):
    """The cell of the fixture presses atoms together, which version 1 did not mind."""
    student = load(FILE, dtype=getattr(torch, name))
    save(student, tmp_path / "again.safetensors")
    for potential in (StudentPotential(student), StudentPotential(load(tmp_path / "again.safetensors"))):
        for entry in expected:
            given = {key: entry[key] for key in ("numbers", "positions", "cell", "pbc", "charge")}
            labels = potential.predict([Structure(**given)], ("energy", "forces", "stress"))[0]
            for key, value in entry[name].items():
                np.testing.assert_allclose(getattr(labels, key), value, rtol=2e-6, atol=2e-5)


def test_header():
    header = read_header(FILE)
    assert (header["version"], header["plan"]["repulsion"], header["states"]) == (2, "none", [])
    assert header["training"] == {"recipe": "water", "step": 20, "validation_force_rmse": 0.5}
    student = load(FILE)
    assert (student.charges, student.plan.radial, student.plan.envelope_power) == ((0, 1), "bessel", 6)
    assert StudentPotential(student).spins is None
