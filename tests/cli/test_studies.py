"""``mlffd forecast`` and ``mlffd search``: they end in time, go on when called again, and refuse with one sentence."""

import json
import re
import sys

import pytest

from mlff_distiller.core import yaml

QUICK = ["--set", "training.n_steps=20", "--set", "training.validation_interval=10", "--set", "training.device=cpu"]


def test_a_forecast_trains_once_and_draws_a_page(command, refusal, clusters, tmp_path, parsed):
    data, out = clusters(tmp_path / "clusters"), tmp_path / "out"
    arguments = ["forecast", data, "--out", out, "--student", "ultra-tiny", "--sizes", "1/4,1/2,1", "--repeats", "1"]
    first = command(*arguments, *QUICK, "--more", "40")
    assert first.returncode == 0, first.stderr
    assert "with 40 more structures expect" in first.stdout.replace("\n", " ")
    facts = json.loads((out / "forecast.json").read_text())["students"]["ultra-tiny"]
    assert [row["n_structures"] for row in facts["measured"]] == [12, 24, 48]
    page = parsed((out / "forecast.html").read_text())
    assert {trace["mode"] for trace in page.figure("Learning curve")["data"]} == {"lines", "markers"}
    again = command(*arguments, *QUICK)
    assert "(done)" not in again.stderr
    assert "with 48 more structures expect" in again.stdout.replace("\n", " ")
    assert "`mlffd forecast` command continues it" in refusal("train", "--resume", out)


def test_a_search_keeps_its_trials_and_writes_settings(command, clusters, tmp_path):
    data, out = clusters(tmp_path / "clusters"), tmp_path / "out"
    arguments = ["search", data, "--out", out, "--student", "ultra-tiny", "--trial-seconds", "0.3", *QUICK]
    first = command(*arguments, "--minutes", "0.03")
    assert first.returncode == 0, first.stderr
    assert "errors relative to the present settings" in first.stdout
    best = yaml.parse((out / "best.yaml").read_text())
    assert best is None or set(best) == {"training"}
    again = command(*arguments, "--minutes", "0.01")
    n_before, n_after = (int(re.search(r"(\d+)\s+trials?,", said.stdout)[1]) for said in (first, again))
    assert n_after == n_before + 1
    assert not list((out / "search").glob("trial-*"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["forecast", "{data}", "--out", "{tmp}/o", "--sizes", "1/4,x"], "no list of fractions"),
        (["forecast", "{data}", "--out", "{tmp}/o", "--sizes", "1"], "at least two different parts"),
        (["forecast", "{data}", "--out", "{tmp}/o", "--sizes", "1/2,1", "--repeats", "1"], "leave no measure"),
        (["forecast", "{data}", "--out", "{tmp}/o", "--repeats", "0"], "n_repeats"),
        (["forecast", "{tmp}/none", "--out", "{tmp}/o"], "does not exist"),
        (["search", "{data}", "--out", "{tmp}/o", "--trial-seconds", "0"], "trial_s"),
        (["search", "{recipe}", "--out", "{tmp}/o"], "mlffd label"),
    ],
)
def test_bad_input_is_one_sentence(refusal, clusters, tmp_path, arguments, said):
    data, recipe = clusters(tmp_path / "data", n=30), tmp_path / "recipe.yaml"
    recipe.write_text("name: water\n")
    filled = [part.format(data=data, tmp=tmp_path, recipe=recipe) for part in arguments]
    assert said in refusal(*filled)


def test_search_without_optuna_says_what_to_install(refusal, clusters, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    data = clusters(tmp_path / "data", n=30)
    assert 'pip install "mlff-distiller[search]"' in refusal("search", data, "--out", tmp_path / "o")
