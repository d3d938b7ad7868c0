"""Which backend is taken, what is said about it, and that a wrong one is never used."""

import copy
import pickle
import warnings

import ase.build
import numpy as np
import pytest
import torch

from mlff_distiller import StudentCalculator
from mlff_distiller.atoms.conversion import from_ase
from mlff_distiller.core.errors import BackendError, UnknownNameError
from mlff_distiller.students import checkpoint
from mlff_distiller.students.backends import BACKENDS
from mlff_distiller.students.backends.backend import Eager
from mlff_distiller.students.backends.choice import choose
from mlff_distiller.students.backends.kernel import Kernel
from mlff_distiller.students.painn.plan import PaiNNPlan
from mlff_distiller.students.potential import StudentPotential
from mlff_distiller.students.student import Student


@pytest.fixture(scope="module")
def student():
    return Student(PaiNNPlan(preset="ultra-tiny"), {1: -13.6, 6: -1030.0, 8: -2040.0}, scale=2.0, neighbor_norm=3.0)


@pytest.fixture(scope="module")
def file(student, tmp_path_factory):
    path = tmp_path_factory.mktemp("students") / "student.safetensors"
    checkpoint.save(student, path)
    return path


class Wrong(Kernel):
    """A kernel whose forces are off by a thousandth."""

    name = "wrong"

    def derive(self, graph, properties=("energy", "forces")):
        found = super().derive(graph, properties)
        found.forces.mul_(1.001)
        return found


def test_every_backend_has_its_name():
    for name in BACKENDS.names():
        if name != "triton":  # needs a library of its own
            assert BACKENDS.get(name).name == name


def test_the_fastest_is_taken_and_said(student):
    choice = choose(student)
    assert isinstance(choice.backend, Kernel)
    assert choice.reason == "kernel: the fastest that is here for a painn on cpu"
    assert choose(student, "eager").reason == "eager: as asked"


def test_an_unknown_one_is_refused_with_the_nearest(student):
    with pytest.raises(UnknownNameError, match=r"unknown backend 'kernal'.*did you mean 'kernel'"):
        choose(student, "kernal")


def test_a_wrong_one_is_never_used(monkeypatch, student):
    monkeypatch.setitem(BACKENDS._places, "kernel", f"{__name__}:Wrong")
    monkeypatch.setattr(BACKENDS, "get", lambda name: {"kernel": Wrong, "eager": Eager}[name])
    with pytest.raises(BackendError, match=r"differs from the eager network by .* eV/Angstrom; use backend='eager'"):
        choose(student, "kernel")
    with pytest.warns(UserWarning, match="the slower backend 'eager' is used: .*differs"):
        choice = choose(student)
    assert isinstance(choice.backend, Eager)
    assert "differs" in choice.reason


def test_one_that_breaks_is_left_out(monkeypatch, student):
    def broken(self, graph, properties=()):
        raise RuntimeError("Failed to find a C compiler.\nMore.")

    monkeypatch.setattr(Kernel, "derive", broken)
    with pytest.raises(BackendError, match=r"'kernel' does not work here \(Failed to find a C compiler.\); use"):
        choose(student, "kernel")
    with pytest.warns(UserWarning, match="the slower backend 'eager' is used: .*C compiler"):
        assert isinstance(choose(student).backend, Eager)


def test_half_precision_is_left_to_the_network(student):
    half = copy.deepcopy(student).bfloat16()
    assert isinstance(choose(half).backend, Eager)
    with pytest.raises(BackendError, match="bfloat16, and the kernels know PaiNN in float32 and float64"):
        choose(half, "kernel")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"filters": "Exact"}, "filters is 'Exact'; known are 'spline' and 'exact'"),
        ({"n_points": 3}, "n_points is 3; at least 16 are needed"),
        ({"n_threads": 0}, "n_threads is 0; at least one is needed"),
    ],
)
def test_settings_out_of_bounds_are_refused(student, settings, said):
    with pytest.raises(BackendError, match=said):
        choose(student, "kernel", **settings)


def test_settings_need_a_name(student):
    with pytest.raises(BackendError, match="n_threads is a setting of one backend, and 'auto' takes any; name it"):
        choose(student, n_threads=2)


def test_another_architecture_goes_without_a_warning(student):
    class Other(torch.nn.Module):
        def forward(self, species, graph):
            return torch.zeros(len(species))

    other = Student(PaiNNPlan(preset="ultra-tiny"), {1: 0.0})
    other.network = Other()
    other.network.weight = torch.nn.Parameter(torch.zeros(1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert isinstance(choose(other).backend, Eager)
    with pytest.raises(BackendError, match="the kernels know PaiNN in float32 and float64"):
        choose(other, "kernel")


def test_the_calculator_takes_a_backend_and_tells_it(file):
    ethanol = ase.build.molecule("CH3CH2OH")
    forces = {}
    for name in ("auto", "eager", "kernel"):
        ethanol.calc = StudentCalculator(file, backend=name)
        forces[name] = ethanol.get_forces()
        assert ethanol.calc.backend.startswith("kernel" if name == "auto" else name)
    np.testing.assert_allclose(forces["kernel"], forces["eager"], atol=1e-5)
    np.testing.assert_array_equal(forces["kernel"], forces["auto"])


def test_settings_reach_the_backend(student):
    potential = StudentPotential(student, backend="kernel", filters="exact", n_threads=1)
    assert potential.choice.backend.filters == "exact"
    with pytest.raises(BackendError, match=r"'kernel' has no setting 'n_thread'.*did you mean 'n_threads'"):
        StudentPotential(student, backend="kernel", n_thread=1)


def test_embeddings_come_from_the_network(student):
    found = StudentPotential(student).predict([from_ase(ase.build.molecule("CH4"))], ("energy", "embeddings"))[0]
    assert found.embeddings.shape == (5, 32)


def test_a_copy_makes_its_own_backend(student):
    structure = from_ase(ase.build.molecule("CH4"))
    potential = StudentPotential(student)
    forces = potential.predict([structure])[0].forces
    for copied in (pickle.loads(pickle.dumps(potential)), copy.deepcopy(potential)):
        np.testing.assert_array_equal(copied.predict([structure])[0].forces, forces)
        assert copied.choice.backend is not potential.choice.backend
