"""An experiment from photographs to pages: what is measured, kept, refused and shown."""

import dataclasses
import html.parser
import json

import numpy as np
import pytest

from n2n_tf.denoising.denoiser import Denoiser
from n2n_tf.evaluation.protocol import SEED, average, evaluate
from n2n_tf.experiments import measure
from n2n_tf.experiments import run as run_module
from n2n_tf.experiments.measure import EPOCHS, Repeated, Workshop, model_of
from n2n_tf.experiments.page import page
from n2n_tf.experiments.plan import BUDGETS, EXPERIMENTS, GAUSSIAN_MODEL, Experiment, Row
from n2n_tf.experiments.run import run_experiment
from n2n_tf.experiments.tables import markdown, versions_of
from n2n_tf.pipelines.files.embedded_photos import FIRST_SET, embedded_photo
from n2n_tf.pipelines.files.image_files import write_image
from n2n_tf.pipelines.files.image_folder import ImageFolder
from n2n_tf.pipelines.noise.synthetic import parse_noise
from n2n_tf.pipelines.training.sources import MosaicFolder

SMALL = (
    ("network", "unet_residual"),  # and the blind-spot networks' likes of it
    ("features", 4),
    ("patch_size", 32),
    ("batch_size", 2),
    ("init_scale", 1.0),
)
BUDGET = dataclasses.replace(BUDGETS["smoke"], steps=10, recipe=(*SMALL, ("holdout", 0.0)))


def row(key, kind, name="", noise="gauss25", **more):
    return Row(key, key.capitalize(), noise, kind, name, **more)


ROWS = (
    row("noisy", "noisy"),
    row("tv", "classical", "tv"),
    row("neighbor2neighbor", "trained", "neighbor2neighbor"),
)
TRIAL = Experiment("A trial", ROWS, ("Kodak",), "table1")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of three small photographs."""
    folder = tmp_path_factory.mktemp("photos")
    for name in FIRST_SET[:3]:
        write_image(folder / f"{name}.png", embedded_photo(name)[:64, :72])
    return folder


@pytest.fixture(scope="module")
def trainings(tmp_path_factory):
    """Rows of one recipe are trained once, as in an experiment of many rows."""
    return tmp_path_factory.mktemp("trainings")


@pytest.fixture
def shop(photos, trainings):
    return Workshop(BUDGET, ImageFolder(photos), None, trainings, {})


@pytest.fixture(autouse=True)
def few_epochs(monkeypatch):
    """The steps of a training in 2 epochs, as each is saved."""
    monkeypatch.setattr(measure, "EPOCHS", 2)


SETS = {"Kodak": [(name, embedded_photo(name)[:48, :40]) for name in FIRST_SET[:2]]}


def run(experiment, shop, folder, sets=SETS):
    said = []
    return run_experiment("trial", experiment, shop, sets, folder, report=said.append), said


def test_rows_are_measured_once_kept_and_shown(shop, tmp_path):
    record, said = run(TRIAL, shop, tmp_path / "out")
    noisy, tv, trained = record["rows"]
    stream = np.random.RandomState(SEED)
    expected = average(evaluate(None, SETS["Kodak"][:1], parse_noise("gauss25"), stream))
    assert {key: noisy["sets"]["Kodak"][key] for key in expected} == expected
    assert tv["sets"]["Kodak"]["psnr_noisy"] == expected["psnr"]  # the same noise for all
    assert tv["sets"]["Kodak"]["psnr"] > expected["psnr"] + 1
    assert trained["steps"] == 10 and trained["regime"] == "frozen"
    assert trained["recipe"]["method"] == "neighbor2neighbor"
    assert trained["seconds_training"] > 0
    assert trained["trained_on"] == shop.photos.fingerprint
    assert set(tv["versions"]) == {"n2n_tf", "tensorflow", "keras", "numpy"}
    assert json.loads((tmp_path / "out/rows.json").read_text()) == record

    again, said = run(TRIAL, shop, tmp_path / "out")
    assert again == record and said == []  # nothing was measured again

    text = markdown(record, TRIAL)
    assert "Too small to mean anything" in text and "Only the first image of each" in text
    figures = trained["sets"]["Kodak"]
    line = next(line for line in text.splitlines() if line.startswith("| Neighbor2neighbor"))
    assert [cell.strip() for cell in line.split("|")[2:4]] == [
        f"{figures['psnr']:.2f} / {figures['ssim']:.3f}",
        "32.08 / 0.879",
    ]
    assert "Blind2Unblind | 32.27" in text

    shown = page(record, TRIAL, tmp_path / "out")
    assert shown.count("<tr>") >= 4 and "32.08 / 0.879" in shown
    assert "<th>published later</th><th>Kodak</th></tr><tr><td>Blind2Unblind</td>" in shown
    mine = f"{trained['pictures']['psnr']:.2f} / {trained['pictures']['ssim']:.3f}"
    assert f"<figcaption>Neighbor2neighbor<br>{mine}</figcaption>" in shown
    assert f">Neighbor2neighbor, {mine}</option>" in shown
    assert 'type="range"' in shown and "<svg" in shown
    assert "http" not in shown.replace("https://", "http").split("<script>")[1]  # no other file
    Balanced().feed(shown)

    figure = page(record, dataclasses.replace(TRIAL, panels=True), tmp_path / "out")
    told = f"{FIRST_SET[0]}: its middle, 64 x 64 pixels"
    assert figure.index(told) < figure.index("32.08 / 0.879")  # the caption speaks of columns
    Balanced().feed(figure)


class Balanced(html.parser.HTMLParser):
    """Fails for an element that is closed by another's tag, and for a picture from elsewhere."""

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "link", "img", "input", "rect", "br"):
            self.open.append(tag)
        if tag == "img":
            assert dict(attrs)["src"].startswith("data:image/")

    def handle_endtag(self, tag):
        if tag != "rect":
            assert self.open.pop() == tag


