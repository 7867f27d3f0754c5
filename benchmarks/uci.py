"""UCI regression, the 20 standard splits: Gaussian processes, MC dropout and deep ensembles beside published results.

    python benchmarks/uci.py --data FOLDER --out uci.jsonl

Each finished cell is a line of the file, and is not run again. Protocol of the networks: one hidden layer of 50 ReLU
units; nothing of the test part is seen before the end. MC dropout's rate and noise precision are chosen on the last
fifth of each split's training rows (the precision is that of the predictive), then it is fitted to all of them.
"""

import argparse
import json
import math
import time
from pathlib import Path

import torch

from bayesnn import (
    BayesianNeuralNetwork,
    datasets,
    evaluate,
    fit_dropout,
    fit_ensemble,
    fit_gp,
    likelihoods,
    networks,
    priors,
)
from bayesnn.seeding import seeded

RATES = (0.005, 0.01, 0.05, 0.1)
STEPS = {"boston": 20_000, "concrete": 20_000, "energy": 6_000, "yacht": 6_000}
PUBLISHED = {  # root mean squared error and log-likelihood
    "dropout": {
        "boston": (2.904, -2.402),
        "concrete": (4.826, -2.937),
        "energy": (0.539, -1.212),
        "yacht": (0.666, -1.250),
    },
    "gp": {"boston": (2.629, -2.374), "concrete": (4.907, -2.991), "energy": (0.398, -0.498), "yacht": (0.277, 0.052)},
    "gp_rbf": {
        "boston": (2.692, -2.397),
        "concrete": (4.940, -2.998),
        "energy": (0.476, -0.699),
        "yacht": (0.279, 0.015),
    },
    "gp_rough": {  # the best published network of each set: MC dropout of two layers, ensembles
        "boston": (2.80, -2.34),
        "concrete": (4.50, -2.82),
        "energy": (0.47, -1.212),
        "kin8nm": (0.0789, 1.20),
        "power": (3.63, -2.67),
        "wine-red": (0.60, -0.90),
        "yacht": (0.66, -1.18),
    },
    "ensemble": {"boston": (3.28, -2.41), "concrete": (6.03, -3.06), "energy": (2.09, -1.38), "yacht": (1.58, -1.18)},
}


def model_of(likelihood, num_features, num_outputs, scale, seed, dropout=0.0):
    with seeded(seed):
        network = networks.mlp(num_features, num_outputs, hidden=50, dropout=dropout)
    return BayesianNeuralNetwork(network, prior=priors.fan_in_normal(scale), likelihood=likelihood)


def epochs(steps, rows, batch):
    return max(1, round(steps / math.ceil(rows / batch)))


def ensemble(name, split, seed):
    """Five networks that predict their own noise, with adversarial training as in the paper."""
    x, y = split.x_train, split.y_train
    model = model_of(likelihoods.heteroscedastic_gaussian, x.shape[1], 2, 1.0, seed)
    fitted = fit_ensemble(
        model, x, y, num_members=5, adversarial=0.01, batch_size=32, num_epochs=epochs(6000, len(x), 32),
        seed=100 * seed, progress=False,
    )  # fmt: skip
    return fitted, {}


def dropout(name, split, seed):
    """MC dropout under a wide prior, its rate and precision chosen on held-out rows."""
    x, y = split.x_train, split.y_train
    cut = int(0.8 * len(x))

    def fitted(rate, precision, rows):
        model = model_of(likelihoods.gaussian, x.shape[1], 1, 10.0, seed, dropout=rate)
        return fit_dropout(
            model, x[:rows], y[:rows], precision=precision, num_samples=300, num_epochs=epochs(STEPS[name], rows, 128),
            seed=seed, progress=False,
        )  # fmt: skip

    best = (-math.inf, 0.0, 0.0)
    for rate in RATES:
        members = fitted(rate, None, cut)(x[cut:]).members.mean
        for scale in torch.logspace(-2.5, 0.3, 60).double() * y.std():
            log_prob = torch.distributions.Normal(members.double(), scale).log_prob(y[cut:])
            found = float(log_prob.logsumexp(0).mean()) - math.log(len(members))
            best = max(best, (found, rate, float(scale) ** -2))
    _, rate, precision = best
    return fitted(rate, None, len(x)), {"rate": rate, "precision": precision}


