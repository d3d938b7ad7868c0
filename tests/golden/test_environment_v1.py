"""Version 1 of the record of a teacher's environment stays readable; it was written once and never is again."""

from pathlib import Path

from mlff_distiller.teachers.installed import Installed, installed


def test_the_package_reads_it_and_writes_it_to_the_letter(tmp_path):
    folder = Path(__file__).parent / "environment-v1"
    packages = ("ase==3.29.0", "numpy==2.4.6", "torch==2.13.0+cpu", "torchani==2.9.0")
    expected = Installed("torchani", ("torch", "torchani>=2.9"), "3.11.7", packages, "2026-11-22T03:07:14Z")
    assert installed(folder) == expected
    assert expected.versions(expected.requirements) == ["torch 2.13.0+cpu", "torchani 2.9.0"]
    expected.save(tmp_path)
    written, kept = (path / "mlffd-environment.json" for path in (tmp_path, folder))
    assert written.read_text() == kept.read_text()
