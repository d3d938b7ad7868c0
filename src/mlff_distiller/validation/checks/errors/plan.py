"""The check of errors on held-out frames: its settings, and how it is done."""

from pydantic import Field

from mlff_distiller.core.evidence import Evidence, Skipped
from mlff_distiller.core.measurement import Measurement
from mlff_distiller.validation.check import CheckPlan
from mlff_distiller.validation.checks.coverage import measure_coverage
from mlff_distiller.validation.checks.errors import energy, force, stress
from mlff_distiller.validation.checks.errors.parity import Parity, compare
from mlff_distiller.validation.checks.errors.summary import summarize
from mlff_distiller.validation.trial import Trial


class ForceErrorsPlan(CheckPlan):
    """Errors of forces, energies and stress on held-out frames."""

    angle_threshold_eV_per_A: float = Field(
        0.1, ge=0, description="Atoms with a smaller reference force are left out of the mean angular error."
    )
    n_resamples: int = Field(
        2000, ge=200, le=100_000, description="Number of bootstrap resamples behind each 95 % interval."
    )

    def measure(self, trial: Trial) -> Evidence:
        """Predict all held-out frames and return the errors with 95 % intervals, and the numbers behind them.

        The arrays are the fields of a :class:`Parity`.

        Examples
        --------
        >>> from mlff_distiller.atoms.structure import Structure
        >>> from mlff_distiller.potentials.analytic import morse
        >>> from mlff_distiller.validation.held_out import HeldOut
        >>> teacher, student = (morse(depth=d, width=1.9, distance=0.74, cutoff=6.0) for d in (4.5, 4.6))
        >>> dimers = [Structure([1, 1], [[0, 0, 0], [0, 0, r]]) for r in (0.7, 0.8, 0.9, 1.0)]
        >>> frames = HeldOut(dimers, teacher.predict(dimers), ["a", "a", "b", "b"])
        >>> round(ForceErrorsPlan().measure(Trial(student, held_out=frames)).measurement("force_rmse").value, 3)
        0.037
        """
        frames = trial.held_out
        if frames is None:
            names = (*force.ESTIMATES, "force_max_error", *energy.ESTIMATES, *stress.ESTIMATES, "systems_covered")
            return Evidence(skipped=[Skipped(name, "there are no held-out frames") for name in names])
        advance = trial.reporter.start(f"errors {trial.name}", len(frames.structures))
        parity = compare(trial.potential, frames, advance=advance)
        measured, skipped = self.summarize(parity, seed=trial.seed), stress.without_stress(parity)
        if frames.trained:
            measured.append(measure_coverage(frames.trained, frames.systems))
        else:
            skipped.append(Skipped("systems_covered", "nobody says what it was trained on", applies=False))
        return Evidence(measured, skipped, vars(parity))

    def summarize(self, parity: Parity, *, seed: int = 0) -> list[Measurement]:
        """Return the error measurements of predictions made before."""
        threshold = self.angle_threshold_eV_per_A
        return summarize(parity, angle_threshold_eV_per_A=threshold, n_resamples=self.n_resamples, seed=seed)
