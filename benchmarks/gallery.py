"""The pictures of docs/gallery.md, from fits on data that are bundled.

python benchmarks/gallery.py --out docs/pictures
"""

import argparse
import io
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from matplotlib.figure import Figure
from PIL import Image

from bayesnn import (
    BayesianNeuralNetwork,
    datasets,
    fit_last_layer,
    fit_svi,
    likelihoods,
    networks,
    plots,
    prior_predictive,
    priors,
    simulation_based_calibration,
)
from bayesnn.predictive import Predictive
from bayesnn.seeding import seeded
from bayesnn.uncertainty import scores


def model_of(network, likelihood):
    with seeded(0):
        return BayesianNeuralNetwork(network(), likelihood=likelihood)


def sheet(width, height, columns=1):
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(1, columns)


def write(figure, path):
    """PNG of 256 colours: a third of the size, and no colour is off by more than 6 of 255."""
    png = io.BytesIO()
    figure.savefig(png, dpi=100)
    few = Image.open(png).convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(path, optimize=True)


def sine(options):
    """A regression with changing noise and a gap in the data."""
    split = datasets.heteroscedastic_sine()
    network = partial(networks.mlp, 1, 2, hidden=(50, 50), activation="tanh")
    model = model_of(network, likelihoods.heteroscedastic_gaussian)
    posterior = fit_svi(model, split.x_train, split.y_train, **options)
    low, high = float(split.x_train.min()), float(split.x_train.max())
    grid = torch.linspace(low - 0.3 * (high - low), high + 0.3 * (high - low), 300)[:, None]
    prior = prior_predictive(model, split.x_train, split.y_train)
    _, axes = sheet(9, 3.4, 2)
    plots.prior_functions(grid, prior(grid), data=(split.x_train, split.y_train), ax=axes[0])
    yield "prior", plots.prior_targets(prior(split.x_train), split.y_train, ax=axes[1]).figure
    figure, ax = sheet(6, 3.6)
    plots.regression_bands(grid, posterior(grid), data=(split.x_train, split.y_train), ax=ax)
    yield "regression-bands", figure


def moons(options):
    """Two classes on two features."""
    split = datasets.two_moons()
    model = model_of(lambda: networks.mlp(2, 2, hidden=(50, 50), activation="tanh"), likelihoods.categorical)
    posterior = fit_svi(model, split.x_train, split.y_train, **options)
    yield "decision-maps", plots.decision_maps(posterior, split.x_train, split.y_train, margin=0.6)


def digits(options):
    """Digits with 9 held out, and mixtures of two digits trained on."""
    split = datasets.with_ambiguous(datasets.digits(hold_out=9), fraction=1.0)
    model = model_of(lambda: networks.mlp((8, 8), 9, hidden=400, activation="silu"), likelihoods.categorical)
    posterior = fit_svi(model, split.x_train, split.y_train, **options)
    known, unseen, mixed = (posterior(x) for x in (split.x_test, split.x_ood, split.x_ambiguous))
    _, ax = sheet(4.6, 4.4)
    groups = {"test digits": known, "unseen 9s": unseen, "mixtures": mixed}
    yield "aleatoric-epistemic", plots.aleatoric_epistemic(groups, ax=ax).figure
    figure, axes = sheet(9, 3.2, 2)
    for ax, score in zip(axes, ("entropy", "mutual_information"), strict=True):
        inside, outside = scores(known)[score], scores(unseen)[score]
        plots.detection_histogram(inside, outside, score=score.replace("_", " "), ax=ax)
    yield "detection-histograms", figure
    _, ax = sheet(6.4, 4.2)
    both = Predictive.concatenate([known, unseen])
    yield "roc", plots.roc(scores(both), torch.arange(len(both)) >= len(known), ax=ax).figure
    _, ax = sheet(6.4, 3.4)
    yield "risk-coverage", plots.risk_coverage_curve(known, split.y_test, ax=ax).figure
    _, ax = sheet(4.6, 4.4)
    yield "reliability", plots.reliability_diagram(known, split.y_test, ax=ax).figure
    yield "uncertain-pictures", plots.uncertain_pictures(split.x_ood[:12], unseen[:12], classes=split.classes)
    _, ax = sheet(5.4, 3.4)
    yield "elbo-curve", plots.elbo_curve(posterior.history, ax=ax).figure


def diabetes(options):
    """A real regression of ten features."""
    split = datasets.diabetes()
    model = model_of(lambda: networks.mlp(10, 1, hidden=50), likelihoods.gaussian)
    predictive = fit_svi(model, split.x_train, split.y_train, **options)(split.x_test)
    _, ax = sheet(5.4, 3.4)
    yield "pit", plots.pit_histogram(predictive, split.y_test, ax=ax).figure
    _, ax = sheet(5.4, 4.2)
    yield "predicted-against-true", plots.predicted_against_true(predictive, split.y_test, ax=ax).figure


def ranks(options):
    """Simulation-based calibration of an exact posterior, and of one with half its spread."""
    x = torch.linspace(-1, 1, 20)[:, None]
    network, noise = torch.nn.Linear(1, 1), likelihoods.gaussian.with_noise(0.5)
    model = BayesianNeuralNetwork(network, priors.normal(1.0), noise, standardise=False)
    exact = partial(fit_last_layer, body="network")

    def narrow(*data, **settings):
        found = exact(*data, **settings)
        return replace(found, weights={n: v.mean(0) + (v - v.mean(0)) / 2 for n, v in found.weights.items()})

    _, axes = sheet(9, 3.2, 2)
    for ax, (name, fit) in zip(axes, {"exact": exact, "half its spread": narrow}.items(), strict=True):
        number = 20 if "num_epochs" in options else 400
        found = simulation_based_calibration(model, x, fit=fit, num_simulations=number, progress=False)
        plots.rank_histogram(found, "output[0]", ax=ax).set_title(name, fontsize="medium", pad=24)
    yield "ranks", axes[0].figure


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="docs/pictures", type=Path, help="folder (default: %(default)s)")
    parser.add_argument("--smoke", action="store_true", help="fits of two epochs, to see that all is drawn")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    fit = {"progress": False, **({"num_epochs": 2, "warmup": 0.0} if options.smoke else {})}
    for story in (sine, moons, digits, diabetes, ranks):
        for name, figure in story(fit):
            write(figure, options.out / f"{name}.png")
            print(options.out / f"{name}.png")


if __name__ == "__main__":
    main()
