"""The error tree: every foreseen failure is one sentence with what, where and the next step.

The command line prints the sentence and exits with code 2; a traceback means a fault of ours.
"""


class DistillerError(Exception):
    """Base of all foreseen errors; the message is one clear sentence for the user.

    Examples
    --------
    >>> raise DistillerError("recipe.yaml does not exist; check the path")
    Traceback (most recent call last):
    ...
    mlff_distiller.core.errors.DistillerError: recipe.yaml does not exist; check the path
    """


class PlanError(DistillerError):
    """A setting is unknown, missing or out of bounds."""


class UnknownNameError(DistillerError):
    """A name is not registered."""


class StructureError(DistillerError):
    """A structure is malformed, cannot be read or cannot be built."""


class PropertyError(DistillerError):
    """A potential was asked for a property that it does not have."""


class UnsupportedStructureError(DistillerError):
    """A potential does not cover this structure: an element, a charge or a boundary condition."""


class TeacherError(DistillerError):
    """A teacher cannot be built."""


class DataError(DistillerError):
    """A data set is missing, empty, corrupt or of another format."""


class CheckpointError(DistillerError):
    """A student file is missing, corrupt or of another format."""


class TrainingError(DistillerError):
    """A training run cannot be started or has diverged."""


class RunDirectoryError(DistillerError):
    """An output directory cannot be used: another recipe's run, another process, or not writable."""


class BackendError(DistillerError):
    """A student cannot be evaluated in the way that was asked for."""


class ParityError(DistillerError):
    """An exported student does not reproduce the student it came from."""


class PredictionError(DistillerError):
    """One structure of a batch could not be evaluated.

    Attributes
    ----------
    index : int
        Position of the structure in the batch.
    reason : str
        Why, in a few words that are the same for all such structures ("SCF did not converge").
    detail : str
        What is special about this one ("5,000 atoms").

    Examples
    --------
    >>> raise PredictionError(3, "out of memory", "5,000 atoms")
    Traceback (most recent call last):
    ...
    mlff_distiller.core.errors.PredictionError: structure 3 of the batch could not be evaluated: out of memory ...
    """

    def __init__(self, index: int, reason: str, detail: str = "") -> None:
        self.index, self.reason, self.detail = index, reason, detail
        super().__init__(f"structure {index} of the batch could not be evaluated: {self.cause}")

    @property
    def cause(self) -> str:
        """Reason and detail together."""
        return f"{self.reason} ({self.detail})" if self.detail else self.reason

    def __reduce__(self) -> tuple[type["PredictionError"], tuple[int, str, str]]:
        """Keep all arguments when the error crosses a process boundary."""
        return type(self), (self.index, self.reason, self.detail)

    def after(self, n: int) -> "PredictionError":
        """Return the same error for a batch that has n structures more in front."""
        return PredictionError(n + self.index, self.reason, self.detail)
