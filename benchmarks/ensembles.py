"""How long an ensemble takes, side by side and in turn, over one network alone: `python benchmarks/ensembles.py`."""

import torch

from bayesnn import BayesianNeuralNetwork, fit_ensemble, fit_map, likelihoods, networks

NETWORKS = [
    (8, (50,), 2, 5),
    (8, (50,), 2, 10),
    (64, (50,), 9, 5),
    (64, (200,), 9, 5),
    (64, (400,), 9, 5),
    (784, (400, 400), 10, 5),
]


def fastest(fit, *arguments, **options):
    return min(fit(*arguments, progress=False, **options).history.seconds for _ in range(3))


def main():
    torch.set_num_threads(1)
    print("| network | weights | M | side by side | one after another |\n|---|---|---|---|---|")
    for inputs, hidden, outputs, members in NETWORKS:
        torch.manual_seed(0)
        real = outputs == 2
        x, y = torch.randn(1280, inputs), torch.randn(1280) if real else torch.randint(0, outputs, (1280,))
        likelihood = likelihoods.heteroscedastic_gaussian if real else likelihoods.categorical
        model = BayesianNeuralNetwork(networks.mlp(inputs, outputs, hidden=hidden), likelihood=likelihood)
        size = sum(value.numel() for value in model.network.parameters())
        alone = fastest(fit_map, model, x, y, num_epochs=20)
        ratios = [
            fastest(fit_ensemble, model, x, y, num_members=members, num_epochs=20, vectorised=way) / alone
            for way in (True, False)
        ]
        shape = "-".join(map(str, (inputs, *hidden, outputs)))
        print(f"| {shape} | {size} | {members} | {ratios[0]:.1f} | {ratios[1]:.1f} |", flush=True)


if __name__ == "__main__":
    main()
