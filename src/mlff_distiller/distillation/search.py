"""Search of training settings under a time budget: short trainings, the hopeless ones stopped early."""

import math
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from pydantic import Field, model_validator

from mlff_distiller.core.console import Reporter, Silent
from mlff_distiller.core.errors import TrainingError
from mlff_distiller.core.plan import Plan
from mlff_distiller.distillation.distill import Task, distill, initial_student
from mlff_distiller.distillation.events import Listener, Row
from mlff_distiller.distillation.plan import TrainingPlan

_METRICS: Final = ("validation_force_rmse", "validation_energy_rmse_per_atom")
_N_VALIDATIONS: Final = 8
_N_TIMED: Final = 4


class SearchPlan(Plan):
    """What is searched, and for how long.

    Examples
    --------
    >>> SearchPlan(trial_s=20).batch_sizes
    (4, 8, 16, 32)
    """

    trial_s: float = Field(45.0, gt=0, description="Seconds that each training takes; all take the same.")
    learning_rates: tuple[float, float] = Field((1e-3, 3e-2), description="Lowest and highest learning rate.")
    batch_sizes: tuple[int, ...] = Field((4, 8, 16, 32), min_length=1, description="Batch sizes to choose from.")
    energy_weights: tuple[float, float] = Field(
        (0.1, 10.0), description="Lowest and highest weight of the energy term, where the loss has one."
    )

    @model_validator(mode="after")
    def _check(self) -> "SearchPlan":
        for name in ("learning_rates", "energy_weights"):
            low, high = getattr(self, name)
            if not 0 < low < high:
                raise ValueError(f"{name}: give a lower and a higher bound, both above zero")
        return self


@dataclass(frozen=True)
class Trial:
    """One training of a search.

    Attributes
    ----------
    number : int
        In the order they began; 0 has the settings that were there before.
    settings : dict
        What was tried.
    score : float or None
        Mean of force and energy error, each relative to those of trial 0; None where it was stopped early.
    """

    number: int
    settings: dict[str, Any]
    score: float | None


@dataclass(frozen=True, eq=False)
class Found:
    """What a search has found so far.

    Attributes
    ----------
    trials : list of Trial
        All that ended.
    best : Trial or None
        The one with the lowest score.
    plan : TrainingPlan
        The settings with those of the best trial put in.
    was_interrupted : bool
        Whether Ctrl-C ended it.
    """

    trials: list[Trial]
    best: Trial | None
    plan: TrainingPlan
    was_interrupted: bool = False


