"""The report of a comparison: one HTML file with everything in it, and the results as JSON."""

from __future__ import annotations

import base64
import html
import io
import json
import platform
from pathlib import Path

import torch
from matplotlib.figure import Figure

import bayesnn
from bayesnn import benchmark, plots
from bayesnn.benchmark import Run, Settings
from bayesnn.datasets import Split
from bayesnn.predictive import Predictive
from bayesnn.tables import html_table
from bayesnn.uncertainty import scores

__all__ = ["prepare", "write"]

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #222; }}
h1 {{ font-size: 1.6rem; }} h2 {{ font-size: 1.2rem; margin-top: 2.5rem; }}
.wide {{ overflow-x: auto; }} table {{ border-collapse: collapse; font-size: .85rem; white-space: nowrap; }}
th, td {{ padding: .35rem .7rem; text-align: right; border-bottom: 1px solid #ddd;
  font-variant-numeric: tabular-nums; }}
th:first-child, td:first-child {{ text-align: left; font-weight: 600; }}
img {{ max-width: 100%; height: auto; }} p, li {{ max-width: 46rem; }} p.picture {{ max-width: none; }}
footer {{ color: #666; font-size: .85rem; }}
</style></head><body>{body}</body></html>
"""


def prepare(folder: Path) -> None:
    """Make the folder, and see that both files can be written.

    Raises:
        OSError: If not.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("report.html", "results.json"):
        path = folder / name
        new = not path.exists()
        path.open("a").close()
        if new:
            path.unlink()


def write(run: Run, folder: Path) -> None:
    """Write ``report.html`` and ``results.json`` into a folder, which is made if it is not there.

    Args:
        run: A finished comparison.
        folder: Where to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(run.to_json(), indent=1, allow_nan=False) + "\n")
    (folder / "report.html").write_text(_page(run), encoding="utf-8")


def _page(run: Run) -> str:
    split, settings = run.split, run.settings
    title = f"Which methods know what they don't know? {split.name}"
    seeds = f"Seeds {', '.join(map(str, settings.seeds))}; figures are mean ± standard deviation over them"
    body = [
        f"<h1>{html.escape(title)}</h1>",
        f"<p>{_data(split)} Network: {_network(settings)}. Prior of every method: normal, its scale falling with the "
        f"fan-in, fan_in_normal({benchmark.PRIOR_SCALE:g}); svi fits the scales. Posterior draws of methods with "
        f"draws of their own: {settings.num_samples}. {seeds if len(settings.seeds) > 1 else 'One seed'}.</p>",
        "<p><b>Stopped by hand: the table holds the fits that were finished.</b></p>" if run.interrupted else "",
        f'<div class="wide">{html_table(run.rows)}</div>',
        _READING_CLASSES if split.classes else _READING_REAL,
        _READING_KINDS if split.x_ambiguous is not None else "",
    ]
    for name, posterior in run.posteriors.items():
        body += [f"<h2>{html.escape(name)}</h2>", f"<p><code>{html.escape(repr(posterior))}</code></p>"]
        body += _pictures(run, name) if split.classes else [_predictions(run, name)]
        if posterior.num_samples == 1:
            body.append("<p>A single network cannot tell its two parts apart: all its doubt shows as aleatoric.</p>")
        history = posterior.history
        if history is not None and history.epochs and "kl" in history.epochs[0]:
            body.append("<p>The fit, epoch by epoch (the weight of the KL rises over the first half):</p>")
            figure = Figure(figsize=(5.5, 3.2), layout="constrained")
            plots.elbo_curve(history, ax=figure.subplots())
            body.append(_picture(figure, f"{name}: ELBO per epoch"))
    machine = (
        f"bayesnn {bayesnn.__version__}, torch {torch.__version__}, Python {platform.python_version()}, "
        f"{run.settings.device or 'cpu'}"
    )
    body.append(f"<footer><p>Plots and pictures are of seed {settings.seeds[0]}. {html.escape(machine)}.</p></footer>")
    return _PAGE.format(title=html.escape(title), body="\n".join(body))


def _pictures(run: Run, name: str) -> list[str]:
    """Histograms of the uncertainty in both worlds, and the pictures a method is most uncertain of."""
    split, inside, outside = run.split, run.inside[name], run.outside[name]
    parts = [_picture(_histograms(inside, outside), f"{name}: uncertainty of known and never-seen classes")]
    parts.append("<p>The pictures it is most uncertain of, known and never seen together:</p>")
    strange = split.x_ood if split.x_ood is not None else split.x_test[:0]
    both = Predictive.concatenate([inside, outside])
    truth = [split.classes[int(label)] for label in split.y_test] + ["unseen"] * len(strange)
    pictures = plots.uncertain_pictures(torch.cat([split.x_test, strange]), both, truth=truth, classes=split.classes)
    parts.append(_picture(pictures, f"{name}: most uncertain pictures, aleatoric and epistemic part in nats"))
    if name in run.ambiguous:
        groups = {"test pictures": inside, "never seen": outside, "ambiguous": run.ambiguous[name]}
        figure = Figure(figsize=(5.5, 4.4), layout="constrained")
        plots.aleatoric_epistemic(groups, ax=figure.subplots())
        parts.append(_picture(figure, f"{name}: aleatoric against epistemic part of each picture"))
    kinds = {"never seen": (strange, outside), "ambiguous": (split.x_ambiguous, run.ambiguous.get(name))}
    for kind, (x, predictive) in kinds.items():
        if x is not None and predictive is not None and split.x_ambiguous is not None:
            parts.append(f"<p>The first {_SHOWN} that are {kind}, the most uncertain first:</p>")
            some = plots.uncertain_pictures(x[:_SHOWN], predictive[:_SHOWN], classes=split.classes)
            parts.append(_picture(some, f"{name}: {kind} pictures, aleatoric and epistemic part in nats"))
    return parts


def _predictions(run: Run, name: str) -> str:
    figure = Figure(figsize=(5.5, 4.2), layout="constrained")
    plots.predicted_against_true(run.inside[name], run.split.y_test, ax=figure.subplots())
    return _picture(figure, f"{name}: predicted against true targets of the test data")


def _data(split: Split) -> str:
    if not split.classes:
        return (
            f"Trained on {len(split.x_train)} rows of {split.x_train.shape[1]} features, tested on {len(split.x_test)}."
        )
    strange = 0 if split.x_ood is None else len(split.x_ood)
    mixed = "" if split.x_ambiguous is None else " Some of the training pictures are mixtures of two."
    return (
        f"Trained on {len(split.x_train)} pictures of {len(split.classes)} classes "
        f"({html.escape(', '.join(split.classes))}), tested on {len(split.x_test)} others and on {strange} pictures of "
        f"another world, which was never shown.{mixed}"
    )


_SHOWN = 12
"""Pictures on a sheet."""

_READING_REAL = """<ul>
<li><b>NLL</b>: negative log predictive density in nats, in the units of the target; <b>RMSE</b>: root mean squared
error in those units; smaller is better.</li>
<li><b>CRPS</b>: continuous ranked probability score in those units; smaller is better.</li>
<li><b>90 % coverage</b>: fraction of test targets within the central 90 % interval; <b>90 % width</b>: its mean width
in units of the target; <b>calibration error</b>: how far the frequencies of all quantiles are from their levels, a
fraction; smaller is better.</li>
<li><b>large errors</b>: AUROC, the chance that one of the largest tenth of the errors has a larger total standard
deviation than one of the others. 0.5 is chance, 1 perfect.</li>
<li><b>fit s, predict s</b>: seconds to fit and to predict.</li>
<li><b>ELBO</b>: evidence lower bound per datum in nats, the objective of the variational fits; larger is better.</li>
</ul>"""

_READING_CLASSES = """<ul>
<li><b>NLL</b>: negative log predictive density in nats, <b>ECE</b>: expected calibration error; smaller is better.</li>
<li><b>brier</b>: Brier score, between 0 and 2; smaller is better.</li>
<li><b>mistakes</b>: AUROC, the chance that a mistake has a larger uncertainty (one less the largest probability) than a
right answer. <b>OOD</b>: the chance that a picture of the unseen class has a larger one than a test picture, for each
score (largest probability, entropy, mutual information). 0.5 is chance, 1 perfect.</li>
<li><b>fit s, predict s</b>: seconds to fit, and to predict both worlds.</li>
<li><b>ELBO</b>: evidence lower bound per datum in nats, the objective of the variational fit; larger is better.</li>
<li>A single network (map) has no epistemic part: its mutual information is 0 everywhere, and its AUROC 0.5.</li>
</ul>"""


_READING_KINDS = """<ul>
<li><b>unknown / ambiguous</b>: AUROC, the chance that the epistemic part less the aleatoric one is larger for a picture
that was never seen than for a mixture of two test pictures, whose kind the method was trained on. <b>alea</b> and
<b>epis</b>: mean of each part over these pictures, in nats.</li>
</ul>"""


def _histograms(inside: Predictive, outside: Predictive) -> Figure:
    here, there = scores(inside), scores(outside)
    figure = Figure(figsize=(10, 3.2), layout="constrained")
    for ax, score in zip(figure.subplots(1, 2), ("entropy", "mutual_information"), strict=True):
        plots.detection_histogram(here[score], there[score], score=score.replace("_", " "), ax=ax)
    return figure


def _picture(figure: Figure, description: str) -> str:
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=110)
    data = base64.b64encode(png.getvalue()).decode()
    return f'<p class="picture"><img alt="{html.escape(description)}" src="data:image/png;base64,{data}"></p>'


def _network(settings: Settings) -> str:
    network = settings.network
    if network.channels:
        return (
            f"3x3 convolutions of {' and '.join(map(str, network.channels))} channels, each pooled, then one linear "
            f"layer, with a dropout layer of rate {network.dropout:g} that only the dropout methods use"
        )
    if not network.hidden:
        return "linear"
    layers = "one hidden layer" if len(network.hidden) == 1 else "hidden layers"
    return (
        f"{layers} of {' and '.join(map(str, network.hidden))} units, {network.activation}, with dropout layers of "
        f"rate {network.dropout:g} that only the dropout methods use"
    )
