"""The command line: ``bayesnn compare digits``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bayesnn import catalogue
from bayesnn.tables import text_table

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Words after the program's name; those of the process if left out.

    Returns:
        0; 1 where some fits of a benchmark failed; 2 where the data, the device or the folder do not fit; 130 if it was
        stopped by hand.

    Raises:
        SystemExit: With 2 where the words do not fit, and with 0 after ``--help`` and ``--version``.
    """
    options = _parser().parse_args(arguments)
    try:
        return int(options.command(options))
    except (ValueError, OSError) as error:
        print(f"bayesnn: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("bayesnn: stopped by hand, nothing was written", file=sys.stderr)
        return 130


def _compare(options: argparse.Namespace) -> int:
    import torch

    from bayesnn import benchmark, report
    from bayesnn.settings import checked

    settings = catalogue.Settings(
        data=options.data,
        methods=_methods(options.methods, options.data),
        seeds=tuple(range(options.seeds)),
        hidden=None if options.hidden is None else tuple(options.hidden),
        activation=options.activation,
        num_epochs=catalogue.PROTOCOLS[options.protocol] if options.epochs is None else options.epochs,
        num_samples=options.samples,
        device=options.device,
        hold_out=options.hold_out,
        ambiguous=options.ambiguous,
        ood=options.ood,
        folder=options.data_folder,
        jobs=options.jobs if options.jobs is not None else _jobs(options),
    )
    folder = Path(options.out if options.out is not None else f"results/{options.data}")
    checked(settings)
    report.prepare(folder)  # what cannot be written is said now, not after all the work

    def tell(line: str) -> None:
        if not options.quiet:
            print(line, file=sys.stderr)

    threads = torch.get_num_threads()
    if settings.jobs > 1:
        torch.set_num_threads(1)  # the processes beside this one take the other cores
    try:
        run = benchmark.run(settings, progress=not options.quiet, tell=tell, folder=folder, fresh=options.fresh)
    finally:
        torch.set_num_threads(threads)
    try:
        report.write(run, folder)
    except KeyboardInterrupt:
        print(f"bayesnn: stopped by hand while {folder} was written; it is not whole", file=sys.stderr)
        return 130
    if options.json:
        print(json.dumps(run.to_json(), indent=1))
    else:
        print(f"\n{run.split!r}")
        print(f"{text_table(run.rows, leave_out=['brier'])}\n")
        print(f"report:  {folder / 'report.html'}\nresults: {folder / 'results.json'}")
    if run.interrupted:
        print(
            "bayesnn: stopped by hand; the results are those of the fits that were finished, and the next run goes on",
            file=sys.stderr,
        )
        return 130
    return 0


def _methods(names: Sequence[str], data: str) -> tuple[str, ...]:
    """The methods named; of ``all`` those that the data allow."""
    if "all" not in names:
        return tuple(names)
    real = data.startswith("uci/")
    return tuple(name for name in catalogue.METHODS if real or name not in catalogue.OWN_NOISE)


def _jobs(options: argparse.Namespace) -> int:
    """As many processes as there are seeds and cores: the small networks gain nothing from more threads."""
    if options.device is not None and not options.device.startswith("cpu"):
        return 1
    return min(options.seeds, os.cpu_count() or 1)


def _benchmark(options: argparse.Namespace) -> int:
    from bayesnn import uci_table

    path = Path(options.out)
    cells = [
        uci_table.Cell(data, method, split, protocol, tuple(options.hidden), start)
        for start in range(options.starts)
        for protocol in options.protocols
        for split in range(options.splits)
        for data in options.sets
        for method in options.methods
    ]

    def tell(line: str) -> None:
        if not options.quiet:
            print(line, file=sys.stderr)

    def complain(line: str) -> None:
        print(line, file=sys.stderr)

    jobs = options.jobs if options.jobs is not None else os.cpu_count() or 1
    try:
        found = uci_table.run(cells, path, folder=options.data_folder, jobs=jobs, tell=tell, complain=complain)
    except KeyboardInterrupt:
        print(f"bayesnn: stopped by hand; what is finished stands in {path}, and the next run goes on", file=sys.stderr)
        return 130
    if options.json:
        print(json.dumps(uci_table.records(found), indent=1))
    else:
        print(f"\n{text_table(uci_table.rows(found))}\n\ncells: {path}")
    return 0 if found.keys() >= set(cells) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bayesnn", description="Bayesian neural networks that fit well by default, and say when they did not."
    )
    parser.add_argument("--version", action="version", version=f"bayesnn {catalogue.VERSION}")
    commands = parser.add_subparsers(required=True, metavar="command")
    compare = commands.add_parser(
        "compare",
        help="which methods know what they don't know?",
        description="Train methods on real data, hold one class back, and see which find their own mistakes and the "
        "class they have never seen. Prints a table, and writes report.html and results.json. Each finished fit is a "
        "line of cells.jsonl beside them, and is not made again.",
    )
    defaults = catalogue.Settings()
    add, names = compare.add_argument, list(catalogue.METHODS)
    add("data", choices=list(catalogue.DATA), metavar="DATA", help=f"data set, among {', '.join(catalogue.DATA)}")
    add("--methods", nargs="+", choices=["all", *names], default=list(defaults.methods), metavar="METHOD",
        help=f"among {', '.join(names)}; or all (default: {' '.join(defaults.methods)})")  # fmt: skip
    add("--seeds", "--splits", type=_count, default=len(defaults.seeds), metavar="N",
        help="number of seeds, from 0 on: of the split, the start and the fit (default: %(default)s)")  # fmt: skip
    add("--data", dest="data_folder", metavar="FOLDER",
        help="folder with uci/<set>.npz, mnist/, fashion-mnist/ (default: the environment's BAYESNN_DATA)")  # fmt: skip
    add("--hold-out", type=int, metavar="CLASS", help="the class that is never trained on (digits: 9)")
    add("--ambiguous", type=float, metavar="FRACTION",
        help="train on mixtures of two pictures too, labelled by chance, so many for each training picture; does a "
        "method tell them from the unseen class?")  # fmt: skip
    add("--ood", choices=list(catalogue.BIG_PICTURES), metavar="DATA",
        help="another data set as the other world, of mnist and fashion-mnist: each other")  # fmt: skip
    pictures, tables = catalogue.PICTURES, catalogue.TABLES
    add("--hidden", type=_count, nargs="*", metavar="WIDTH",
        help=f"widths of the hidden layers (default: {pictures.hidden[0]}; uci: {tables.hidden[0]}; mnist: a "
        "convolutional network instead)")  # fmt: skip
    add("--activation", choices=["relu", "silu", "tanh", "gelu"],
        help=f"of the hidden layers (default: {pictures.activation}; uci: {tables.activation})")  # fmt: skip
    length = compare.add_mutually_exclusive_group()
    length.add_argument("--protocol", choices=list(catalogue.PROTOCOLS), default="converged", metavar="PROTOCOL",
        help="short, 40 passes over the data, or converged, each method's own number (default: converged)")  # fmt: skip
    length.add_argument("--epochs", type=_count, metavar="N",
        help="passes over the data; swag and sghmc walk on after them (default: by the protocol)")  # fmt: skip
    add("--samples", type=_count, default=defaults.num_samples, metavar="S",
        help="posterior draws (default: %(default)s)")  # fmt: skip
    add("--out", metavar="FOLDER",
        help="where to write, and to keep finished fits, which are not made again (default: results/DATA)")  # fmt: skip
    add("--fresh", action="store_true", help="make them again")
    add("--device", help="where to fit: cpu, cuda, cuda:1 (default: cpu)")
    add("--jobs", type=_count, metavar="N",
        help="processes that fit side by side (default: as many as there are seeds and cores; 1 on a GPU)")  # fmt: skip
    add("--json", action="store_true", help="print the results as JSON instead of a table")
    add("--quiet", action="store_true", help="no progress")
    compare.set_defaults(command=_compare)
    _add_benchmark(commands)
    return parser


