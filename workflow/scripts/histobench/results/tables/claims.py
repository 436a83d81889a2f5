"""The paper's headline claims (Bonnet 2024, arXiv:2108.13661), each as a check over tables, the paper's own or ours."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import pandas as pd
from scipy.stats import spearmanr

from histobench.core.formats import FORMATS
from histobench.results import columns
from histobench.results.columns import text
from histobench.results.inputs import Inputs
from histobench.results.paper import COMPARED_MODES, DATASETS, PROTOCOL, SIMPLEST, Published
from histobench.results.printing import Table
from histobench.results.tables import models, performance, speed

ROUNDING = (
    "AUCs are compared as printed: the paper's with two decimals, ours with three. A tie is neither better nor worse, "
    'so it breaks "always worse" and leaves "the best" standing. A ratio for which a claim names a range is rounded, '
    "a half upwards, to the decimals of that range."
)

HOLDS, FAILS, UNKNOWN = "holds", "does not hold", "cannot be told"

COMPARED = "b6"
"""The hand-made model that the cost of the simplest one is compared with."""

DEEP = "inceptionv3"
"""The only deep model whose seconds the paper prints."""

ABOUT = 1.5
"""Costs within this factor count as "about the same". A choice: the paper names no bound."""

PCAM = FORMATS["pcam"].expected["train"]
"""Training patches of PCam, an epoch of which the claim about hours means."""

ABOUT_AN_HOUR = (0.5, 1.5)
"""Hours that round to one."""

COLUMNS = [text(name) for name in ("claim", "published_verdict", "published_numbers", "our_verdict", "our_numbers")]


@dataclass(frozen=True)
class Tables:
    """The tables that claims are checked over; a missing one has no rows.

    Attributes
    ----------
    performance : `dataset`, `model`, `mode`, `auc`, on the test set.
    speed : `device`, a card, `model`, `mode`, `seconds_per_epoch`, training and validation, on PCam.
    sizes : `model`, `all_layers`, `parameters_millions`.
    tuned : `dataset`, `model`, `mode`, `auc` of tuned models, `auc_untuned` of the same models before tuning.
    names : from the key of every model of the study to its printed name.
    public : keys of the models that anybody can get: with code of this repository or of Keras, and with weights that
        are random or have a public address.
    epoch : training patches of an epoch, 0 without seconds.
    decimals : to which AUCs are rounded.
    """

    performance: pd.DataFrame
    speed: pd.DataFrame
    sizes: pd.DataFrame
    tuned: pd.DataFrame
    names: Mapping[str, str]
    public: list[str]
    epoch: int
    decimals: int = 3


Verdict = tuple[str, str]


def of_the_paper(published: Published, names: Mapping[str, str]) -> Tables:
    """Return the paper's own tables; `names` are the printed names of the models."""
    return Tables(
        performance=published.performance.rename(columns={"format": "dataset"}),
        speed=published.speed,
        sizes=published.sizes,
        tuned=published.tuned.merge(
            published.performance, on=["format", "model", "mode"], suffixes=("", "_untuned"), how="left"
        ).rename(columns={"format": "dataset"}),
        names={model: names[model] for model in published.sizes["model"]},
        public=published.code,
        epoch=PCAM,
        decimals=2,
    )


def compare(published: Tables, ours: Tables) -> pd.DataFrame:
    """Return `check` of the paper's tables beside that of ours, with the columns `COLUMNS`."""
    both = check(published).merge(check(ours), on="claim", suffixes=("", "_ours"))
    both.columns = pd.Index(columns.names(COLUMNS))
    return both


def check(tables: Tables) -> pd.DataFrame:
    """Return a row per claim: `claim`, `verdict` (`HOLDS`, `FAILS` or `UNKNOWN`) and `numbers`, its reasons."""
    places = {"auc": tables.decimals, "auc_untuned": tables.decimals}
    tables = replace(tables, performance=tables.performance.round(places), tuned=tables.tuned.round(places))
    rows = [(claim, *judge(tables)) for claim, judge in CLAIMS.items()]
    return pd.DataFrame(rows, columns=["claim", "verdict", "numbers"])


def tl_is_always_worse(tables: Tables) -> Verdict:
    """Compare the two modes of every model that has both, on each data set."""
    places = tables.decimals
    pairs = tables.performance.pivot_table(index=["dataset", "model"], columns="mode", values="auc", observed=True)
    pairs = pairs.reindex(columns=list(COMPARED_MODES)).dropna()
    if pairs.empty:
        return UNKNOWN, "no model was run in both modes"
    exceptions = pairs[pairs["tl"] >= pairs["full"]]
    worse = f"TL is worse in {len(pairs) - len(exceptions)} of {len(pairs)} pairs"
    listed = [
        f"{tables.names[str(row.model)]} on {_dataset(row.dataset)}: TL {row.tl:.{places}f}, full {row.full:.{places}f}"
        for row in exceptions.reset_index().itertuples()
    ]
    return (FAILS if listed else HOLDS), "; ".join([worse, *listed])


