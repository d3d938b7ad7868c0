"""Teachers and a script for the tests of labeling; imported in other processes by name."""

import os
import signal
import time

import numpy as np
from ase.calculators.calculator import CalculationFailed, Calculator, all_changes


class Picky(Calculator):
    """Morse-like energies; fails, gives NaN huge forces, crashes, hangs or fills the memory where told to."""

    implemented_properties = ("energy", "forces")

    def __init__(self, wait_s: float = 0.0) -> None:
        super().__init__()
        self.wait_s = wait_s

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        time.sleep(self.wait_s)
        command = round(atoms.positions[0, 0])
        if command == 4:
            os.kill(os.getpid(), signal.SIGSEGV)
        if command == 5:
            time.sleep(3600)
        if command == 6:
            np.ones(10_000_000_000)
        if command == 7:  # only where it is, not beside that
            command = 0 if atoms.positions[0, 0] == 7 else 1
        if command == 8:
            command = 0 if atoms.positions[0, 0] == 8 else 2
        if command == 1:
            raise CalculationFailed("no convergence")
        forces = np.full((len(atoms), 3), {2: np.nan, 3: 1e3}.get(command, 0.1))
        self.results = {"energy": float(atoms.positions.sum()), "forces": forces}


SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, {here!r})
from mlff_distiller.core.console import Silent
from mlff_distiller.data.storage.store import Store
from mlff_distiller.labeling.label import LabelingPlan, label
from mlff_distiller.scale.local import LocalPool
from mlff_distiller.teachers.ase_factory import ASEFactoryPlan

teacher = ASEFactoryPlan(factory="label_tasks:Picky", arguments={{"wait_s": 0.02}})
plan = LabelingPlan(chunk_size=2, hessian_directions={n_directions})
label(Store.open(Path({structures!r})), plan, teacher, path=Path({labels!r}), pool=LocalPool(2), reporter=Silent())
"""
