"""Memory of many predictions, in a process of its own."""

import subprocess
import sys

CODE = """
import sys, time, torch
from bayesnn import BayesianNeuralNetwork, decompose, evaluate, likelihoods, networks
from bayesnn.posterior import WeightPosterior
torch.set_num_threads(1)
draws, rows, classes = map(int, sys.argv[1:])
x, y = torch.randn(rows, 8), torch.randint(classes, (rows,))
model = BayesianNeuralNetwork(networks.mlp(8, classes, hidden=50), likelihood=likelihoods.categorical)
model = model.for_data(x[:1000], y[:1000])
weights = {name: value + 0.1 * torch.randn(draws, *value.shape) for name, value in model.start().items()}
posterior = WeightPosterior(model, weights, "draws")
decompose(posterior(x[:200]))


def status(name):  # in MB; getrusage would tell the parent's peak where that is more
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(name)) / 1024


before, started = status("VmRSS"), time.perf_counter()
print(posterior.plan(x))
predictive = posterior(x)
decompose(predictive), evaluate(predictive, y)
spent = time.perf_counter() - started
print(f"decompose and evaluate: {status('VmHWM') - before:.0f} MB beyond what was there, {spent:.0f} s")
"""


def memory(rounds, draws=1000, rows=100_000, classes=10):
    """Print what it took. One round: memory does not vary."""
    subprocess.run([sys.executable, "-c", CODE, *map(str, (draws, rows, classes))], check=True)