def _add_benchmark(commands: Any) -> None:
    parser = commands.add_parser(
        "benchmark",
        help="methods on the UCI sets' standard splits, beside what was published",
        description="Fit methods on the standard splits of the UCI regression sets. Each finished cell is a line of "
        "JSON in a file and is not run again; the table stands beside what was published.",
    )
    add = parser.add_argument
    add("data", choices=["uci"], metavar="uci", help="the benchmark")
    add("--methods", nargs="+", choices=list(catalogue.METHODS), default=list(catalogue.UCI_METHODS), metavar="METHOD",
        help=f"among {', '.join(catalogue.METHODS)} (default: {' '.join(catalogue.UCI_METHODS)})")  # fmt: skip
    add("--sets", nargs="+", choices=list(catalogue.UCI), default=list(catalogue.UCI), metavar="SET",
        help=f"among {', '.join(catalogue.UCI)} (default: all)")  # fmt: skip
    add("--splits", type=_count, default=20, metavar="N", help="number of splits, from 0 on (default: %(default)s)")
    add("--starts", type=_count, default=1, metavar="N",
        help="number of fits of each method to each split, from other starts, whose figures are averaged: where one "
        "fit hangs on its start, so that the table does not (default: %(default)s)")  # fmt: skip
    add("--protocols", nargs="+", choices=list(catalogue.PROTOCOLS), default=["converged"], metavar="PROTOCOL",
        help="short, 40 passes over the data, or converged, each method's own number (default: converged)")  # fmt: skip
    add("--hidden", type=_count, nargs="*", default=list(catalogue.TABLES.hidden), metavar="WIDTH",
        help="widths of the hidden layers (default: 50)")  # fmt: skip
    add("--data", dest="data_folder", metavar="FOLDER",
        help="folder with uci/<set>.npz (default: the environment's BAYESNN_DATA)")  # fmt: skip
    add("--out", default="results/uci.jsonl", metavar="FILE", help="the file of cells (default: %(default)s)")
    add(
        "--jobs", type=_count, metavar="N", help="processes that fit side by side (default: as many as there are cores)"
    )
    add("--json", action="store_true", help="print the table as JSON")
    add("--quiet", action="store_true", help="no progress")
    parser.set_defaults(command=_benchmark)


def _count(word: str) -> int:
    if not (word.isascii() and word.isdigit() and int(word) >= 1):
        raise argparse.ArgumentTypeError(f"must be a whole number, 1 or more; got {word!r}")
    return int(word)


if __name__ == "__main__":
    sys.exit(main())
