"""The plan: every row of the paper's tables has its place, and every row can be trained."""

import dataclasses

import pytest
from programs import imported

from n2n_tf.evaluation.published import paper_figures
from n2n_tf.experiments.measure import recipe_of, training_of
from n2n_tf.experiments.plan import (
    BUDGETS,
    EXPERIMENTS,
    NOISES,
    SETS,
    caption_of,
    paper_cell,
)
from n2n_tf.method import METHODS
from n2n_tf.networks import NETWORKS
from n2n_tf.training.recipes import known_law

TRAINED = [
    (name, row)
    for name, experiment in EXPERIMENTS.items()
    for row in experiment.rows
    if row.kind == "trained"
]


@pytest.mark.parametrize("noise", NOISES)
def test_table_1_has_every_method_of_the_paper_and_all_its_figures(noise):
    printed = paper_figures()["table1"][noise]
    assert len(printed) == (11 if noise == "gauss25" else 10)
    rows = {row.key: row for row in EXPERIMENTS["table1"].rows if row.noise == noise}
    assert printed.keys() <= rows.keys()
    for key in printed:
        for data_set in SETS:
            psnr, ssim = paper_cell(EXPERIMENTS["table1"], rows[key], data_set)
            assert 25 < psnr < 33 and 0.6 < ssim < 0.9


@pytest.mark.parametrize("noise", NOISES)
def test_the_papers_figures_keep_the_order_that_its_marks_say(noise):
    # Of the methods without clean images or pairs Laine19-pme is marked first on Kodak and
    # Neighbor2Neighbor second; supervised training is above both.
    kodak = {key: row["Kodak"][0] for key, row in paper_figures()["table1"][noise].items()}
    order = sorted(kodak, key=kodak.get, reverse=True)
    assert order[:2] == ["supervised", "noise2noise"]
    assert order[2:4] == ["laine19_pme", "neighbor2neighbor"]


def test_figures_that_are_printed_twice_are_the_same():
    figures = paper_figures()
    for noise in NOISES:
        ours = figures["table1"][noise]["neighbor2neighbor"]["Kodak"]
        assert figures["table3"][noise]["gamma 2"]["Kodak"] == ours
        assert figures["table4"][noise]["random"]["Kodak"] == ours
    unet = figures["table2"]["neighbor2neighbor_unet"]
    assert figures["table4"]["none"]["random"]["SIDD validation"] == unet["SIDD validation"]


def test_tables_2_to_4_find_the_papers_figures():
    for name in ("table2", "table3", "table4"):
        experiment = EXPERIMENTS[name]
        found = [paper_cell(experiment, row, s) for row in experiment.rows for s in experiment.sets]
        assert (
            sum(cell is not None for cell in found)
            >= {"table2": 5, "table3": 16, "table4": 8}[name]
        )


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_rows_have_names_of_their_own(name):
    rows = EXPERIMENTS[name].rows
    assert len({(row.key, row.noise) for row in rows}) == len(rows)


@pytest.mark.parametrize("budget", BUDGETS.values(), ids=BUDGETS)
def test_rows_share_a_training_where_its_recipe_is_the_same_and_only_there(budget):
    by_folder, by_recipe = {}, {}
    for _, row in TRAINED:
        folder, recipe = training_of(row, budget), recipe_of(row, budget)
        assert by_folder.setdefault(folder, recipe) == recipe
        assert by_recipe.setdefault(recipe, folder) == folder
        assert "/" not in folder
    assert len(by_folder) < len(TRAINED)


@pytest.mark.parametrize("budget", BUDGETS.values(), ids=BUDGETS)
def test_every_trained_row_has_a_recipe(budget):
    for _, row in TRAINED:
        recipe = recipe_of(row, budget)
        assert recipe.method in METHODS and recipe.network in NETWORKS
        assert dataclasses.replace(recipe) == recipe
        if row.use == "corrected":
            assert known_law(row.noise) is not None


def test_captions_say_what_so_few_steps_are_worth():
    assert caption_of(99).startswith("Too small to mean anything")
    assert "Far too small" in caption_of(BUDGETS["minutes"].steps)
    assert caption_of(BUDGETS["hours"].steps).startswith("1/62 of the paper's steps")
    assert caption_of(BUDGETS["paper"].steps).startswith("The paper's steps")


def test_the_help_names_all_experiments_and_budgets():
    with imported("experiment") as program:
        text = program.__doc__
    assert all(f"\n  {name} " in text for name in EXPERIMENTS)
    assert all(name in text for name in BUDGETS)
