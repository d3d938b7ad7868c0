"""The page of pictures: sections in the order in which a reader gets to know a data set."""

from pathlib import Path
from typing import Any

from mlff_distiller.core.console import Reporter, Silent
from mlff_distiller.core.errors import DataError
from mlff_distiller.core.files import write_text
from mlff_distiller.core.html import words
from mlff_distiller.core.html.markup import Numbered, definitions, note
from mlff_distiller.core.html.page import Section, page
from mlff_distiller.core.provenance import stamp
from mlff_distiller.data.curation.diversity import describe_content
from mlff_distiller.data.pictures import content_figures, label_figures, map_figures, outliers, structure_view, tables
from mlff_distiller.data.pictures.numbers import Numbers
from mlff_distiller.data.pictures.sample import Sample
from mlff_distiller.data.sanity.check import SanityReport
from mlff_distiller.data.splits.files import read_split, split_file, split_names
from mlff_distiller.data.splits.split import Split
from mlff_distiller.data.statistics import Statistics
from mlff_distiller.data.storage.store import Store


def write_page(
    store: Store,
    path: Path,
    *,
    sanity: SanityReport | None = None,
    name: str | None = None,
    reporter: Reporter | None = None,
) -> None:
    """Write the pictures of a data set to one HTML file that needs no network, atomically.

    The data are read block by block, and the page does not grow with them: histograms are of all structures, scatter
    plots of a sample of 3,000, always the same.

    Parameters
    ----------
    store : Store
        The data set.
    path : Path
        The file.
    sanity : SanityReport, optional
        From :func:`~mlff_distiller.data.sanity.check.check`; without it the page says that nothing was checked.
    name : str, optional
        The heading; the name of the store's directory unless said.
    reporter : Reporter, optional
        Where progress is told.

    Raises
    ------
    DistillerError
        If the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from mlff_distiller.atoms.structure import Structure
    >>> from mlff_distiller.data.storage.writer import StoreWriter
    >>> folder = Path(tempfile.mkdtemp())
    >>> writer = StoreWriter(folder / "hydrogen")
    >>> writer.append([0], [Structure([1, 1], [[0, 0, 0], [0, 0, 0.74]])])
    >>> write_page(writer.seal(), folder / "page.html")
    >>> "<h1>hydrogen</h1>" in (folder / "page.html").read_text(encoding="utf-8")
    True
    """
    write_text(path, render(store, sanity, name=name or store.path.resolve().name, reporter=reporter or Silent()))


def render(store: Store, sanity: SanityReport | None, *, name: str, reporter: Reporter) -> str:
    """Return the page as HTML."""
    write = _Page(store, sanity, reporter)
    made = stamp()
    return page(
        name,
        [
            Section("what", "What it is", write.what()),
            Section("composition", "Composition", write.composition()),
            Section("energies", "Energies", write.energies()),
            Section("forces", "Forces", write.forces()),
            Section("cells", "Cells and stress", write.cells()),
            Section("distances", "Distances", write.distances()),
            Section("map", "Map and redundancy", write.map()),
            Section("findings", "What looks wrong", write.findings()),
            Section("look", "Structures to look at", write.look()),
            Section("origin", "Origin", write.origin()),
        ],
        title=f"{name}: mlffd data",
        kicker=f"MLFF Distiller data set · {made['created'].replace('T', ' ').replace('Z', ' UTC')}",
        headline=write.headline(),
        version=str(made["versions"]["mlff-distiller"]),
    )


class _Page:
    """The sections; everything is read before the first is written."""

    def __init__(self, store: Store, sanity: SanityReport | None, reporter: Reporter) -> None:
        self.store, self.sanity = store, sanity
        advance = reporter.start("pictures", 4)
        self.statistics = Statistics.of(store)
        advance(note="labels")
        self.numbers = Numbers.of(store, self.statistics)
        advance(note="content")
        self.content = describe_content(store)
        advance(note="map")
        self.sample = Sample.of(store)
        self.outliers = outliers.choose(self.numbers, self.sample, sanity)
        self.splits = _splits(store)
        advance(note="done")
        numbered = Numbered()
        self._figure, self._table = numbered.figure, numbered.table

    def headline(self) -> str:
        elements = list(self.content["elements"])
        shown = words.listing(elements) if len(elements) <= 10 else f"{len(elements)} elements"
        labels = [name.replace("_", " ") for name in self.statistics.summary()["properties"]]
        labeled = f"labeled with {words.listing(labels)}" if labels else "without labels"
        return (
            f"{self.content['n_structures']:,} structures with {self.content['n_atoms']:,} atoms of {shown}, {labeled}."
        )

    def what(self) -> str:
        labels = self._table("Labels.", "How many structures have which.", tables.labels(self.statistics))
        if not self.splits:
            return tables.facts(self.store, self.content) + labels + note("No split is kept with the data.")
        splits = self._table("Splits.", "Structures in each part.", tables.splits(self.splits))
        return tables.facts(self.store, self.content) + labels + splits

    def composition(self) -> str:
        elements = self._figure(content_figures.elements(self.content))
        drawn = self._figure(content_figures.compositions(self.content, self.store.sizes))
        formulas = list(self.content["formulas"])
        only = (
            f"All structures are {words.formula(formulas[0])}." if len(formulas) == 1 else "Every composition differs."
        )
        return elements + (drawn or note(only))

    def energies(self) -> str:
        return self._figure(label_figures.energies(self.store, self.numbers)) or note("No structure has an energy.")

    def forces(self) -> str:
        return self._figure(label_figures.forces(self.numbers)) or note("No structure has forces.")

    def cells(self) -> str:
        drawn = self._figure(label_figures.cells(self.numbers, self.sample.rows))
        return drawn or note("No structure is periodic in three directions, so there is neither volume nor stress.")

    def distances(self) -> str:
        drawn = self._figure(content_figures.distances(self.content))
        return drawn or note("No two atoms are within 5&nbsp;Å of each other.")

    def map(self) -> str:
        named = next(((name, s) for name, s in self.splits.items() if isinstance(s, Split)), None)
        name, parts = (named[0], named[1].assignment) if named else ("", None)
        drawn = self._figure(map_figures.similarity_map(self.sample, self.numbers, parts, name))
        drawn += self._figure(map_figures.redundancy(self.sample, self.numbers))
        return drawn or note("A map needs at least three structures that differ.")

    def findings(self) -> str:
        if self.sanity is None:
            return note("The structures were not checked; leave out --quick to check them.")
        caption = (
            f"{len(self.sanity.rows):,} of {self.sanity.n_structures:,} structures have a finding. A finding is a "
            "reason to look, not a verdict: what is right may be rare."
        )
        return self._table("Findings.", caption, tables.findings(self.sanity, self.outliers))

    def look(self) -> str:
        return self._figure(structure_view.view(self.store, self.outliers))

    def origin(self) -> str:
        known: dict[str, Any] = {**self.store.header, **self.store.manifest.provenance}
        return definitions(known) if known else note("Nothing was recorded.")


def _splits(store: Store) -> dict[str, Split | str]:
    """Return the splits that are kept with the data; a sentence in place of one that cannot be read."""
    found: dict[str, Split | str] = {}
    for name in split_names(store.path):
        try:
            found[name] = read_split(split_file(store.path, name), data_digest=store.digest).split
        except DataError as error:
            found[name] = str(error)
    return found
