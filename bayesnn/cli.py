"""The command line: ``bayesnn compare digits``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import bayesnn
from bayesnn import benchmark, report
from bayesnn.tables import text_table

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Words after the program's name; those of the process if left out.

    Returns:
        0, or 2 where the words or the data do not fit.
    """
    options = _parser().parse_args(arguments)
    try:
        return int(options.command(options))
    except (ValueError, TypeError) as error:
        print(f"bayesnn: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("bayesnn: stopped by hand", file=sys.stderr)
        return 130


def _compare(options: argparse.Namespace) -> int:
    settings = benchmark.Settings(
        data=options.data,
        methods=tuple(options.methods),
        seeds=tuple(range(options.seeds)),
        hidden=tuple(options.hidden),
        activation=options.activation,
        num_epochs=options.epochs,
        num_samples=options.samples,
        device=options.device,
    )
    folder = Path(options.out if options.out is not None else f"results/{options.data}")
    quiet = options.quiet

    def tell(line: str) -> None:
        if not quiet:
            print(line, file=sys.stderr)

    run = benchmark.run(settings, progress=not quiet, tell=tell)
    report.write(run, folder)
    if options.json:
        print(json.dumps(run.to_json(), indent=1))
    else:
        print(f"\n{run.split!r}")
        print(f"{text_table(run.rows)}\n")
        print(f"report:  {folder / 'report.html'}\nresults: {folder / 'results.json'}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bayesnn", description="Bayesian neural networks that fit well by default, and say when they did not."
    )
    parser.add_argument("--version", action="version", version=f"bayesnn {bayesnn.__version__}")
    commands = parser.add_subparsers(required=True, metavar="command")
    compare = commands.add_parser(
        "compare",
        help="which methods know what they don't know?",
        description="Train methods on real data, hold one class back, and see which find their own mistakes and the "
        "class they have never seen. Prints a table, and writes report.html and results.json.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    defaults = benchmark.Settings()
    add = compare.add_argument
    names = list(benchmark.METHODS)
    add("data", choices=list(benchmark.DATA), help="data set")
    add("--methods", nargs="+", choices=names, default=names, metavar="METHOD", help=f"among {', '.join(names)}")
    add("--seeds", type=_count, default=len(defaults.seeds), help="number of seeds, from 0 on")
    add("--hidden", type=_count, nargs="*", default=list(defaults.hidden), metavar="WIDTH", help="hidden layers")
    add("--activation", choices=["relu", "silu", "tanh", "gelu"], default=defaults.activation, help="activation")
    add("--epochs", type=_count, help="passes over the data; each method's own choice if left out")
    add("--samples", type=_count, default=defaults.num_samples, help="posterior draws")
    add("--out", metavar="FOLDER", help="where to write; results/<data> if left out")
    add("--device", help="where to fit: cpu, cuda, cuda:1; cpu if left out")
    add("--json", action="store_true", help="print the results as JSON instead of a table")
    add("--quiet", action="store_true", help="no progress")
    compare.set_defaults(command=_compare)
    return parser


def _count(word: str) -> int:
    if not word.isdigit() or int(word) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number, 1 or more; got {word!r}")
    return int(word)


if __name__ == "__main__":
    sys.exit(main())
