"""The tables of docs/inspection.md: what fits gain by going on, what pruning costs, which width leave-one-out takes.

python benchmarks/inspection.py [gains] [shapes] [pruning] [widths] [priors] --data FOLDER
"""

import argparse
import warnings

import torch
from torch import nn

from bayesnn import (
    BayesianNeuralNetwork,
    datasets,
    diagnose,
    evaluate,
    fit_svi,
    likelihoods,
    networks,
    out_of_distribution,
    prior_predictive,
    priors,
    pruned,
    to_arviz,
)
from bayesnn.arviz_data import loo
from bayesnn.continued import continued


def model_for(split, hidden=(50,), activation="relu", prior=None):
    torch.manual_seed(0)
    real = split.y_train.is_floating_point()
    outputs = 1 if real else int(split.y_train.max()) + 1
    width = split.x_train.flatten(1).shape[1]
    network = nn.Sequential(nn.Flatten(), networks.mlp(width, outputs, hidden=hidden, activation=activation))
    return BayesianNeuralNetwork(network, prior, likelihoods.gaussian if real else likelihoods.categorical)


def fitted(split, hidden=(50,), activation="relu", **options):
    return fit_svi(model_for(split, hidden, activation), split.x_train, split.y_train, progress=False, **options)


def gains(folder):
    """What 500 steps more bring to fits of 5 and 40 epochs and of the default length, in nats per datum."""
    sets = {"digits": datasets.digits(hold_out=9)}
    sets |= {name: datasets.uci(name, folder=folder) for name in ("yacht", "boston", "energy", "concrete")}
    for name, split in sets.items():
        for epochs in (5, 40, None):
            posterior = fitted(split, num_epochs=epochs)
            found = continued(posterior, split.x_train, split.y_train, 500, progress=False)
            print(f"{name:>9}, {epochs or 'default':>7} epochs: {found['elbo_gain']:6.3f}", flush=True)


def pruning(folder):
    """Scores of the digits with ever more weights cut."""
    split = datasets.digits(hold_out=9)
    for hidden, activation in (((50,), "relu"), ((400,), "silu")):
        posterior = fitted(split, hidden, activation)
        for fraction in (0, 0.5, 0.75, 0.9, 0.95, 0.98):
            cut = pruned(posterior, fraction)
            scores = evaluate(cut(split.x_test), split.y_test)
            found = out_of_distribution(cut(split.x_test), cut(split.x_ood), num_bootstrap=0).best
            words = f"NLL {scores['nll']:.3f}, accuracy {scores['accuracy']:.3f}, unseen 9s {found:.3f}"
            print(f"{hidden[0]:>4} units, {fraction:4.0%} cut: {words}", flush=True)


def widths(folder):
    """Leave-one-out beside test data on UCI concrete."""
    split = datasets.uci("concrete", folder=folder)
    for width in (2, 10, 50, 200):
        posterior = fitted(split, (width,), num_samples=500)
        elpd, _, shapes = loo(to_arviz(posterior, split.x_train, split.y_train, num_prior=0))
        test = evaluate(posterior(split.x_test), split.y_test)["nll"]
        elbo = posterior.summary["elbo_per_datum"]
        print(
            f"width {width:>3}: ELBO {elbo:.3f}, elpd_loo {elpd / len(split.x_train):.3f}, "
            f"bad k {(shapes > 0.7).mean():.0%}, test NLL {test:.3f}",
            flush=True,
        )


def spreads(folder):
    """How much functions drawn from a prior vary, or how sure classifiers are."""
    for name in ("digits", "wine", "breast_cancer", "diabetes"):
        split = getattr(datasets, name)()
        for hidden in ((), (50,), (100, 100)):
            for told, prior in (("default", None), ("normal(1.0)", priors.normal(1.0))):
                with warnings.catch_warnings(record=True) as said:
                    warnings.simplefilter("always")
                    found = prior_predictive(model_for(split, hidden, prior=prior), split.x_train, split.y_train)
                figures = ", ".join(f"{key} {value:.3g}" for key, value in found.summary.items())
                print(f"{name:>13} {hidden!s:>10} {told:>11}: {figures}{'  (warns)' if said else ''}", flush=True)


def shapes(folder):
    """Pareto k of a good fit of the digits as an importance proposal."""
    split = datasets.digits(hold_out=9)
    posterior = fitted(split)
    found = diagnose(posterior, split.x_train, split.y_train, progress=False).figures
    accuracy = evaluate(posterior(split.x_test), split.y_test)["accuracy"]
    print(f"digits: Pareto k {found['pareto_k']:.1f}, accuracy {accuracy:.3f}", flush=True)


TABLES = {"gains": gains, "shapes": shapes, "pruning": pruning, "widths": widths, "priors": spreads}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", default=list(TABLES), help=f"among {', '.join(TABLES)} (default: all)")
    parser.add_argument("--data", help="folder with uci/<set>.npz (default: the environment's BAYESNN_DATA)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # short fits say that they are
    for name in options.tables:
        print(f"\n{TABLES[name].__doc__}")
        TABLES[name](options.data)


if __name__ == "__main__":
    main()
