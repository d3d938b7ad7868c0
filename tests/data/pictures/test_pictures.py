"""The page of pictures: right numbers, offline, escaped, complete, and drawn without an error by a real browser."""

import re
import shutil
import subprocess
from pathlib import Path

import ase.build
import numpy as np
import pytest

from mlff_distiller.atoms.conversion import from_ase
from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.console import Silent
from mlff_distiller.core.errors import DistillerError
from mlff_distiller.data.columns import pack
from mlff_distiller.data.pictures.numbers import Numbers
from mlff_distiller.data.pictures.outliers import accused_atoms, choose
from mlff_distiller.data.pictures.page import render, write_page
from mlff_distiller.data.pictures.sample import Sample
from mlff_distiller.data.sanity.check import check
from mlff_distiller.data.splits.files import split_file, write_split
from mlff_distiller.data.splits.split import Split
from mlff_distiller.data.statistics import Statistics
from mlff_distiller.data.storage.store import Store
from mlff_distiller.data.storage.writer import StoreWriter
from mlff_distiller.potentials.analytic import lennard_jones

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
EVIL = "<script>alert('x')</script>&\""
SECTIONS = ["what", "composition", "energies", "forces", "cells", "distances", "map", "findings", "look", "origin"]


def stored(path: Path, structures, labels=None, **more) -> Store:
    writer = StoreWriter(path, **more)
    writer.append(range(len(structures)), structures, labels)
    return writer.seal()


@pytest.fixture
def page_of(parsed):
    def page(store: Store, *, checked: bool = True):
        return parsed(render(store, check(store) if checked else None, name="a name", reporter=Silent()))

    return page


def mixed(n: int = 20) -> tuple[list[Structure], list[Labels]]:
    """Return molecules and crystals with labels of a pair potential; the last two have faults."""
    rng = np.random.default_rng(0)
    starts = [from_ase(ase.build.molecule("CH3CH2OH")), from_ase(ase.build.bulk("Si", cubic=True))]
    molecules, crystals = (
        [s.moved(s.positions + rng.normal(0, 0.05, s.positions.shape)) for _ in range(n)] for s in starts
    )
    squeezed = molecules[0].positions.copy()
    squeezed[3] = squeezed[2] + [0.3, 0, 0]
    faulty = [molecules[0].moved(squeezed), molecules[1]]
    potential = lennard_jones(epsilon=0.01, sigma=2.0, cutoff=5.0)
    labels = potential.predict(molecules, ("energy", "forces"))
    labels += potential.predict(crystals, ("energy", "forces", "stress"))
    labels += potential.predict(faulty, ("energy", "forces"))
    labels[-1] = Labels(energy=labels[-1].energy + 1e5, forces=labels[-1].forces)
    return [*molecules, *crystals, *faulty], labels


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    structures, labels = mixed()
    identity = {"kind": "lennard-jones", "name": "pairs", "version": "1"}
    store = stored(tmp_path_factory.mktemp("pictures") / "data", structures, labels, identity=identity)
    parts = Split.from_assignment(np.arange(len(store)) % 3)
    write_split(split_file(store.path, "mine"), parts, data_digest=store.digest)
    write_split(split_file(store.path, "other"), parts, data_digest="of other data")
    return store


@pytest.fixture(scope="module")
def html(store) -> str:
    return render(store, check(store), name="mixed", reporter=Silent())


@pytest.fixture(scope="module")
def page(html, parsed):
    return parsed(html)