def deeper_is_not_always_better(tables: Tables) -> Verdict:
    """Compute the rank correlation of the AUC of full runs with depth (all layers) and with parameters.

    The claim fails only where the AUC rises with every step in depth, on each data set.
    """
    full = tables.performance[tables.performance["mode"] == "full"].merge(tables.sizes, on="model")
    numbers, always = [], []
    for dataset, of_dataset in full.groupby("dataset", sort=False):
        for column, what in (("all_layers", "depth"), ("parameters_millions", "parameters")):
            rows = of_dataset.dropna(subset=[column, "auc"])
            if len(rows) < 3 or min(rows[column].nunique(), rows["auc"].nunique()) < 2:
                continue
            correlation = spearmanr(rows[column], rows["auc"])
            numbers.append(f"{_dataset(dataset)}, {what}: rho {correlation.statistic:.2f}, p {correlation.pvalue:.2f}")
            if what == "depth":
                always.append(math.isclose(correlation.statistic, 1))
    if not always:
        return UNKNOWN, "fewer than three models trained in full with a known depth"
    return (FAILS if all(always) else HOLDS), "; ".join(numbers)


def vgg19_is_best(tables: Tables) -> Verdict:
    """Compare VGG19's best AUC on each data set with that of every other model."""
    places = tables.decimals
    numbers, holds = [], []
    for dataset, rows in tables.performance.dropna(subset=["auc"]).groupby("dataset", sort=False):
        best = rows.groupby("model", sort=False)["auc"].max()
        if "vgg19" not in best or len(best) < 2:
            continue
        others = best.drop("vgg19")
        holds.append(bool(best["vgg19"] >= others.max()))
        first = ", ".join(tables.names[model] for model in others[others == others.max()].index)
        tie = ", a tie" if best["vgg19"] == others.max() else ""
        ours = f"{_dataset(dataset)}: VGG19 {best['vgg19']:.{places}f}"
        numbers.append(f"{ours}, the best other {first} {others.max():.{places}f}{tie}")
    if not holds:
        return UNKNOWN, "VGG19 was not run beside another model"
    return (HOLDS if all(holds) else FAILS), "; ".join(numbers)


def _dataset(name: object) -> str:
    """Return the printed name of a data set."""
    return DATASETS.get(str(name), str(name))


def _seconds(tables: Tables) -> pd.DataFrame:
    """Return seconds per epoch: a row per device, a column per (model, mode)."""
    return tables.speed.pivot_table(
        index="device", columns=["model", "mode"], values="seconds_per_epoch", sort=False, observed=True
    )


def _within(ratios: "pd.Series[float]", low: float, high: float, decimals: int) -> Verdict:
    """Judge whether all ratios lie in the range of a claim, rounded to its decimals."""
    ratios = ratios.dropna()
    if ratios.empty:
        return UNKNOWN, "the seconds that it compares were not measured"
    scale = 10**decimals
    # A ratio of decimal numbers that is exactly a half may lie a rounding error below it in binary.
    rounded = [math.floor(ratio * scale + 0.5 + 1e-9) / scale for ratio in ratios]
    numbers = ", ".join(f"{name} {ratio:.2f}" for name, ratio in ratios.items())
    return (HOLDS if all(low <= each <= high for each in rounded) else FAILS), numbers


def cards_differ(tables: Tables) -> Verdict:
    """Compare the slowest card with the fastest, model by model."""
    seconds = _seconds(tables)
    seconds = seconds.loc[:, seconds.notna().sum() >= 2]
    ratios = seconds.max() / seconds.min()
    ratios.index = pd.Index([f"{tables.names[column[0]]} {column[1]}" for column in seconds.columns.tolist()])
    return _within(ratios, 5, 12, 0)


def _ratios(tables: Tables, model: str, mode: str, other: str = SIMPLEST) -> "pd.Series[float]":
    """Return the seconds of a model over those of another one in mode "full", by device."""
    seconds = _seconds(tables).reindex(columns=pd.MultiIndex.from_tuples([(model, mode), (other, "full")]))
    ratios: pd.Series[float] = seconds[(model, mode)] / seconds[(other, "full")]
    return ratios.dropna()


def iv3_tl_costs_what_b2_and_b6_cost(tables: Tables) -> Verdict:
    """Compare an epoch of InceptionV3-TL, end to end, with one of B2 and of B6 on each card."""
    numbers, holds = [], []
    for other in (SIMPLEST, COMPARED):
        for device, ratio in _ratios(tables, DEEP, "tl", other).items():
            numbers.append(f"{device} {ratio:.2f} x {tables.names[other]}")
            holds.append(1 / ABOUT <= ratio <= ABOUT)
    if not holds:
        return UNKNOWN, "the seconds that it compares were not measured"
    return (HOLDS if all(holds) else FAILS), f"about: within {ABOUT:g} times; " + ", ".join(numbers)


