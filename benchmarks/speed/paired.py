"""Times of several things taken in turn, as ratios to the first: what slows the machine down slows all of them."""

import statistics
import time


def seconds(run):
    """Wall time of one call."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def table(title, contenders, rounds, timed=seconds):
    """Print a row for each contender: the median of its ratio to the first one, and the range of its middle half.

    Args:
        title: What the first column says.
        contenders: What is timed, by name, the first the unit.
        rounds: How often all are timed.
        timed: Seconds of one contender.
    """
    for run in contenders.values():
        timed(run)
    times = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            times[name].append(timed(run))
    unit, *_ = times.values()
    print(f"| {title} | ratio | middle half | seconds |\n|---|---|---|---|")
    for name, own in times.items():
        ratios = sorted(one / base for one, base in zip(own, unit, strict=True))
        low, _, high = statistics.quantiles(ratios, n=4) if rounds > 1 else [ratios[0]] * 3
        middle = statistics.median(ratios)
        print(f"| {name} | {middle:.2f} | {low:.2f} to {high:.2f} | {statistics.median(own):.3g} |")
    print(flush=True)
