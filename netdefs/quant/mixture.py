"""`Mixture`: an engine in which any layer can be float or in lower precision, from one run to the next."""

import os
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from netdefs.core.errors import EngineError
from netdefs.core.network import Network
from netdefs.engine.base import Engine
from netdefs.engine.feeds import check_feeds
from netdefs.engine.tensorrt import definition_inputs, definition_outputs
from netdefs.quant.pairing import SWITCHES, Paired, switched
from netdefs.quant.walk import run, session_of


class Mixture(Engine):
    """A network on the CPU, partly in lower precision.

    Args:
        paired: the two versions.
        network: the float one; its inputs, profile and info count.

    Attributes:
        kept: the layers that stay float.
    """

    def __init__(self, paired: Paired, network: Network) -> None:
        definition = network.definition
        inputs, outputs = definition_inputs(definition), definition_outputs(definition)
        super().__init__("cpu", inputs, outputs, network.profile, network.info)
        self.kept: Collection[str] = ()
        self._layers = paired.layers
        self._session = session_of(switched(paired))

    def run(self, feeds: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """As `Engine.run`."""
        self._check_open()
        kept = set(self.kept)
        given = check_feeds(feeds, self.inputs, self.profile)
        given[SWITCHES] = np.array([layer not in kept for layer in self._layers])
        return dict(zip(self.outputs, run(self._session, list(self.outputs), given), strict=True))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Always an EngineError: what is to be kept is a network, with a precision for every layer."""
        raise EngineError("A mixture is for measuring. Define the network with precision={...}, and build that.")

    def close(self) -> None:
        """As `Engine.close`."""
        super().close()
        self._session = None