def test_an_interrupted_experiment_goes_on_with_the_next_row(shop, tmp_path, monkeypatch):
    experiment = dataclasses.replace(TRIAL, rows=ROWS[:2])
    real, asked = run_module.denoiser_of, []

    def broken(planned, *more):
        asked.append(planned.key)
        if planned.key == "tv" and len(asked) == 2:
            raise KeyboardInterrupt
        return real(planned, *more)

    monkeypatch.setattr(run_module, "denoiser_of", broken)
    with pytest.raises(KeyboardInterrupt):
        run(experiment, shop, tmp_path / "out")
    for shown in ("table.md", "page.html"):  # of the row that is done
        text = (tmp_path / "out" / shown).read_text().replace("<td>", "| ")
        assert "| Noisy" in text and "| Tv" not in text
    (tmp_path / "out/table.md").unlink()
    record, _ = run(experiment, shop, tmp_path / "out")
    assert (tmp_path / "out/table.md").read_text() == markdown(record, experiment)
    assert (tmp_path / "out/page.html").read_text() == page(record, experiment, tmp_path / "out")
    assert asked == ["noisy", "tv", "tv"]
    assert [entry["key"] for entry in record["rows"]] == ["noisy", "tv"]


def test_scoring_says_how_far_it_is(shop, tmp_path):
    seen = []

    def progress(results, total, what):
        for number, result in enumerate(results, start=1):
            seen.append((number, total, what))
            yield result

    budget = dataclasses.replace(BUDGET, images=2, repeats=3)
    shop = dataclasses.replace(shop, budget=budget, progress=progress)
    record, _ = run(dataclasses.replace(TRIAL, rows=ROWS[:1]), shop, tmp_path / "out")
    assert seen == [(number, 6, "gauss25 Kodak") for number in range(1, 7)]
    assert record["rows"][0]["sets"]["Kodak"]["repeats"] == 3


