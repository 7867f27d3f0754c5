"""Run the notebooks from their sources, each in a fresh kernel, and keep what they said: `make notebooks`.

A notebook is written as a percent script, notebooks/<name>.py; beside it lies the notebook that a run in full made.
With BAYESNN_SMOKE set, loops are short, and nothing is written unless --out says where to.
"""

import argparse
import os
import re
import time
from pathlib import Path

import jupytext
from nbclient import NotebookClient

HERE = Path(__file__).parent.parent / "notebooks"


def run(source: Path):
    """The notebook of a source, executed."""
    notebook = jupytext.read(source, fmt="py:percent")
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    where = {"metadata": {"path": str(HERE)}}
    NotebookClient(notebook, timeout=1800, kernel_name="python3", resources=where).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times, which differ from run to run
        if cell.cell_type == "code":
            cell.outputs = [kept for output in cell.outputs if (kept := told(output)) is not None]
    # What a kernel says of itself differs from machine to machine.
    notebook.metadata = {
        name: notebook.metadata[name] for name in ("kernelspec", "jupytext") if name in notebook.metadata
    }
    return notebook


def told(output):
    """An output without places of this machine; of what was said aside only warnings, by their words."""
    if output.get("name") != "stderr":
        return output
    said = re.findall(r"^\S+:\d+: (\w*Warning: .*)$", output["text"], flags=re.MULTILINE)
    said = [line for line in dict.fromkeys(said) if not line.startswith("TqdmWarning")]
    output["text"] = "\n".join(said) + "\n"
    return output if said else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="notebooks, by how their names begin (default: all)")
    parser.add_argument("--out", type=Path, help="folder (default: notebooks/, and none in smoke mode)")
    options = parser.parse_args()
    out = options.out or (None if "BAYESNN_SMOKE" in os.environ else HERE)
    for source in sorted(HERE.glob("*.py")):
        if options.names and not source.name.startswith(tuple(options.names)):
            continue
        begun = time.perf_counter()
        notebook = run(source)
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            jupytext.write(notebook, out / f"{source.stem}.ipynb")
        print(f"{source.stem}: {time.perf_counter() - begun:.0f} s", flush=True)


if __name__ == "__main__":
    main()
