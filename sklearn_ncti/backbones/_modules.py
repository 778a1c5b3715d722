"""A module of one's own from what users give to `TorchBackbone`; imported with torch."""

import copy
import os
from contextlib import suppress
from importlib import import_module
from typing import Any

import torch


def own_module(module: Any, device: torch.device) -> torch.nn.Module:
    """Return a module that shares nothing with what the user holds.

    `module` is a module, a factory, the path of an exported program, or such a program.
    """
    if isinstance(module, str | os.PathLike):
        return module_of_program(_load_program(os.fspath(module)), device)
    if isinstance(module, torch.export.ExportedProgram):
        return module_of_program(copy.deepcopy(module), device)
    if isinstance(module, torch.nn.Module):
        try:
            return copy.deepcopy(module)
        except Exception as exc:
            raise ValueError(
                f"module: the {type(module).__name__} cannot be copied, and the one given "
                f"is never changed ({type(exc).__name__}: {exc}). Give a factory instead: "
                "a function without arguments that returns a new module."
            ) from exc
    if not callable(module):
        raise TypeError(
            "module must be a torch.nn.Module, a callable that returns one, the path of a "
            f".pt2 file or a torch.export.ExportedProgram; got {module!r}."
        )
    made = module()
    if not isinstance(made, torch.nn.Module):
        raise TypeError(
            "module must return a torch.nn.Module when called without arguments; "
            f"{module!r} returned a {type(made).__name__}."
        )
    return made


def _load_program(path: str) -> torch.export.ExportedProgram:
    if not path.endswith(".pt2"):
        raise ValueError(
            f"module={path!r} is not the path of a .pt2 file. Names of timm's models go to "
            "TimmBackbone; of other files make a module yourself, or save the module with "
            "torch.export.save."
        )
    if not os.path.isfile(path):
        raise ValueError(
            f"module={path!r}: there is no such file. "
            "Relative paths are looked up from the current folder."
        )
    try:
        return torch.export.load(path)
    except Exception as exc:
        raise ValueError(
            f"module={path!r} cannot be read as an exported program ({type(exc).__name__}: "
            f"{exc}). Write it with torch.export.save, with a release of torch no newer than "
            f"this one ({torch.__version__})."
        ) from exc


def module_of_program(
    program: torch.export.ExportedProgram, device: torch.device
) -> torch.nn.Module:
    """Return a module of a program, for a device that need not be the one of its export."""
    if device.type != "cpu":
        # The graph itself may name devices, which moving the module would leave as they are.
        # Early releases of torch lack the pass; the other programs run with them all the same.
        with suppress(ImportError):
            passes = import_module("torch.export.passes")
            program = passes.move_to_device_pass(program, device)
    return program.module()
