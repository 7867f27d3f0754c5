"""What each part of the default variational fit brings: the tables of docs/variational-fit.md.

    .venv/bin/python benchmarks/variational_fit.py [TABLE ...] --seeds 3 [--data FOLDER]

One line per recipe, mean over the seeds (of split, start and fit) and its standard error. On the digits: ELBO per
datum, NLL, accuracy, and the best AUROC of finding the unseen 9s. On the UCI sets: log-likelihood of the test rows and,
in brackets, ELBO per datum. On pictures: NLL and accuracy of held-out training pictures of MNIST, and the ELBO. Held:
fits of other lengths and starts on boston, scored on a tenth of each split's training rows, beside the default. Noise:
networks that predict it on five sets, scored likewise. How far a set's figures hang on the starts,
`bayesnn benchmark uci --starts 10` tells.
"""

import argparse
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from mnist_ensemble import lenet
from torch import nn

from bayesnn import BayesianNeuralNetwork, datasets, evaluate, fit_svi, likelihoods, networks, priors
from bayesnn.catalogue import UCI_SPLITS, Settings
from bayesnn.evaluation import figures
from bayesnn.settings import model_for


@dataclass(frozen=True)
class Recipe:
    prior: priors.Prior = field(default_factory=priors.fan_in_normal)
    options: dict[str, Any] = field(default_factory=dict)
    network: Callable[..., nn.Module] = field(default=partial(networks.mlp, (8, 8)))
    flat: bool = False
    """Whether pictures are rows of 64 columns, each standardised by itself."""


def mlp(*hidden: int, activation: str = "relu") -> Callable[..., nn.Module]:
    return partial(networks.mlp, (8, 8), hidden=hidden, activation=activation)


FIXED, TENSOR = partial(priors.fan_in_normal, fit=None), partial(priors.fan_in_normal, fit="tensor")
TEXTBOOK = {"warmup": 0.0, "rotate": False}
SHARED, BY_DATUM = {"per_datum_noise": False}, {"per_datum_noise": True}
CONV = partial(networks.conv_net, (8, 8))

DIGITS: dict[str, dict[str, Recipe]] = {
    "parts": {
        "fixed N(0, 2 / fan-in)": Recipe(FIXED(2**0.5), TEXTBOOK),
        "fixed N(0, 10 / fan-in)": Recipe(FIXED(10**0.5), TEXTBOOK),
        "a scale a tensor": Recipe(TENSOR(), TEXTBOOK),
        "and the rising KL weight": Recipe(TENSOR(), {"rotate": False}),
        "and a scale a unit": Recipe(options={"rotate": False}),
        "and the principal axes (default)": Recipe(),
    },
    "tried": {
        "default": Recipe(),
        "KL rising for 90 %": Recipe(options={"warmup": 0.9}),
        "start from the MAP": Recipe(options={"start": "map"}),
        "4 draws a step": Recipe(options={"num_particles": 4}),
        "one draw for a minibatch": Recipe(options=SHARED),
        "temperature 0.3": Recipe(options={"temperature": 0.3}),
        "pixels scaled one by one": Recipe(flat=True),
        "two convolutions, one draw for a minibatch": Recipe(options=SHARED, network=CONV),
        "400 SiLU": Recipe(network=mlp(400, activation="silu")),
        "400 SiLU, one draw for a minibatch": Recipe(options=SHARED, network=mlp(400, activation="silu")),
        "400 SiLU, KL rising for 90 %": Recipe(network=mlp(400, activation="silu"), options={"warmup": 0.9}),
        "400 SiLU, temperature 0.3": Recipe(network=mlp(400, activation="silu"), options={"temperature": 0.3}),
    },
    "deep": {
        "a scale a tensor, KL whole from the start, initial scale 0.01": Recipe(
            TENSOR(), {**TEXTBOOK, "init_scale": 0.01}, mlp(100, 100)
        ),
        "a scale a tensor, KL rising": Recipe(TENSOR(), {"rotate": False}, mlp(100, 100)),
        "a scale a unit, KL rising": Recipe(options={"rotate": False}, network=mlp(100, 100)),
        "default": Recipe(network=mlp(100, 100)),
    },
    "networks": {
        f"{width} {name}{', without the axes' if not rotate else ''}": Recipe(
            options={"rotate": rotate}, network=mlp(width, activation=name.lower())
        )
        for width, name in ((50, "tanh"), (50, "SiLU"), (200, "ReLU"), (200, "SiLU"), (400, "SiLU"))
        for rotate in (False, True)
    },
    "convolutions": {
        f"two convolutions, step {step}": Recipe(options={"learning_rate": step}, network=CONV)
        for step in (0.03, 0.01, 0.003)
    },
    "steps": {
        f"{label}, step {step}{'' if by_datum else ', one draw for a minibatch'}": Recipe(
            options={"learning_rate": step, "per_datum_noise": by_datum}, network=network
        )
        for label, network in (("50", mlp(50)), ("2x100", mlp(100, 100)), ("400 SiLU", mlp(400, activation="silu")))
        for step in (0.03, 0.015, 0.0075)
        for by_datum in (True, False)
    },
    "lengths": {f"{n or 'default'} epochs": Recipe(options={"num_epochs": n}) for n in (40, 100, 300, None)},
}
REGRESSION = {
    "fixed N(0, 2 / fan-in)": Recipe(FIXED(2**0.5), TEXTBOOK),
    "a scale a tensor, KL rising": Recipe(TENSOR(), {"rotate": False}),
    "a scale a unit, KL whole from the start": Recipe(options=TEXTBOOK),
    "a scale a unit, KL rising": Recipe(options={"rotate": False}),
    "and the principal axes (default)": Recipe(),
    "default, one draw for a minibatch": Recipe(options=SHARED),
    "default, step 0.03": Recipe(options={"learning_rate": 0.03}),
    "default, step 0.0075": Recipe(options={"learning_rate": 0.0075}),
}
HELD: dict[str, dict[str, Any]] = {
    "half as long": {"num_epochs": 0.5},
    "twice as long": {"num_epochs": 2.0},
    "4 draws a step": {"num_particles": 4},
    "KL rising for 80 %": {"warmup": 0.8},
    "start from the MAP": {"start": "map"},
    "start from the default's means": {"start": "default"},
}
"""Settings; epochs in units of the default's."""
NOISES = {
    "one scale": likelihoods.gaussian,
    "by the inputs": likelihoods.heteroscedastic_gaussian,
    "by the inputs, Student's t": likelihoods.student_t,
}