def the_deepest_trains_in_an_hour(tables: Tables) -> Verdict:
    """Compute the hours that the deepest model with known seconds takes for all epochs, on its fastest device."""
    sizes = tables.sizes.dropna(subset=["all_layers"])
    full = tables.speed[tables.speed["mode"] == "full"].merge(sizes, on="model")
    if full.empty:
        return UNKNOWN, "no seconds of a full run of a model of known depth were measured"
    deepest = full[full["all_layers"] == full["all_layers"].max()].sort_values("seconds_per_epoch").iloc[0]
    hours = PROTOCOL["epochs"] * deepest["seconds_per_epoch"] / 3600
    low, high = ABOUT_AN_HOUR
    all_deepest = sizes.sort_values("all_layers")["model"].iloc[-1]
    numbers = f"{tables.names[deepest['model']]} on {deepest['device']}: {PROTOCOL['epochs']} epochs in {hours:.2f} h"
    if all_deepest != deepest["model"]:
        numbers += f"; the deepest of all, {tables.names[all_deepest]}, was not timed"
    return (HOLDS if low <= hours < high else FAILS), numbers


def tuning_helps(tables: Tables) -> Verdict:
    """Compare each model before and after tuning."""
    places = tables.decimals
    pairs = tables.tuned.dropna(subset=["auc", "auc_untuned"])
    if pairs.empty:
        return UNKNOWN, "no model was run tuned and untuned"
    numbers = [
        f"{tables.names[str(row.model)]} {row.mode} on {_dataset(row.dataset)}: "
        f"{row.auc_untuned:.{places}f} untuned, {row.auc:.{places}f} tuned"
        for row in pairs.itertuples()
    ]
    return (HOLDS if (pairs["auc"] > pairs["auc_untuned"]).all() else FAILS), "; ".join(numbers)


def all_models_are_published(tables: Tables) -> Verdict:
    """Count the models that anybody can get."""
    if not tables.names:
        return UNKNOWN, "there is no model"
    missing = [name for model, name in tables.names.items() if model not in tables.public]
    numbers = f"{len(tables.names) - len(missing)} of {len(tables.names)}"
    return (FAILS if missing else HOLDS), numbers + (f"; not {', '.join(missing)}" if missing else "")


def _of_whole_epochs(judge: Callable[[Tables], Verdict]) -> Callable[[Tables], Verdict]:
    """Return a judge of a claim on seconds that does not judge by epochs of fewer patches than the paper's."""

    def judge_whole_epochs(tables: Tables) -> Verdict:
        if len(tables.speed) and tables.epoch != PCAM:
            return UNKNOWN, f"an epoch had {tables.epoch:,} patches, not the {PCAM:,} of PCam"
        return judge(tables)

    return judge_whole_epochs


OF_SECONDS: dict[str, Callable[[Tables], Verdict]] = {
    "Cards differ five to twelve times": cards_differ,
    "Deep models cost 4 to 6 times the simplest (abstract)": lambda tables: _within(
        _ratios(tables, DEEP, "full"), 4, 6, 0
    ),
    "Deep models cost 4 to 10 times the simplest (text)": lambda tables: _within(
        _ratios(tables, DEEP, "full"), 4, 10, 0
    ),
    "B6 costs 1.7 to 2 times B2": lambda tables: _within(_ratios(tables, COMPARED, "full"), 1.7, 2, 1),
    "InceptionV3-TL costs about what B2 and B6 cost": iv3_tl_costs_what_b2_and_b6_cost,
    "The deepest model trains in about an hour": the_deepest_trains_in_an_hour,
}

OF_MODELS = "All models are published"
"""The claim that is about no run."""

CLAIMS: dict[str, Callable[[Tables], Verdict]] = {
    "Transfer learning is always worse than full training": tl_is_always_worse,
    "Deeper is not always better": deeper_is_not_always_better,
    "VGG19 is the best model": vgg19_is_best,
    **{claim: _of_whole_epochs(judge) for claim, judge in OF_SECONDS.items()},
    "Tuning helps": tuning_helps,
    OF_MODELS: all_models_are_published,
}


def can_be_told(table: pd.DataFrame) -> bool:
    """Return whether runs tell anything on a claim, by a table of :func:`compare`."""
    return bool(((table["our_verdict"] != UNKNOWN) & (table["claim"] != OF_MODELS)).any())


def claims_table(inputs: Inputs) -> Table:
    """Return the table of the study."""
    published, scores = inputs.published, performance.of_cnns(inputs)
    names = {model: name for model, name in inputs.study["names"].items() if model not in inputs.encoders}
    cells = inputs.cells[inputs.cells["model"].isin(list(names))]
    sizes = models.read(next(iter(inputs.files["sizes"]), None), published.sizes, names)
    seconds, epoch = speed.for_claims(columns.read(inputs.files["speed"][0], speed.COLUMNS))
    ours = Tables(
        performance=performance.first_per_mode(scores, cells),
        tuned=performance.tuned(scores, cells),
        speed=seconds,
        epoch=epoch,
        sizes=models.in_short(sizes, published.sizes),
        names=names,
        public=inputs.study["public"],
    )
    table = compare(of_the_paper(published, inputs.study["all_names"]), ours)
    # Without any run it is about the paper's own tables.
    on_page = inputs.runs.empty or can_be_told(table)
    return Table("Claims of the paper", table, COLUMNS, inputs.announcements(), [ROUNDING], on_page=on_page)
