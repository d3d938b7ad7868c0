"""One teacher in its own environment without our worker between: what `labeling.py` compares the worker with.

Reads the place and the settings of a plan and the structures from the file named on the command line; then, for every
line "BATCH REPEATS" on standard input, prints the seconds that so many calls of so many structures took.
"""

import json
import sys
import time
from importlib import import_module

import numpy as np

from mlff_distiller.atoms.structure import Structure


def main(path: str) -> None:
    with open(path) as file:
        given = json.load(file)
    module, _, name = given["place"].partition(":")
    teacher = getattr(import_module(module), name).parse(given["settings"], where=path).load()
    structures = [
        Structure(s["numbers"], np.array(s["positions"]), cell=s["cell"], pbc=s["pbc"]) for s in given["structures"]
    ]
    print("ready", flush=True)
    for line in sys.stdin:
        batch, repeats = map(int, line.split())
        began = time.perf_counter()
        for _ in range(repeats):
            teacher.predict(structures[:batch])
        print(time.perf_counter() - began, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