def fitted(recipe: Recipe, network: nn.Module, likelihood: Any, x: torch.Tensor, y: torch.Tensor, seed: int) -> Any:
    model = BayesianNeuralNetwork(network, prior=recipe.prior, likelihood=likelihood)
    return fit_svi(model, x, y, seed=seed, progress=False, **recipe.options)


def digits(seed: int, recipe: Recipe) -> list[float]:
    split = datasets.digits(seed=seed)
    torch.manual_seed(seed)
    network = recipe.network(len(split.classes))
    known, test, unseen = split.x_train, split.x_test, split.x_ood
    if recipe.flat:
        known, test, unseen = known.flatten(1), test.flatten(1), unseen.flatten(1)
        network = nn.Sequential(nn.Unflatten(1, (8, 8)), network)
    posterior = fitted(recipe, network, likelihoods.categorical, known, split.y_train, seed)
    row = figures(posterior(test), split.y_test, posterior(unseen))
    best = max(area for name, area in row.items() if name.startswith("ood"))
    return [posterior.summary["elbo_per_datum"], row["nll"], row["accuracy"], best]


def regression(seed: int, recipe: Recipe, name: str, folder: str | None) -> tuple[float, float]:
    split = datasets.uci(name, seed=seed, folder=folder)
    torch.manual_seed(seed)
    network = networks.mlp(split.x_train.shape[1], 1)
    posterior = fitted(recipe, network, likelihoods.gaussian, split.x_train, split.y_train, seed)
    return -evaluate(posterior(split.x_test), split.y_test)["nll"], posterior.summary["elbo_per_datum"]


