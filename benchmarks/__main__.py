"""Speed, as ratios of what is timed in turn: `python -m benchmarks`, or `python -m benchmarks step start`."""

import argparse

import torch

from benchmarks.speed import PARTS


def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="PART", help=f"among {', '.join(PARTS)}")
    parser.add_argument("--rounds", type=int, default=7, help="paired rounds (default: %(default)s)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.parts or PARTS:
        print(f"\n## {name}\n", flush=True)
        PARTS[name](options.rounds)


if __name__ == "__main__":
    main()
