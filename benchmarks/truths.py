"""Known truths: is what the validation says of deliberately broken potentials what was built into them.

Run it with: python benchmarks/truths.py [--repetitions 100] [--cases healthy drift ...] [--processes 2] [--json FILE]

A small world of analytic potentials (tests/validation/truths) holds a teacher, a healthy student, and students with one
fault of known size each. Every repetition draws held-out frames, starting points and velocities afresh, runs all
checks, 10 ps of constant-energy dynamics among them, and judges. Prints, for each student, in how many repetitions
the 95 % interval of a number held what was built in, and in how many the verdict was the right one. The file
has JSON lines, one for each repetition.
"""

import argparse
import json
import os
import sys
import time
from multiprocessing import get_context
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small arrays, and one process for each core
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "validation" / "truths"))

from truth_cases import cases
from truth_harness import Repetition, Row, repeat, summarize


def one(task: tuple[str, int]) -> Repetition:
    """Validate and judge one student once."""
    name, seed = task
    return repeat(cases()[name], seed)


def line(row: Row) -> str:
    """Return one row of the table."""
    detail = ", ".join(f"{key} {value:.4g}" for key, value in row.detail.items())
    return f"{row.case:<20}{row.what:<28}{row.truth:>24}{row.found:>7} of {row.of:<6}{detail}"


def main() -> None:
    """Run all and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=100)
    parser.add_argument("--cases", nargs="*", choices=list(cases()), default=list(cases()))
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    print(f"{'student':<20}{'number or verdict':<28}{'built in, or right':>24}{'found':>7} of")
    handle = None if options.json is None else options.json.open("w", encoding="utf-8")
    with get_context("spawn").Pool(options.processes) as pool:
        for name in options.cases:
            begun, found = time.perf_counter(), []
            for repetition in pool.imap(one, [(name, seed) for seed in range(options.repetitions)]):
                found.append(repetition)
                if handle is not None:
                    handle.write(json.dumps(repetition.to_json()) + "\n")
                    handle.flush()
            for row in summarize(cases()[name], found):
                print(line(row))
            missing = sorted({reason for repetition in found for reason in repetition.skipped})
            print(
                f"{'':<20}{time.perf_counter() - begun:.0f} s; not measured: {'; '.join(missing) or 'nothing'}",
                flush=True,
            )
    if handle is not None:
        handle.close()


if __name__ == "__main__":
    main()
