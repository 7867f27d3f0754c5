"""What is measured, by name."""

from benchmarks.speed.elbo import elbo
from benchmarks.speed.ensemble import ensemble
from benchmarks.speed.memory import memory
from benchmarks.speed.prediction import dropout, many, prediction
from benchmarks.speed.process import process
from benchmarks.speed.start import start
from benchmarks.speed.step import draws, step

PARTS = {
    "step": step,
    "draws": draws,
    "prediction": prediction,
    "many": many,
    "dropout": dropout,
    "ensemble": ensemble,
    "process": process,
    "memory": memory,
    "start": start,
    "elbo": elbo,
}
