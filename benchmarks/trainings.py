"""One training with its errors on a test set, for the benchmarks of accuracy in this folder."""

import json
import os
import resource
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mlff_distiller.core.console import progress_bars
from mlff_distiller.core.provenance import digest
from mlff_distiller.data.loading.dataset import MolecularDataset
from mlff_distiller.distillation.distill import Task, distill
from mlff_distiller.students import checkpoint
from mlff_distiller.students.potential import StudentPotential


def trained(name: str, task: Task, test: MolecularDataset, folder: Path) -> dict[str, Any]:
    """Train a student (or continue), and return its errors on the test set with what the training cost."""
    row_file = folder / name / "row.json"
    settings = {"student": task.student.model_dump(mode="json"), "training": task.plan.model_dump(mode="json")}
    key = digest([settings, task.seed, len(task.train)])
    if row_file.exists() and (row := json.loads(row_file.read_text()))["digest"] == key:
        return row
    task = Task(**{**vars(task), "digest": key})
    before = cpu_s()
    with progress_bars() as bars:
        outcome = distill(task, folder / name, title=name, reporter=bars)
    student = checkpoint.load(folder / name / "best.safetensors")
    row = {
        "name": name,
        "n_parameters": student.n_parameters,
        "n_train": len(task.train),
        "n_steps": outcome.n_steps,
        "cpu_s": round(cpu_s() - before, 1),  # of this sitting; a continued run counts what is left
        **errors(StudentPotential(student), test),
        "digest": key,
        **settings,
    }
    row_file.write_text(json.dumps(row, indent=1))
    return row


def errors(potential: StudentPotential, test: MolecularDataset) -> dict[str, float]:
    """Return force and energy errors: meV/Angstrom and meV/atom, and R2 of force components."""
    structures, labels = test.structures(), test.all_labels()
    predicted = potential.predict(structures)
    theirs = np.concatenate([label.forces for label in labels])
    ours = np.concatenate([label.forces for label in predicted])
    per_atom = [(p.energy - t.energy) / len(s) for p, t, s in zip(predicted, labels, structures, strict=True)]
    residual = ours - theirs
    return {
        "force_rmse_meV_per_A": 1e3 * float(np.sqrt((residual**2).mean())),
        "force_mae_meV_per_A": 1e3 * float(np.abs(residual).mean()),
        "force_r2": float(1 - (residual**2).sum() / ((theirs - theirs.mean(0)) ** 2).sum()),
        "energy_rmse_meV_per_atom": 1e3 * float(np.sqrt(np.square(per_atom).mean())),
    }


def cpu_s() -> float:
    """Return the CPU time of this process and its finished children (the compiler)."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def print_row(row: dict[str, Any]) -> None:
    """Print one line."""
    print(
        f"{row['name']:32s} {row['n_parameters']:8,d} parameters {row['n_train']:6d} structures "
        f"{row['n_steps']:6d} steps {row['cpu_s']:7.0f} CPU s  "
        f"force RMSE {row['force_rmse_meV_per_A']:6.1f} MAE {row['force_mae_meV_per_A']:6.2f} meV/A  "
        f"R2 {row['force_r2']:.5f}  energy {row['energy_rmse_meV_per_atom']:6.2f} meV/atom",
        flush=True,
    )


def one_thread() -> None:
    """Use one thread, as for small molecules is best."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