def test_rows_of_another_budget_or_other_data_are_not_mixed(shop, tmp_path):
    experiment = dataclasses.replace(TRIAL, rows=ROWS[:1])
    run(experiment, shop, tmp_path / "out")
    other = dataclasses.replace(shop, budget=dataclasses.replace(BUDGET, steps=20))
    for changed, sets in ((other, SETS), (shop, {"Set14": SETS["Kodak"]})):
        with pytest.raises(ValueError, match=r"rows\.json: holds rows of another budget"):
            run(experiment, changed, tmp_path / "out", sets)
    record = json.loads((tmp_path / "out/rows.json").read_text())
    record["rows"][0]["trained_on"] = "other photographs"
    (tmp_path / "out/rows.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match=r"rows\.json: holds rows of .* other training images"):
        run(experiment, shop, tmp_path / "out")
    untrained = dataclasses.replace(shop, photos=None)  # nothing to compare: all rows are there
    assert run(experiment, untrained, tmp_path / "out")[1] == []
    (tmp_path / "out/rows.json").write_text("[]")
    with pytest.raises(ValueError, match=r"rows\.json: is not a record"):
        run(experiment, shop, tmp_path / "out")


def test_a_row_that_cannot_be_says_why_and_is_tried_again(shop, tmp_path, monkeypatch):
    experiment = dataclasses.replace(TRIAL, rows=ROWS[:2])

    def absent(planned, *more):
        if planned.key == "tv":
            raise ValueError("The package tv is not installed: pip install tv")

    monkeypatch.setattr(run_module, "denoiser_of", absent)
    record, said = run(experiment, shop, tmp_path / "out")
    assert "pip install tv" in markdown(record, experiment)
    for panels in (False, True):
        shown = dataclasses.replace(experiment, panels=panels)
        assert "pip install tv" in page(record, shown, tmp_path / "out")
    assert any("left out" in line for line in said)
    monkeypatch.undo()
    record, _ = run(experiment, shop, tmp_path / "out")
    assert [("missing" in entry) for entry in record["rows"]] == [False, False]


def test_a_given_model_is_scored_and_not_trained(shop, tmp_path):
    given = dataclasses.replace(shop, photos=None, models={"neighbor2neighbor": "mobile_model"})
    experiment = dataclasses.replace(TRIAL, rows=ROWS[2:])
    record, _ = run(experiment, given, tmp_path / "out")
    assert "mobile_model: no such file" in record["rows"][0]["missing"]
    given = dataclasses.replace(given, models={"neighbor2neighbor": "mobile_rgb_gauss5_50"})
    record, _ = run(experiment, given, tmp_path / "out")
    assert record["rows"][0]["model"] == "mobile_rgb_gauss5_50"
    figures = record["rows"][0]["sets"]["Kodak"]
    assert figures["psnr"] > figures["psnr_noisy"] + 4
    bare = Denoiser.load("mobile_rgb_gauss5_50").bare  # the network alone, as n2n-evaluate has it
    stream = np.random.RandomState(SEED)
    expected = average(evaluate(bare, SETS["Kodak"][:1], parse_noise("gauss25"), stream))
    assert figures["psnr"] == pytest.approx(expected["psnr"], abs=1e-6)
    # Another model is another row, and one trained is another again.
    assert run(experiment, given, tmp_path / "out")[1] == []
    given = dataclasses.replace(given, models={"neighbor2neighbor": "unet_rgb_gauss5_50"})
    record, said = run(experiment, given, tmp_path / "out")
    assert [entry["model"] for entry in record["rows"]] == ["unet_rgb_gauss5_50"] and said
    record, _ = run(experiment, shop, tmp_path / "out")
    assert [entry.get("model") for entry in record["rows"]] == [None]


def test_versions_of_rows_measured_on_different_days_are_all_told():
    rows = [{"versions": {"keras": "3.1"}}, {"versions": {"keras": "3.2"}}, {}]
    assert versions_of({"rows": rows}) == [("keras", ["3.1", "3.2"])]


def test_a_row_around_a_model_says_which(shop, tmp_path):
    sets = {"Kodak": [("a", embedded_photo(FIRST_SET[0])[:64, :64])]}
    shop = dataclasses.replace(shop, budget=dataclasses.replace(BUDGET, one_image_steps=2))
    around = row("noise2vst", "around", "noise2vst")
    assert model_of(around, shop) == GAUSSIAN_MODEL
    shop = dataclasses.replace(shop, models={"noise2vst": "mobile_rgb_gauss5_50"})
    record, _ = run(Experiment("One", (around,)), shop, tmp_path / "out", sets)
    entry = record["rows"][0]
    assert (entry["model"], entry["steps"]) == ("mobile_rgb_gauss5_50", 2)
    assert entry["label"] == "Noise2vst (mobile_rgb_gauss5_50)"
    assert np.isfinite(entry["sets"]["Kodak"]["psnr"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "planned",
    [r for r in EXPERIMENTS["table1"].rows if r.noise == "gauss25" and r.kind != "classical"],
    ids=lambda planned: planned.key,
)
def test_every_method_runs(planned, shop, tmp_path):
    sets = {"Kodak": [("a", embedded_photo(FIRST_SET[0])[:64, :64])]}
    shop = dataclasses.replace(shop, budget=dataclasses.replace(BUDGET, one_image_steps=3))
    record, _ = run(Experiment("One", (planned,)), shop, tmp_path / "out", sets)
    figures = record["rows"][0]["sets"]["Kodak"]
    assert np.isfinite([figures["psnr"], figures["ssim"]]).all()


def test_a_folder_seen_as_many_images_keeps_one_frozen_noise_for_each(photos):
    folder = ImageFolder(photos)
    seen = Repeated(folder, 7)
    assert len(seen) == len(seen.names) == len(seen.sizes) == 7
    assert seen.names[0] == seen.names[3] == folder.names[0]
    np.testing.assert_array_equal(seen.crop(4, 3, 5, 8, 8), folder.crop(1, 3, 5, 8, 8))
    assert EPOCHS > 5  # so that the learning rate is halved on the way


def test_rows_of_sidd_learn_from_its_sub_images_and_are_scored_on_its_blocks(tmp_path):
    rng = np.random.default_rng(4)
    clean = np.tile(rng.uniform(0.1, 0.5, (2, 2, 1, 1)), (1, 1, 32, 32))
    noisy = (clean + rng.normal(0, 0.02, clean.shape)).astype(np.float32)
    (tmp_path / "raws").mkdir()
    np.save(tmp_path / "raws/a.npy", noisy[0, 0].repeat(3, 0).repeat(3, 1))
    channels = (("channels", 4),)
    rows = (
        row("noisy", "noisy", noise="none"),
        row("tv", "classical", "tv", noise="none"),
        row("n2n", "trained", "neighbor2neighbor", noise="none", recipe=channels),
    )
    raws = MosaicFolder(tmp_path / "raws")
    shop = Workshop(BUDGET, None, raws, tmp_path / "trainings", {})
    blocks = noisy, np.float32(clean), ["RGGB", "GRBG"]
    record = run_experiment(
        "sidd", Experiment("SIDD", rows), shop, {}, tmp_path / "out", blocks, lambda line: None
    )
    scored = [entry["sets"]["SIDD validation"] for entry in record["rows"]]
    # The budget's one scene: PSNR of clean + noise of standard deviation 0.02.
    expected = np.mean([-10 * np.log10(np.mean((noisy - clean)[0, b] ** 2)) for b in (0, 1)])
    assert [figures["images"] for figures in scored] == [1, 1, 1]
    assert scored[0]["psnr"] == pytest.approx(expected, abs=0.01)
    assert scored[1]["psnr"] > expected + 3
    assert np.isfinite(scored[2]["psnr"])
    assert "SIDD validation measured" in markdown(record, Experiment("SIDD", rows))