def test_it_has_all_sections_and_loads_nothing(page, html) -> None:
    from plotly.offline import get_plotlyjs

    assert [a["id"] for tag, a in page.tags if tag == "section"] == SECTIONS
    loading = {"src", "srcset", "data", "action", "poster", "background", "href"}
    assert all(v.startswith("#") for _, a in page.tags for k, v in a.items() if k in loading and v)
    policy = [a["content"] for _, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy[0].startswith("default-src 'none'")
    assert html.count(get_plotlyjs()) == 1


def test_figures_are_numbered_valid_and_explained(page) -> None:
    import plotly.graph_objects as go

    for kind in ("Figure", "Table"):
        numbers = [int(n) for n in re.findall(rf"\b{kind} (\d+)\.", page.text)]
        assert numbers == list(range(1, len(numbers) + 1))
    assert len(page.figures) == 9
    for figure in page.figures:
        for shown in figure.get("choices", [figure]):
            go.Figure({"data": shown["data"], "layout": {**figure["layout"], **shown["layout"]}})


def test_it_says_what_the_store_is(page, store) -> None:
    for said in ("lennard-jones", store.digest, "C₂H₆O", "20 of them periodic", "mine", "is the split of other data"):
        assert said in page.text


def test_gathered_numbers_agree_with_a_plain_loop(store) -> None:
    numbers = Numbers.of(store, Statistics.of(store))
    reference = Statistics.of(store).reference_energies()
    for i in range(len(store)):
        structure, labels = store.structure(i), store.labels(i)
        expected = (labels.energy - sum(reference[z] for z in structure.numbers.tolist())) / len(structure)
        assert numbers.energies[i] == pytest.approx(expected, abs=1e-9)
        assert numbers.largest_forces[i] == pytest.approx(np.linalg.norm(labels.forces, axis=1).max())
        volume = structure.volume / len(structure) if structure.is_periodic else np.nan
        assert numbers.volumes[i] == pytest.approx(volume, nan_ok=True)
        pressure = np.nan if labels.stress is None else -np.trace(labels.stress) / 3
        assert numbers.pressures[i] == pytest.approx(pressure, nan_ok=True)
    assert numbers.forces.sum() == store.n_atoms
    assert numbers.forces[14].sum() == 20 * 8


def test_zero_and_endless_forces_are_counted_where_they_belong() -> None:
    structure = Structure([1, 1, 1], [[0, 0, 0], [0, 0, 1], [0, 0, 2]])
    columns = pack([0], [structure], [Labels(forces=np.array([[0, 0, 0], [0, 0, np.nan], [0, 0, 1e9]]))])
    numbers = Numbers.of(columns, Statistics.of(columns))
    assert numbers.forces[1].tolist() == [1, *[0] * 79, 1]


def test_forces_are_drawn_in_percent_of_an_element(page) -> None:
    curves = {trace["name"]: trace for trace in page.figure("Forces")["data"]}
    assert set(curves) == {"H", "C", "O", "Si"}
    for trace in curves.values():
        assert sum(trace["y"]) == pytest.approx(100, abs=0.1)


def test_distances_mark_the_shortest(page, store) -> None:
    marks = page.figure("Distances")["data"][-1]
    closest = np.linalg.norm(store.structure(0).positions[2:] - store.structure(0).positions[1], axis=1)
    assert closest.min() > 0.9
    assert min(marks["x"]) == pytest.approx(0.3, abs=0.051)  # the squeezed C-H or O-H


def test_the_map_names_rows_and_shows_the_split(page, store) -> None:
    traces = [trace for trace in page.figure("Map")["data"] if trace["x"] != [None]]
    assert sum(len(trace["x"]) for trace in traces) == len(store)
    texts = [text for trace in traces for text in trace["text"]]
    assert sum(text.startswith("structure 7, id 7<br>C2H6O") for text in texts) == 1
    signs = {sign for trace in traces for sign in trace["marker"]["symbol"]}
    assert signs == {"circle", "diamond", "cross"}


def test_principal_components_keep_as_much_variance_as_they_say(store) -> None:
    from mlff_distiller.data.similarity.descriptors import embed

    sample = Sample.of(store)
    features = embed(sample.columns).astype(float)
    singular = np.linalg.svd(features - features.mean(0), compute_uv=False)
    assert sample.shares == pytest.approx(singular[:2] ** 2 / (singular**2).sum(), rel=1e-4)
    assert np.square(sample.places).sum(0) == pytest.approx(singular[:2] ** 2, rel=1e-4)


def test_the_worst_structures_are_found_and_linked(page, store) -> None:
    sanity = check(store)
    found = choose(Numbers.of(store, Statistics.of(store)), Sample.of(store), sanity)
    by_row = {outlier.row: outlier for outlier in found}
    assert {"atoms_too_close", "largest_force"} <= set(by_row[40].kinds)
    assert "energy_outlier" in by_row[41].kinds
    assert found[-1].title == "typical"
    options = [a for tag, a in page.tags if tag == "option"]
    links = [int(a["data-choice"]) for tag, a in page.tags if tag == "a" and "data-choice" in a]
    assert len(options) == len(found) == len(page.figure("Structures to look at")["choices"])
    assert links
    assert max(links) < len(options)


def test_accused_atoms_are_those_of_the_fault(store) -> None:
    assert accused_atoms(store.take([40]), ["atoms_too_close"]).tolist() == [2, 3]
    assert accused_atoms(store.take([0]), ["missing_hydrogens"]).tolist() == []
    lost = pack([0], [Structure([1, 1, 2], [[0, 0, 0], [0, 0, 0.74], [0, 0, 50]])])
    assert accused_atoms(lost, ["isolated_atom", "largest_force"]).tolist() == [2]


def test_the_view_shows_atoms_bonds_cell_and_forces(tmp_path: Path, page_of) -> None:
    silicon = from_ase(ase.build.bulk("Si", cubic=True))
    pull = np.zeros((8, 3))
    pull[5] = [0, 0, 2.0]
    page = page_of(stored(tmp_path / "si", [silicon], [Labels(forces=pull)]))
    shown = page.figure("Structures to look at")["choices"][0]["data"]
    box, bonds, atoms, rings, arrows, heads = shown
    assert len(atoms["x"]) == 8
    assert len(box["x"]) == 12 * 3
    assert len(bonds["x"]) == 8 * 4 * 3  # half a bond from each end, four neighbors each, through the boundary too
    assert [rings[k][0] for k in "xyz"] == pytest.approx(silicon.positions[5], rel=1e-4)
    assert arrows["z"][1] > arrows["z"][0] == pytest.approx(silicon.positions[5][2], rel=1e-4)
    assert len(heads["x"]) == 1


def test_a_large_structure_is_drawn_in_part_and_the_page_stays_small(tmp_path: Path, page_of) -> None:
    atoms = ase.build.bulk("NaCl", "rocksalt", a=5.6, cubic=True).repeat(7)
    store = stored(tmp_path / "salt", [from_ase(atoms)] * 3)
    page = page_of(store, checked=False)
    for choice in page.figure("Structures to look at")["choices"]:
        assert max(len(trace["x"]) for trace in choice["data"]) <= 2000
    assert "Only the 600 atoms" in page.text
    assert len(render(store, None, name="salt", reporter=Silent())) < 6_000_000


def test_a_vast_empty_cell_does_not_hide_its_molecule(tmp_path: Path, page_of) -> None:
    water = from_ase(ase.build.molecule("H2O"))
    boxed = Structure(water.numbers, water.positions, cell=300 * np.eye(3), pbc=True)
    page = page_of(stored(tmp_path / "gas", [boxed]))
    scene = page.figure("Structures to look at")["choices"][0]["layout"]["scene"]
    assert max(scene["xaxis"]["range"]) < 10
    assert "much larger than the atoms" in page.text


def test_without_labels_nothing_is_drawn_from_nothing(tmp_path: Path, page_of) -> None:
    page = page_of(stored(tmp_path / "bare", mixed()[0][:5]))
    for said in ("No structure has an energy", "No structure has forces", "neither volume nor stress", "nobody"):
        assert said in page.text
    labels = [a["aria-label"] for _, a in page.tags if a.get("role") == "img"]
    assert not [label for label in labels if re.search("Energies|Forces|Cells", label)]
    assert "Distances" in str(labels)


def test_one_atom_is_still_a_page(tmp_path: Path, page_of) -> None:
    page = page_of(stored(tmp_path / "one", [Structure([2], [[0, 0, 0]])], [Labels(energy=-79.0)]), checked=False)
    assert [a["id"] for tag, a in page.tags if tag == "section"] == SECTIONS
    for said in ("All structures are He", "needs at least three structures", "No two atoms", "leave out --quick"):
        assert said in page.text


def test_labels_that_are_no_numbers_do_not_stop_it(tmp_path: Path, page_of) -> None:
    structures, labels = mixed(4)
    labels[0] = Labels(energy=np.nan, forces=np.full((9, 3), np.nan))
    labels[1] = Labels(energy=np.inf, forces=labels[1].forces)
    with np.errstate(invalid="ignore"):  # the statistics add them up
        page = page_of(stored(tmp_path / "nan", structures, labels))
    assert "2 numbers of its labels" not in page.text
    assert "28 numbers of its labels are not finite" in page.text


def test_many_elements_are_a_periodic_table(tmp_path: Path, page_of) -> None:
    structures = [Structure([z, 1], [[0, 0, 0], [0, 0, 2.0]]) for z in range(1, 104)]
    page = page_of(stored(tmp_path / "all", structures), checked=False)
    cells = page.figure("Elements")["data"][1]
    drawn = {
        text for row, values in zip(cells["text"], cells["z"], strict=True)
        for text, value in zip(row, values, strict=True) if value is not None
    }  # fmt: skip
    assert len(drawn) == 103
    assert sum(text != "" for row in cells["text"] for text in row) == 118
    assert "Every composition differs" in page.text


def test_everything_from_outside_is_escaped(tmp_path: Path, parsed) -> None:
    structures, labels = mixed(4)
    hostile = [s.tagged(**{EVIL: EVIL, "list": [{EVIL: EVIL}]}) for s in structures]
    identity, header = {EVIL: EVIL}, {"source": EVIL, EVIL: {EVIL: [EVIL]}}
    store = stored(tmp_path / "evil", hostile, labels, identity=identity, header=header)
    html = render(store, check(store), name=EVIL, reporter=Silent())
    plain = stored(tmp_path / "plain", structures, labels)
    assert EVIL not in html
    assert "<script>alert" not in html
    assert html.count("<script") == render(plain, check(plain), name="a", reporter=Silent()).count("<script")
    assert "alert" in parsed(html).text


def test_the_file_is_whole_or_not_there(tmp_path: Path, store) -> None:
    write_page(store, tmp_path / "out" / "page.html")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["page.html"]
    assert "<h1>data</h1>" in (tmp_path / "out" / "page.html").read_text(encoding="utf-8")
    (tmp_path / "file").write_text("")
    with pytest.raises(DistillerError, match="cannot write"):
        write_page(store, tmp_path / "file" / "page.html")


def test_the_same_data_give_the_same_pictures(store, html, parsed) -> None:
    again = render(Store.open(store.path), check(store), name="mixed", reporter=Silent())
    assert parsed(again).figures == parsed(html).figures


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
def test_a_browser_draws_and_changes_every_figure_without_an_error(tmp_path: Path, html: str, page) -> None:
    # A reader's clicks: every structure of the list, then a link of the table of findings.
    clicks = """<script>window.addEventListener("load", function () { setTimeout(function () {
      var list = document.getElementById("structure");
      for (var k = 0; k < list.options.length; k++) {
        list.selectedIndex = k; list.dispatchEvent(new Event("change"));
      }
      document.querySelector("a[data-choice]").click();
      document.body.dataset.shown = document.querySelectorAll("[data-chosen]:not([hidden])").length;
      document.body.dataset.requests = performance.getEntriesByType("resource").length;
    }, 3000); });</script></body>"""
    refused = """<head><script>document.addEventListener("securitypolicyviolation", function (event) {
      console.error("refused " + event.blockedURI); });</script>"""
    path = tmp_path / "page.html"
    path.write_text(html.replace("</body>", clicks).replace("<head>", refused, 1), encoding="utf-8")
    flags = "--headless --no-sandbox --disable-quic --no-first-run --disable-background-networking --disable-sync"
    flags += " --disable-component-update --use-angle=swiftshader --enable-unsafe-swiftshader --window-size=1200,900"
    flags += " --virtual-time-budget=20000 --enable-logging=stderr --dump-dom"
    command = [CHROMIUM, *flags.split(), f"--user-data-dir={tmp_path / 'profile'}"]
    done = subprocess.run([*command, path.as_uri()], capture_output=True, text=True, timeout=300, check=True)
    body = re.search(r"<body[^>]*>", done.stdout)[0]
    assert f'data-figures="{len(page.figures)}"' in body
    assert 'data-errors="0"' in body
    assert 'data-shown="1"' in body
    assert 'data-requests="0"' in body
    # That reading pixels back is slow, is a hint for plotly's authors and no error.
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line and "readback" not in line]
    assert not console, console
    assert "<canvas" in done.stdout
    assert "WebGL is not supported" not in re.sub(r"<script.*?</script>", "", done.stdout, flags=re.DOTALL)
