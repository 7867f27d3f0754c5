"""How far approximate posteriors are from long NUTS chains on the same model, on the data and away from them.

python benchmarks/against_nuts.py --seeds 3 --out results/against_nuts.jsonl

A finished fit is a line of JSON and is not made again. `nuts, again` is another run of the chains with other seeds:
what is left between two runs is the reference's own noise, and no method can be seen to be nearer than that.
"""

import argparse
import json
import time
import warnings
from functools import partial
from pathlib import Path

import torch
from pyro.infer.autoguide import AutoLowRankMultivariateNormal, AutoMultivariateNormal

from bayesnn import (
    BayesianNeuralNetwork,
    datasets,
    fit_dropout,
    fit_ensemble,
    fit_laplace,
    fit_last_layer,
    fit_map,
    fit_nuts,
    fit_sghmc,
    fit_svi,
    fit_swag,
    likelihoods,
    networks,
    predictive_distance,
    priors,
)
from bayesnn.datasets.toys import sine_mean
from bayesnn.seeding import seeded
from bayesnn.tables import text_table

S = 500


def sine(seed):
    """Forty points of a sine with a gap, noise of 0.3 known."""
    split = datasets.heteroscedastic_sine(40, seed=seed)
    noise = 0.3 * torch.randn(40, generator=torch.Generator().manual_seed(seed))
    y = sine_mean(split.x_train) + noise
    return split.x_train, y, split.x_test, split.x_ood, likelihoods.gaussian.with_noise(0.3), 1


def moons(seed):
    """A hundred points of two moons, well apart from each other."""
    split = datasets.two_moons(100, noise=0.2, seed=seed)
    return split.x_train, split.y_train, split.x_test, split.x_ood, likelihoods.categorical, 2


PROBLEMS = {"sine": sine, "moons": moons}
HIDDEN = {"sine": 5, "moons": 10}
CHAINS = {
    "sine": {"num_samples": 400, "num_warmup": 200, "num_chains": 2},  # of 500 gradients a step
    "moons": {"num_samples": 1000, "num_warmup": 300, "num_chains": 4},
}
SVI = {"num_samples": S, "num_epochs": 5000}
METHODS = {
    "nuts, again": fit_nuts,
    "sghmc": partial(fit_sghmc, num_samples=S),
    "svi": partial(fit_svi, **SVI),
    "svi, low rank": partial(fit_svi, guide=partial(AutoLowRankMultivariateNormal, rank=10), **SVI),
    "svi, full rank": partial(fit_svi, guide=AutoMultivariateNormal, **SVI),
    "svi, mixture of 10": partial(fit_ensemble, member=fit_svi, num_members=10, **SVI),
    "laplace, last layer": partial(fit_laplace, num_samples=S),
    "laplace, diagonal": partial(fit_laplace, num_samples=S, structure="diagonal"),
    "last layer": partial(fit_last_layer, num_samples=S),
    "swag": partial(fit_swag, num_samples=S),
    "dropout": partial(fit_dropout, num_samples=S),
    "ensemble of 10": partial(fit_ensemble, num_members=10),
    "map": fit_map,
}
FIGURES = {
    "sine": ("wasserstein_relative", "epistemic_ratio", "kl"),
    "moons": ("total_variation", "agreement", "epistemic_ratio"),
}


def model_for(problem, seed):
    x, _, _, _, likelihood, outputs = PROBLEMS[problem](seed)
    with seeded(seed):
        network = networks.mlp(x.shape[1], outputs, hidden=(HIDDEN[problem],), activation="tanh", dropout=0.05)
    return BayesianNeuralNetwork(network, priors.fan_in_normal(3.0, fit=None), likelihood)


def run(problem, seed, name, reference):
    x, y, near, far, *_ = PROBLEMS[problem](seed)
    begun = time.perf_counter()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        own = {"seed": seed + 1000, **CHAINS[problem]} if name == "nuts, again" else {"seed": seed}
        posterior = METHODS[name](model_for(problem, seed), x, y, progress=False, **own)
    line = {"problem": problem, "seed": seed, "method": name, "seconds": time.perf_counter() - begun}
    line |= {"warnings": [str(one.message)[:100] for one in said], "summary": dict(posterior.summary)}
    for where, points in (("near", near), ("far", far)):
        line[where] = predictive_distance(posterior(points), reference(points)).means
    return line


def table(lines, problem, where):
    rows = []
    for name in METHODS:
        found = [line[where] for line in lines if line["problem"] == problem and line["method"] == name]
        if found:
            row = {"method": name}
            for figure in FIGURES[problem]:
                values = torch.tensor([one[figure] for one in found], dtype=torch.double)
                row[figure] = {"mean": float(values.mean()), "sd": float(values.std()) if len(values) > 1 else None}
            rows.append(row)
    return text_table(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="data sets, starts and chains (default: %(default)s)")
    parser.add_argument("--problems", nargs="+", choices=list(PROBLEMS), default=list(PROBLEMS))
    parser.add_argument("--out", type=Path, default=Path("results/against_nuts.jsonl"), help="the file of lines")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.loads(line) for line in options.out.read_text().splitlines()] if options.out.exists() else []
    done = {(line["problem"], line["seed"], line["method"]) for line in lines}
    for problem in options.problems:
        for seed in range(options.seeds):
            missing = [name for name in METHODS if (problem, seed, name) not in done]
            if not missing:
                continue
            x, y, *_ = PROBLEMS[problem](seed)
            reference = fit_nuts(model_for(problem, seed), x, y, seed=seed, progress=False, **CHAINS[problem])
            print(problem, seed, reference, flush=True)
            for name in missing:
                lines.append(run(problem, seed, name, reference))
                with options.out.open("a") as file:
                    file.write(json.dumps(lines[-1]) + "\n")
                print(problem, seed, name, {k: round(v, 3) for k, v in lines[-1]["far"].items()}, flush=True)
    for problem in options.problems:
        for where in ("near", "far"):
            print(f"\n{problem}, {'on the data' if where == 'near' else 'away from the data'}")
            print(table(lines, problem, where))


if __name__ == "__main__":
    main()
