"""Exports of every method as files, for `make test-arviz` to open with ArviZ 1.x: `python tests/exported.py FOLDER`.

Beside them `wide.nc`: a conjugate model under a guide of twice the posterior's scales; an attribute is its exact
leave-one-out.
"""

import sys
import warnings
from dataclasses import replace
from pathlib import Path

import torch
from cases import METHODS, TASKS
from torch import nn

from bayesnn import BayesianNeuralNetwork, fit_last_layer, likelihoods, priors, to_arviz
from bayesnn.arviz_data import write
from bayesnn.conjugate import Posterior


def wide():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 3, generator=generator).double()
    y = x.sum(1) + 0.5 * torch.randn(40, generator=generator).double()
    noise = likelihoods.gaussian.with_noise(0.5)
    model = BayesianNeuralNetwork(nn.Linear(3, 1).double(), priors.normal(1.0), noise, standardise=False)
    exact = fit_last_layer(model, x, y, num_epochs=5, progress=False)
    head = exact.model
    wrong = Posterior(head.posterior.mean, 2.0 * head.posterior.root)
    guide = replace(
        exact,
        model=replace(head, posterior=None),
        weights=head.split(wrong.draws(4000, 1)),
        density=lambda weights: wrong.log_prob(head.joined(weights)),
    )
    phi, total = torch.cat([x, torch.ones(40, 1).double()], 1), 0.0
    for n in range(40):
        rest = torch.arange(40) != n
        precision = torch.eye(4).double() + phi[rest].T @ phi[rest] / 0.25
        mean = torch.linalg.solve(precision, phi[rest].T @ y[rest] / 0.25)
        variance = 0.25 + phi[n] @ torch.linalg.solve(precision, phi[n])
        total += float(torch.distributions.Normal(phi[n] @ mean, variance.sqrt()).log_prob(y[n]))
    return to_arviz(replace(guide, summary={"exact_loo": total}), x, y, num_prior=0)


def main():
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # fits of a few epochs say that they are
    for method in METHODS:
        for task in (TASKS[0], TASKS[3]):
            x, y = task.data()
            own = {"num_samples": 60} if "num_samples" in method.options else {"num_members": 30}
            own = own if "num_samples" in method.options or "num_members" in method.options else {}
            posterior = method.fit(task.model(), x, y, progress=False, **{**method.options, **own})
            write(to_arviz(posterior, x, y, new_x=x[:5]), folder / f"{method.name}, {task.name}.nc")
    write(wide(), folder / "wide.nc")


if __name__ == "__main__":
    main()
