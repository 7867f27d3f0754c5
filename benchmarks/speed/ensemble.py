"""Ten small networks side by side against one of them."""

import warnings

from bayesnn import fit_ensemble, fit_map
from benchmarks.speed.cases import small
from benchmarks.speed.paired import table
from benchmarks.speed.step import ours, plain


def ensemble(rounds, number=10):
    """Print a table."""
    case = small()
    warnings.filterwarnings("ignore", message="There is a performance drop")
    contenders = {
        "one plain network": plain(case),
        "fit_map": ours(case, fit_map),
        f"fit_ensemble, {number} members": ours(case, fit_ensemble, num_members=number),
        f"the same, one after another ({number})": ours(case, fit_ensemble, num_members=number, vectorised=False),
    }
    table(f"training {case.name}", contenders, rounds, timed=lambda run: run())