def gp(name, split, seed):
    """An exact Gaussian process, a Matern-5/2 kernel with a length-scale for each feature."""
    return fit_gp(likelihoods.gaussian, split.x_train, split.y_train, progress=False), {}


def gp_rbf(name, split, seed):
    """The same with a squared exponential kernel."""
    return fit_gp(likelihoods.gaussian, split.x_train, split.y_train, kernel="rbf", progress=False), {}


def gp_rough(name, split, seed):
    """The same with a rough and a smooth kernel added."""
    return fit_gp(likelihoods.gaussian, split.x_train, split.y_train, kernel="rough", progress=False), {}


METHODS = {"gp": gp, "gp_rough": gp_rough, "gp_rbf": gp_rbf, "ensemble": ensemble, "dropout": dropout}


def cell(method, name, number, folder):
    split = datasets.uci(name, seed=number, folder=folder)
    started = time.perf_counter()
    posterior, chosen = METHODS[method](name, split, number)
    if method == "dropout":
        members = posterior.resample(1000, seed=0)(split.x_test).members.mean.double()
        log_prob = torch.distributions.Normal(members, chosen["precision"] ** -0.5).log_prob(split.y_test)
        ll = float(log_prob.logsumexp(0).mean()) - math.log(len(members))
        rmse = float((members.mean(0) - split.y_test).square().mean().sqrt())
        chosen["ll_own_noise"] = -evaluate(posterior(split.x_test), split.y_test)["nll"]
    else:
        scores = evaluate(posterior(split.x_test), split.y_test)
        rmse, ll = scores["rmse"], -scores["nll"]
    seconds = time.perf_counter() - started
    return {"method": method, "set": name, "split": number, "rmse": rmse, "ll": ll, "seconds": seconds, **chosen}


def table(rows):
    print("| method | set | RMSE | published | LL | published | splits |\n|---|---|---|---|---|---|---|")
    for method, sets in PUBLISHED.items():
        for name, (rmse, ll) in sets.items():
            own = [row for row in rows if (row["method"], row["set"]) == (method, name)]
            if own:
                cells = []
                for figure in ("rmse", "ll"):
                    values = torch.tensor([row[figure] for row in own])
                    error = float(values.std(correction=0)) / len(own) ** 0.5
                    cells.append(f"{float(values.mean()):.3f} ± {error:.3f}")
                print(f"| {method} | {name} | {cells[0]} | {rmse} | {cells[1]} | {ll} | {len(own)} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder with uci/<set>.npz (default: the environment's BAYESNN_DATA)")
    parser.add_argument("--out", default="uci.jsonl", type=Path, help="results, a line per cell (default: %(default)s)")
    parser.add_argument("--sets", nargs="+", default=["yacht", "energy", "boston", "concrete"])
    parser.add_argument("--methods", nargs="+", default=["gp", "ensemble", "dropout"], choices=list(METHODS))
    parser.add_argument("--first", type=int, default=0, help="split to begin with (default: %(default)s)")
    parser.add_argument("--splits", type=int, default=20, help="split to end before (default: %(default)s)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [json.loads(line) for line in options.out.read_text().splitlines()] if options.out.exists() else []
    done = {(row["method"], row["set"], row["split"]) for row in rows}
    for method in options.methods:
        for name in options.sets:
            for number in range(options.first, options.splits):
                if (method, name, number) not in done:
                    rows.append(cell(method, name, number, options.data))
                    with options.out.open("a") as file:
                        file.write(json.dumps(rows[-1]) + "\n")
    table(rows)


if __name__ == "__main__":
    main()
