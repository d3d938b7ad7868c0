"""Label the structures of a file with GFN2-xTB on all cores, and say what was refused.

Run it with: python examples/label_files.py structures.xyz labels
Killed and started again it continues; no label is lost or made twice.
"""

import sys
from pathlib import Path

from mlff_distiller.atoms.conversion import read_structures
from mlff_distiller.core.console import progress_bars
from mlff_distiller.data.statistics import summary
from mlff_distiller.data.storage.writer import StoreWriter
from mlff_distiller.labeling.label import LabelingPlan, label
from mlff_distiller.scale.local import LocalPool
from mlff_distiller.teachers.xtb import XTBPlan


def main(source: Path, target: Path) -> None:
    """Read, label and describe."""
    structures = read_structures(source)
    with StoreWriter(target / "structures") as writer:
        if not writer.done_ids:
            writer.append(range(len(structures)), structures)
        unlabeled = writer.seal()
    with progress_bars() as bars:
        result = label(unlabeled, LabelingPlan(), XTBPlan(), path=target / "labels", pool=LocalPool(), reporter=bars)

    print(f"{result.n_labeled} of {len(structures)} structures labeled, by {result.store.identity['version']}")
    for reason, count in result.refusals.items():
        print(f"refused: {count} because of {reason}")
    facts = summary(result.store)
    print(f"elements: {facts['elements']}; RMS force {facts['force_rms_eV_per_A']:.3f} eV/Angstrom")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python label_files.py STRUCTURES OUTPUT_DIRECTORY")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
