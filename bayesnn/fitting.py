"""What every fit begins with: data through the door, a device, a seed, and a private place for Pyro's parameters."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pyro
import torch
from torch import Tensor

from bayesnn.checks import check_count, check_seed, check_trainable
from bayesnn.columns import columns_of
from bayesnn.data import as_training_data, on_device
from bayesnn.denormals import flushed_denormals
from bayesnn.model import BayesianNeuralNetwork
from bayesnn.pyro_model import PyroModel
from bayesnn.seeding import seeded

__all__ = ["check_seed", "epochs_for", "isolated", "prepared", "prepared_pyro_model"]


def prepared(
    model: BayesianNeuralNetwork, x: Any, y: Any, device: torch.device | str | None, *, trains: bool = True
) -> tuple[BayesianNeuralNetwork, Tensor, Tensor]:
    """The model knowing its data, and the data as tensors of its types on its device.

    Args:
        model: One of ours.
        x: Inputs, as `as_training_data` takes them.
        y: Targets.
        device: Where to fit; where the model is, if ``None``.
        trains: Whether weights of the network are to be fitted, and not taken as they are.

    Raises:
        TypeError: If the model is not one of ours.
        ValueError: If the data do not suit the model, the device is not there, or the network cannot be trained.
    """
    if not isinstance(model, BayesianNeuralNetwork):
        raise TypeError(
            f"model must be a BayesianNeuralNetwork; got {type(model).__name__}. "
            "Write BayesianNeuralNetwork(network, likelihood=likelihoods.gaussian)."
        )
    if trains:
        check_trainable(model.network)
    with torch.inference_mode(False):
        inputs, targets = as_training_data(x, y)
        target_device = on_device(device, model.device)
        model = copy.deepcopy(model).to(target_device)
        inputs, targets = inputs.to(target_device), targets.to(target_device)
        model = model.for_data(inputs, targets)
        model.columns = columns_of(x)
        return model, inputs, model.targets(targets)


def prepared_pyro_model(
    model: Callable, x: Any, y: Any, device: torch.device | str | None, batch_size: int | None
) -> tuple[PyroModel, Tensor, Tensor]:
    """The same for a Pyro model of the user's own; nothing is scaled."""
    known = PyroModel(model)
    with torch.inference_mode(False):
        inputs, targets = as_training_data(x, y)
        target_device = on_device(device, known.device)
        known = known.to(target_device)
        inputs, targets = (known.typed(t, given).to(target_device) for t, given in ((inputs, x), (targets, y)))
    with isolated(0, target_device, validate=True):
        known = known.for_data(inputs, targets, batch_size or len(inputs))
    known.columns = columns_of(x)
    return known, inputs, targets


@contextmanager
def isolated(seed: int, device: torch.device, *, validate: bool = False) -> Iterator[None]:
    """A seed for what is inside; outside, the random state and Pyro's parameter store stay as they were.

    Gradients are on, whatever the caller's mode. Pyro's and torch's checks of every distribution cost time in every
    step, so they are off unless ``validate``.
    """
    check_seed(seed)
    checks = {} if validate else {"validate_distributions_pyro": False, "validate_distributions_torch": False}
    with ExitStack() as stack:
        for context in (seeded(seed, device), pyro.settings.context(module_local_params=True, **checks)):
            stack.enter_context(context)
        for context in (flushed_denormals(), torch.inference_mode(False), torch.enable_grad()):
            stack.enter_context(context)
        yield


def epochs_for(num_epochs: int | None, steps: int, num_data: int, batch_size: int) -> int:
    """The number of epochs asked for, or as many as make about ``steps`` steps, 20 at least."""
    check_count("batch_size", batch_size)
    if num_epochs is not None:
        return num_epochs
    return max(20, math.ceil(steps / math.ceil(num_data / batch_size)))