def held_apart(name: str, seed: int, folder: str | None) -> tuple[datasets.Split, torch.Tensor, torch.Tensor]:
    """A split of a UCI set, and which of its training rows are held out and which are left, a tenth and the rest."""
    split = datasets.uci(name, seed=seed, folder=folder)
    order = torch.randperm(len(split.x_train), generator=torch.Generator().manual_seed(seed))
    held, left = order.tensor_split([len(order) // 10])
    return split, held, left


def scores(posterior: Any, split: datasets.Split, held: torch.Tensor) -> tuple[float, float, float]:
    """ELBO per datum, and log-likelihood and RMSE of held-out training rows."""
    row = evaluate(posterior(split.x_train[held]), split.y_train[held])
    return posterior.summary["elbo_per_datum"], -row["nll"], row["rmse"]


def beside_the_first(rows: dict[str, list[tuple[float, float, float]]], ahead: str = "") -> None:
    """Print the first row's means, the others' mean differences from it, and their standard errors over the splits."""
    first = next(iter(rows))
    for label, found in rows.items():
        beside = np.array(found) - (0 if label == first else np.array(rows[first]))
        errors = beside.std(0, ddof=1) / len(beside) ** 0.5
        form = "{:.3f} ± {:.3f}" if label == first else "{:+.3f} ± {:.3f}"
        cells = (form.format(mean, error) for mean, error in zip(beside.mean(0), errors, strict=True))
        print(f"| {ahead if label == first else ahead and '| '}{label} | " + " | ".join(cells) + " |", flush=True)


def held_out(folder: str | None) -> None:
    """Print what other lengths and starts do to rows that are held out of boston's training parts."""
    settings, rows = Settings(data="uci/boston", methods=("svi",)), {label: [] for label in ("default", *HELD)}
    for seed in range(UCI_SPLITS):
        split, held, left = held_apart("boston", seed, folder)
        x, y = split.x_train[left], split.y_train[left]
        model, default = model_for(split, settings, seed, own_noise=False), None
        for label, options in {"default": {}, **HELD}.items():
            options = dict(options)
            if "num_epochs" in options:
                options["num_epochs"] = round(options["num_epochs"] * len(default.history.epochs))
            if options.get("start") == "default":
                options["start"] = default.guide.median()
            posterior = fit_svi(model, x, y, seed=seed, progress=False, **options)
            default = posterior if default is None else default
            rows[label].append(scores(posterior, split, held))
    print("\nheld\n| boston, held-out training rows | ELBO | log-likelihood | RMSE |\n|---|---|---|---|")
    beside_the_first(rows)


def noise(folder: str | None) -> None:
    """Print what a network gains that predicts its noise, on held-out training rows."""
    print("\nnoise\n| set | noise | ELBO | log-likelihood | RMSE |\n|---|---|---|---|---|")
    for name in ("boston", "concrete", "energy", "yacht", "wine-red"):
        settings, rows = Settings(data=f"uci/{name}", methods=("svi",)), {label: [] for label in NOISES}
        for seed in range(UCI_SPLITS):
            split, held, left = held_apart(name, seed, folder)
            x, y = split.x_train[left], split.y_train[left]
            for label, likelihood in NOISES.items():
                model = model_for(split, settings, seed, own_noise=likelihood is not likelihoods.gaussian)
                model = BayesianNeuralNetwork(model.network, prior=model.prior, likelihood=likelihood)
                rows[label].append(scores(fit_svi(model, x, y, seed=seed, progress=False), split, held))
        beside_the_first(rows, f"{name} | ")


def pictures(folder: str | None, seed: int = 0) -> None:
    """Print what the step size and the noise do to networks on pictures of 784 numbers."""
    split = datasets.mnist(ood="fashion-mnist", folder=folder)
    order = torch.randperm(len(split.x_train), generator=torch.Generator().manual_seed(seed))
    held = order[:10_000]

    def line(label: str, make: Callable[[], nn.Module], options: dict[str, Any], train: torch.Tensor) -> None:
        torch.manual_seed(seed)
        posterior = fitted(
            Recipe(options=options), make(), likelihoods.categorical, split.x_train[train], split.y_train[train], seed
        )
        row = evaluate(posterior(split.x_train[held]), split.y_train[held])
        label += ", one draw for a minibatch" if options["per_datum_noise"] is False else ""
        figures = f"{posterior.summary['elbo_per_datum']:.3f} | {row['nll']:.3f} | {row['accuracy']:.3f}"
        print(f"| {label} | {figures} | {posterior.history.seconds:.0f} |", flush=True)

    def head(rows: int) -> None:
        print(f"\npictures\n| {rows} of MNIST | ELBO | NLL | accuracy | seconds |\n|---|---|---|---|---|")

    head(5000)
    for hidden in ((200,), (400, 400)):
        for step in (0.03, 0.015, 0.0075, None):
            label = f"{'-'.join(map(str, hidden))}, step {step or 'by the width'}"
            for options in (BY_DATUM, SHARED):
                perceptron = partial(networks.mlp, (28, 28), 10, hidden=hidden)
                line(label, perceptron, {"learning_rate": step, **options}, order[10_000:15_000])
    head(50_000)
    nets = {"400-400": partial(networks.mlp, (28, 28), 10, hidden=(400, 400)), "LeNet-5": lenet}
    nets["two convolutions"] = partial(networks.conv_net, (28, 28), 10)
    for label, network in nets.items():
        for options in (BY_DATUM, SHARED):
            line(label, network, options, order[10_000:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "tables", nargs="*", choices=[*DIGITS, "regression", "pictures", "held", "noise", []], help="(default: all)"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data", help="folder with uci/ and mnist/, for the tables of these")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # some of these recipes are bad, and fit_svi says so
    torch.set_num_threads(1)
    own = {"pictures": pictures, "held": held_out, "noise": noise}
    for table in options.tables or [*DIGITS, "regression", *own]:
        if table in own:
            own[table](options.data)
            continue
        if table == "regression":
            sets = ("boston", "energy", "yacht", "concrete")
            print(f"\n{table}\n| recipe | " + " | ".join(sets) + " |\n|---|" + "---|" * len(sets))
            for label, recipe in REGRESSION.items():
                rows = [[regression(s, recipe, name, options.data) for s in range(options.seeds)] for name in sets]
                cells = (f"{ll:.2f} ({elbo:.2f})" for ll, elbo in np.array(rows).mean(1))
                print(f"| {label} | " + " | ".join(cells) + " |", flush=True)
            continue
        print(f"\n{table}\n| recipe | ELBO | NLL | accuracy | best unseen-9 AUROC |\n|---|---|---|---|---|")
        for label, recipe in DIGITS[table].items():
            rows = np.array([digits(seed, recipe) for seed in range(options.seeds)])
            errors = rows.std(0, ddof=1) / len(rows) ** 0.5
            cells = (f"{mean:.3f} ± {error:.3f}" for mean, error in zip(rows.mean(0), errors, strict=True))
            print(f"| {label} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
