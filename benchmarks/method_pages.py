"""The pictures of the pages of docs/methods, and the table on docs/methods.md, from the example on each page.

    .venv/bin/python benchmarks/method_pages.py [NAME ...]

Every example is run as it stands there, and times are of its fit alone.
"""

import argparse
import contextlib
import io
import re
import time
import warnings
from pathlib import Path

import torch
from gallery import sheet, write

import bayesnn
from bayesnn import datasets, decompose, evaluate, plots
from bayesnn.datasets.toys import sine_mean, sine_sd

PAGES = Path(__file__).parent.parent / "docs" / "methods"
PICTURES = PAGES.parent / "pictures" / "methods"


def example(name: str) -> str:
    """The code on a method's page."""
    (code,) = re.findall(r"```python\n(.*?)```", (PAGES / f"{name}.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    return code


def run(name: str) -> tuple[object, object, float]:
    """Data and posterior of a page's example, and the seconds of its fit."""
    world: dict = {}
    seconds = [0.0]
    fit = getattr(bayesnn, f"fit_{name}")

    def timed(*arguments, **options):
        begun = time.perf_counter()
        posterior = fit(*arguments, progress=False, **options)
        seconds.append(time.perf_counter() - begun)
        return posterior

    code = example(name).replace(f"fit_{name}(", "timed(")
    torch.manual_seed(0)
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(action="ignore"):
        exec(code, world | {"timed": timed}, world)
    return world["data"], world["posterior"], seconds[-1]


def picture(data, posterior, path):
    """Bands over the data and beyond, with the true mean and noise."""
    grid = torch.linspace(-6, 6, 300)[:, None]
    figure, ax = sheet(7, 2.9)
    plots.regression_bands(grid, posterior(grid), data=(data.x_train, data.y_train), ax=ax)
    for sign in (-2, 0, 2):
        style = "-" if sign == 0 else ":"
        label = {0: "the truth, and two of its standard deviations"}.get(sign)
        ax.plot(grid, sine_mean(grid) + sign * sine_sd(grid), style, color="black", linewidth=0.8, label=label)
    ax.set(xlim=(-6, 6), ylim=(-3, 3))
    ax.legend(fontsize="x-small", ncols=2, loc="lower left")
    write(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="pages (default: all)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    PICTURES.mkdir(exist_ok=True)
    test = datasets.heteroscedastic_sine(2000, seed=1)
    best = -torch.distributions.Normal(sine_mean(test.x_test), sine_sd(test.x_test)).log_prob(test.y_test).mean()
    print(f"the truth: NLL {best:.3f}")
    print(f"{'method':12}{'seconds':>9}{'NLL':>8}{'epistemic sd on the data':>26}{'in the gap':>12}{'beyond':>8}")
    gap = test.x_ood[:, 0].abs() < 1
    for name in options.names or [path.stem for path in sorted(PAGES.glob("*.md"))]:
        data, posterior, seconds = run(name)
        picture(data, posterior, PICTURES / f"{name}.png")
        nll = evaluate(posterior(test.x_test), test.y_test)["nll"]
        inside = decompose(posterior(test.x_test)).epistemic.mean().sqrt()
        outside = decompose(posterior(test.x_ood)).epistemic
        within, beyond = outside[gap].mean().sqrt(), outside[~gap].mean().sqrt()
        print(f"{name:12}{seconds:9.1f}{nll:8.3f}{inside:26.3f}{within:12.3f}{beyond:8.3f}", flush=True)


if __name__ == "__main__":
    main()
