"""Groups of commands that are imported only when one of them is called, so that ``mlffd --help`` stays instant."""

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

from mlff_distiller.core.console import CONSOLE


class LazyGroup(TyperGroup):
    """A group whose commands live in a module that is imported on demand.

    Parameters
    ----------
    name : str
        Name of the group.
    place : str
        ``"package.module:app"``, a Typer application.
    help : str
        One sentence for the list of commands.
    """

    def __init__(self, name: str, place: str, help: str) -> None:
        super().__init__(name=name, help=help, no_args_is_help=True, rich_markup_mode=None)
        self._place = place

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the commands, in the order of the module."""
        return list(self._loaded().list_commands(ctx))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return one command."""
        return self._loaded().get_command(ctx, cmd_name)

    def _loaded(self) -> TyperGroup:
        module, _, attribute = self._place.partition(":")
        return typer.main.get_group(getattr(import_module(module), attribute))


class Commands(TyperGroup):
    """The top of ``mlffd``: its own commands and the lazy groups."""

    groups = (
        LazyGroup("data", "mlff_distiller.cli.data:app", "Import, look into, check, split, select and export data."),
        LazyGroup(
            "teacher", "mlff_distiller.cli.teacher:app", "List teachers, say what they can do, and install them."
        ),
    )

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for group in self.groups:
            self.add_command(group)

    def invoke(self, ctx: Any) -> Any:
        """Run a command; an interruption ends in one sentence."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            said = str(error) or "interrupted; run the same command again to continue"
            CONSOLE.print(f"mlffd: {said}", markup=False)
            raise typer.Exit(130) from None