def search(
    task: Task,
    plan: SearchPlan,
    folder: Path,
    *,
    minutes: float,
    reporter: Reporter | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Found:
    """Try settings of a training until the time is up; called again in the same folder, it goes on.

    Settings are proposed by the tree-structured Parzen estimator of Optuna (Akiba et al. 2019,
    doi:10.1145/3292500.3330701). Every trial takes the same time, so that a larger batch pays with fewer steps; one
    that is worse than the median of the others at the same point is stopped.

    Parameters
    ----------
    task : Task
        Student, data, and the settings that trial 0 has and all others start from.
    plan : SearchPlan
        What is searched.
    folder : Path
        Where the journal is kept.
    minutes : float
        No trial is begun that would end after this time; at least one is.
    reporter : Reporter, optional
        Where progress is shown.
    clock : callable
        Seconds.

    Raises
    ------
    TrainingError
        If Optuna is not installed, or the present settings cannot be trained with.
    """
    study = _study(folder, task.digest, task.seed)
    advance = (reporter or Silent()).start(f"search, {minutes:g} min", max(1, int(60 * minutes / plan.trial_s)))
    began, was_interrupted = clock(), False
    try:
        while True:
            _Run(study, task, plan, folder).run()
            advance(1, note=_best_note(study))
            if clock() - began + plan.trial_s > 60 * minutes:
                break
    except KeyboardInterrupt:
        was_interrupted = True
    return replace(_found(study, task.plan), was_interrupted=was_interrupted)


class _Run:
    """One trial."""

    def __init__(self, study: Any, task: Task, plan: SearchPlan, folder: Path) -> None:
        self.study, self.task, self.plan, self.folder = study, task, plan, folder

    def run(self) -> None:
        """Train with settings that the study proposes and tell it what came out."""
        import optuna

        if "present" not in self.study.user_attrs:
            self.study.enqueue_trial(_present(self.task.plan, self.plan))
        trial = self.study.ask()
        settings = _proposed(trial, self.task.plan, self.plan)
        place = self.folder / f"trial-{trial.number}"
        try:
            score = self._score(trial, settings, place)
            self.study.tell(trial, score)
        except optuna.TrialPruned:
            self.study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        except TrainingError:
            self.study.tell(trial, state=optuna.trial.TrialState.FAIL)
            if "present" not in self.study.user_attrs:
                raise
        except KeyboardInterrupt:
            self.study.tell(trial, state=optuna.trial.TrialState.FAIL)
            raise
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def _score(self, trial: Any, settings: dict[str, Any], place: Path) -> float:
        rate = self._steps_per_s(int(settings["batch_size"]))
        n_steps = max(_N_VALIDATIONS, int(rate * self.plan.trial_s))
        short = {"n_steps": n_steps, "validation_interval": max(1, n_steps // _N_VALIDATIONS), "compile": "never"}
        quiet = {"state_interval_s": 1e9, "tensorboard": False}
        plan = changed(self.task.plan, settings).model_copy(update={**short, **quiet})
        watch = _Watch(trial, self.study.user_attrs.get("present"))
        distill(replace(self.task, plan=plan, digest=f"trial {trial.number}"), place, listeners=[watch])
        assert watch.best is not None
        if watch.present is None:
            self.study.set_user_attr("present", watch.best)
            return 1.0
        return watch.score(watch.best)

    def _steps_per_s(self, batch_size: int) -> float:
        """Return how many steps a second takes, measured once, so that a continued search compares like with like."""
        known: dict[str, float] = self.study.user_attrs.get("steps_per_s", {})
        if str(batch_size) not in known:
            known = {**known, str(batch_size): steps_per_s(self.task, batch_size)}
            self.study.set_user_attr("steps_per_s", known)
        return known[str(batch_size)]


class _Watch(Listener):
    """Tells the study of validations and ends a trial that falls behind."""

    def __init__(self, trial: Any, present: list[float | None] | None) -> None:
        self.trial, self.present = trial, present
        self.best: list[float | None] | None = None

    def validated(self, history: list[Row]) -> None:
        """Report the newest validation."""
        import optuna

        errors = [history[-1][metric] for metric in _METRICS]
        if self.best is None or self.score(errors) <= self.score(self.best):
            self.best = errors
        if self.present is None:
            return
        self.trial.report(self.score(errors), len(history))
        if self.trial.should_prune():
            raise optuna.TrialPruned

    def score(self, errors: list[float | None]) -> float:
        """Return the mean of errors, relative to those of the present settings; of the first, the force error."""
        if self.present is None:
            return next((error for error in errors if error is not None), math.inf)
        pairs = zip(errors, self.present, strict=True)
        ratios = [error / base for error, base in pairs if error is not None and base]
        return sum(ratios) / max(1, len(ratios))


def steps_per_s(task: Task, batch_size: int) -> float:
    """Return how many training steps of a batch size a second takes here."""
    from mlff_distiller.data.loading.loader import GraphLoader
    from mlff_distiller.distillation.flat import FlatParameters
    from mlff_distiller.distillation.projection import trained
    from mlff_distiller.distillation.step import EagerStep

    device = task.plan.chosen_device()
    student = initial_student(task).to(device)
    settings: dict[str, Any] = {"cutoff": student.cutoff, "seed": task.seed, "dtype": student.dtype, "device": device}
    loader = GraphLoader(task.train, batch_size=batch_size, **settings)
    module, loss = trained(student, task.plan.loss, loader)
    flat, step = FlatParameters(module), EagerStep(module, loss, mixed_precision=task.plan.mixed_precision)
    began, n = math.nan, 0
    for n, batch in enumerate(loader.batches(0)):
        if n == 1:
            began = time.monotonic()  # the first call is slower
        step(flat.values, loss.factors(loss.counts([batch]), progress=0.0), batch)[1].norm().item()
        if n == _N_TIMED:
            break
    return n / (time.monotonic() - began) if n else 1.0


def changed(plan: TrainingPlan, settings: dict[str, Any]) -> TrainingPlan:
    """Return training settings with those of a trial put in.

    Examples
    --------
    >>> found = changed(TrainingPlan(), {"learning_rate": 1e-2, "batch_size": 8, "energy_weight": 3.0})
    >>> found.batch_size, found.loss[0].weight
    (8, 3.0)
    """
    weight = settings.get("energy_weight")
    loss = tuple(
        term.model_copy(update={"weight": weight}) if weight and term.kind == "energy" else term for term in plan.loss
    )
    own: dict[str, Any] = {name: settings[name] for name in ("learning_rate", "batch_size") if name in settings}
    own |= {"batch_edges": None} if "batch_size" in own else {}  # which would be in its place
    return plan.model_copy(update={**own, "loss": loss})


def _proposed(trial: Any, present: TrainingPlan, plan: SearchPlan) -> dict[str, Any]:
    settings = {
        "learning_rate": trial.suggest_float("learning_rate", *plan.learning_rates, log=True),
        "batch_size": trial.suggest_categorical("batch_size", plan.batch_sizes),
    }
    if _energy_weight(present) is not None:
        settings["energy_weight"] = trial.suggest_float("energy_weight", *plan.energy_weights, log=True)
    return settings


def _present(present: TrainingPlan, plan: SearchPlan) -> dict[str, Any]:
    """Return what is to be searched as it is, moved into the bounds where it is outside."""
    nearest = min(plan.batch_sizes, key=lambda size: abs(size - present.batch_size))
    settings: dict[str, Any] = {
        "learning_rate": _within(present.learning_rate, *plan.learning_rates),
        "batch_size": nearest,
    }
    weight = _energy_weight(present)
    return settings if weight is None else {**settings, "energy_weight": _within(weight, *plan.energy_weights)}


def _within(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


def _energy_weight(plan: TrainingPlan) -> float | None:
    return next((term.weight for term in plan.loss if term.kind == "energy" and term.weight), None)


def _study(folder: Path, digest: str, seed: int) -> Any:
    """Open the journal of a search; trials that were cut short are told to have failed."""
    try:
        import optuna
    except ImportError as error:
        raise TrainingError('a search needs Optuna; run pip install "mlff-distiller[search]"') from error
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder.mkdir(parents=True, exist_ok=True)
    storage = JournalStorage(JournalFileBackend(str(folder / f"{digest[:16]}.journal")))
    study = optuna.create_study(
        study_name="search",
        storage=storage,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=2),
        load_if_exists=True,
    )
    trials = study.get_trials(deepcopy=False)
    study.sampler = optuna.samplers.TPESampler(seed=seed + len(trials), n_startup_trials=6)
    for trial in trials:
        if trial.state == optuna.trial.TrialState.RUNNING:
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    return study


def _found(study: Any, present: TrainingPlan) -> Found:
    trials = [
        Trial(t.number, dict(t.params), t.value) for t in study.get_trials(deepcopy=False) if t.state.is_finished()
    ]
    done = [trial for trial in trials if trial.score is not None]
    best = min(done, key=lambda trial: (trial.score or 0.0, trial.number), default=None)
    return Found(trials, best, changed(present, best.settings) if best else present)


def _best_note(study: Any) -> str:
    values = [trial.value for trial in study.get_trials(deepcopy=False) if trial.value is not None]
    return f"best {min(values):.2f} of the present error" if values else ""
