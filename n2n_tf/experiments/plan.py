"""The experiments as data: a row is one denoiser, an experiment is rows and the sets they see.

Nothing here trains or measures. Add a row and it is trained, scored, resumed and shown like the
others; give it the key that `paper.json` has and the paper's figures stand beside it.
"""

import dataclasses

from n2n_tf.evaluation.published import paper_figures

NOISES = {
    "gauss25": "Gaussian, sigma 25",
    "gauss5_50": "Gaussian, sigma 5 to 50",
    "poisson30": "Poisson, lambda 30",
    "poisson5_50": "Poisson, lambda 5 to 50",
}
SETS = ("Kodak", "BSD300", "Set14")  # in the official order: all noise comes from one stream
SIDD = "SIDD validation"
GAUSSIAN_MODEL = "unet_rgb_gauss5_50"  # shipped: what a row of the kind "around" is around


@dataclasses.dataclass(frozen=True)
class Row:
    """One denoiser under one noise.

    Attributes:
        key: the row's name in `paper.json`, one of a kind with `noise` in its experiment.
        label: what tables call it.
        noise: in the grammar of `n2n_tf.pipelines.noise.synthetic`.
        kind: "noisy" (nothing is done), "classical" (`n2n_tf.evaluation.classical`), "one_image"
            (`n2n_tf.method.one_image`), "around" (`n2n_tf.method.noise2vst`: a curve learned on
            each image around a model that is there) or "trained" (`n2n_tf.training`).
        name: of the method: "bm3d", "self2self", "neighbor2neighbor", ...
        recipe: what differs from the budget's recipe, as (field, value) pairs.
        use: of a trained network: "network" as it is, "mean" without the posterior, "corrected"
            as Noisier2Noise has it, "revisible" as Blind2Unblind has it.
    """

    key: str
    label: str
    noise: str
    kind: str
    name: str = ""
    recipe: tuple[tuple[str, object], ...] = ()
    use: str = "network"


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Rows that are shown together.

    Attributes:
        title: one line.
        rows: tuple of `Row`.
        sets: names of the data sets.
        paper: key of its figures in `paper.json`; None: the paper has none.
        panels: whether pictures of one photograph are what matters.
    """

    title: str
    rows: tuple[Row, ...]
    sets: tuple[str, ...] = ("Kodak",)
    paper: str | None = None
    panels: bool = False


@dataclasses.dataclass(frozen=True)
class Budget:
    """How much is spent on every row alike.

    Attributes:
        steps: of each training.
        images: of each data set, the first by name; None: all.
        repeats: noise realisations per image; None: the paper's (Kodak 10, BSD300 3, Set14 20).
        one_image_steps: of the methods that train on each image.
        recipe: fields of `n2n_tf.training.recipes.Recipe` for all trainings.
    """

    steps: int
    images: int | None
    repeats: int | None
    one_image_steps: int
    recipe: tuple[tuple[str, object], ...]


def _recipe(**fields) -> tuple[tuple[str, object], ...]:
    return tuple(fields.items())


PAPER_STEPS = 1_250_000  # 50,000 images, 100 epochs, batches of 4


def caption_of(steps: int) -> str:
    """What a reader must know of figures that come from so many steps of training.

    Example:
        >>> caption_of(20)
        'Too small to mean anything: it shows that everything runs.'
    """
    if steps < 100:
        return "Too small to mean anything: it shows that everything runs."
    if steps < 5_000:
        return "Far too small to rank methods by tenths of a decibel: it shows what learns fast."
    if steps < PAPER_STEPS:
        return (
            f"1/{PAPER_STEPS / steps:.0f} of the paper's steps: orders are worth a look, figures "
            "lie below the paper's."
        )
    return "The paper's steps; for GPUs."


# The U-Net adds its input to its output: thousands of steps go by before the paper's has learned to
# give back what it is given.
_SMALL = {
    "network": "unet_residual",
    "init_scale": 1.0,
    "noise_realization": "fresh",
    "learning_rate": 1e-3,
    "holdout": 0.0,
}
_SHORT = _SMALL | {"features": 8, "patch_size": 64, "learning_rate": 4e-3}
BUDGETS = {
    "smoke": Budget(
        20,
        1,
        1,
        20,
        _recipe(batch_size=2, **_SHORT),
    ),
    "minutes": Budget(
        400,
        4,
        1,
        200,
        _recipe(batch_size=8, **_SHORT),
    ),
    "hours": Budget(
        20_000,
        None,
        1,
        2_000,
        _recipe(features=24, patch_size=128, batch_size=4, **_SMALL),
    ),
    "paper": Budget(
        PAPER_STEPS,
        None,
        None,
        450_000,
        _recipe(features=48, patch_size=256, batch_size=4, noise_realization="fresh", holdout=0.0),
    ),
}


def _trained(key, label, noise, name, use="network", **fields):
    return Row(key, label, noise, "trained", name, _recipe(**fields), use)


def compared(noise: str) -> tuple[Row, ...]:
    """The rows of table 1 for one noise, the noisy images first."""
    gauss = noise.startswith("gauss")
    rows = [
        Row("noisy", "noisy", noise, "noisy"),
        _trained("supervised", "N2C, supervised", noise, "supervised"),
        _trained("noise2noise", "Noise2Noise", noise, "noise2noise"),
        Row("bm3d", "CBM3D, sigma estimated", noise, "classical", "bm3d")
        if gauss
        else Row("anscombe_bm3d", "Anscombe + CBM3D", noise, "classical", "anscombe_bm3d"),
        Row("nlm", "non-local means (OpenCV)", noise, "classical", "nlm"),
        Row("wavelets", "wavelets (scikit-image)", noise, "classical", "wavelets"),
        Row("tv", "total variation (scikit-image)", noise, "classical", "tv"),
        Row("deep_image_prior", "Deep image prior", noise, "one_image", "deep_image_prior"),
        Row("self2self", "Self2Self", noise, "one_image", "self2self"),
        Row("noise2vst", "Noise2VST", noise, "around", "noise2vst"),
        _trained("noise2void", "Noise2Void", noise, "noise2void"),
        _trained("laine19_mu", "Laine19-mu", noise, "laine19", "mean", network="blind_spot_unet"),
        _trained("laine19_pme", "Laine19-pme", noise, "laine19", network="blind_spot_unet"),
    ]
    if noise == "gauss25":
        rows.append(_trained("noisier2noise", "Noisier2Noise", noise, "noisier2noise", "corrected"))
    rows += [
        _trained("dbsn", "DBSN", noise, "dbsn", network="blind_spot_dilated"),
        _trained("recorrupted", "Recorrupted2Recorrupted", noise, "recorrupted"),
        _trained("sure", "SURE", noise, "sure"),
        _trained("blind2unblind", "Blind2Unblind", noise, "blind2unblind", "revisible"),
        _trained("neighbor2neighbor", "Neighbor2Neighbor", noise, "neighbor2neighbor"),
    ]
    return tuple(rows)


def _neighbor(key, label, noise, **fields):
    return _trained(key, label, noise, "neighbor2neighbor", **fields)


def _gammas(noise):
    return tuple(
        _neighbor(f"gamma {gamma}", f"gamma = {gamma}", noise, gamma=float(gamma))
        for gamma in (0, 2, 8, 20)
    )


def _sidd(key, label, name="neighbor2neighbor", use="network", **fields):
    fields = {"channels": 4, "gamma": 1.0, "learning_rate": 1e-4} | fields
    return _trained(key, label, "none", name, use, **fields)


TABLE2 = (
    Row("noisy", "noisy", "none", "noisy"),
    _sidd("supervised", "Baseline, N2C, U-Net", "supervised"),
    _sidd("noise2noise", "Baseline, N2N, U-Net", "noise2noise"),
    Row("bm3d_raw", "BM3D of the four Bayer sub-images", "none", "classical", "bm3d_raw"),
    _sidd("noise2void", "N2V, U-Net", "noise2void"),
    *(
        _sidd(
            f"laine19_{use}_{law}",
            f"Laine19-{use} ({name}), U-Net",
            "laine19",
            "mean" if use == "mu" else "network",
            network="blind_spot_unet",
            law=law,
        )
        for law, name in (("gauss", "Gaussian"), ("poisson", "Poisson"))
        for use in ("mu", "pme")
    ),
    _sidd("dbsn", "DBSN", "dbsn", network="blind_spot_dilated"),
    _sidd("neighbor2neighbor_unet", "Neighbor2Neighbor, U-Net"),
    _sidd("neighbor2neighbor_rrg", "Neighbor2Neighbor, RRGs", network="rrg", features=64),
)

EXPERIMENTS = {
    "table1": Experiment(
        "Table 1: methods under synthetic noise",
        tuple(row for noise in NOISES for row in compared(noise)),
        SETS,
        "table1",
    ),
    "table2": Experiment("Table 2: methods on SIDD's raw blocks", TABLE2, (SIDD,), "table2"),
    "table3": Experiment(
        "Table 3: the weight gamma of the regularisation",
        tuple(row for noise in NOISES for row in _gammas(noise)),
        paper="table3",
    ),
    "table4": Experiment(
        "Table 4: sub-samplers, fix-location and random; and along edges",
        tuple(
            _neighbor(key, label, noise, subsampler=key)
            for noise in NOISES
            for key, label in (
                ("fixed", "fix-location"),
                ("random", "random"),
                ("edges", "random, along edges (not in the paper)"),
            )
        ),
        paper="table4",
    ),
    "table4_sidd": Experiment(
        "Table 4, SIDD's raw blocks: sub-samplers",
        tuple(
            _sidd(key, label, subsampler=key)
            for key, label in (("fixed", "fix-location"), ("random", "random"))
        ),
        (SIDD,),
        "table4",
    ),
    "figure3": Experiment(
        "Figure 3: methods at Gaussian noise of sigma 25",
        compared("gauss25"),
        paper="table1",
        panels=True,
    ),
    "figure4": Experiment(
        "Figure 4: methods at Poisson noise of lambda 30",
        compared("poisson30"),
        paper="table1",
        panels=True,
    ),
    "figure6": Experiment(
        "Figure 6: gamma at Gaussian noise of sigma 25",
        _gammas("gauss25"),
        paper="table3",
        panels=True,
    ),
    "frozen_vs_fresh": Experiment(
        "One noise field for each image for good, or new noise in every epoch",
        tuple(
            _neighbor(f"{name} {regime}", f"{label}, {regime}", "gauss25", noise_realization=regime)
            if name == "neighbor2neighbor"
            else _trained(
                f"{name} {regime}", f"{label}, {regime}", "gauss25", name, noise_realization=regime
            )
            for name, label in (
                ("neighbor2neighbor", "Neighbor2Neighbor"),
                ("noise2void", "Noise2Void"),
                ("supervised", "N2C, supervised"),
            )
            for regime in ("frozen", "fresh")
        ),
    ),
    "k": Experiment(
        "The side k of the sub-sampler's cells",
        tuple(_neighbor(f"k {k}", f"k = {k}", "gauss25", k=k) for k in (2, 3, 4)),
    ),
    "objectives": Experiment(
        "What the same network learns from, at one noise",
        tuple(
            row
            for row in compared("gauss25")
            if row.kind == "trained" and not dict(row.recipe).get("network")
        ),
        paper="table1",
    ),
}


def paper_cell(experiment: Experiment, row: Row, data_set: str) -> list[float] | None:
    """[PSNR] or [PSNR, SSIM] that the paper printed for a row, None where it has none."""
    table = paper_figures().get(experiment.paper, {}) if experiment.paper else {}
    if experiment.paper != "table2":
        table = table.get(row.noise, {})
    return table.get(row.key, {}).get(data_set)
