"""Descriptors: an image becomes a unit vector, and cosine similarity says how much of a copy it is.

    >>> descriptor = load_descriptor("mobilenet_v3")
    >>> vectors = descriptor.encode([Image.open("a.jpg"), Image.open("b.jpg")])  # float32 (2, 256)
    >>> vectors[0] @ vectors[1] >= descriptor.thresholds.pair

Importing this package, and `descriptor_info`, read no weights and import no network library, so a
DAG file may call it when it is parsed.
"""

import sys

from idedup_tasks.descriptors.card import DecisionLevels, DescriptorCard, DescriptorError
from idedup_tasks.descriptors.descriptor import Descriptor, load_descriptor
from idedup_tasks.descriptors.named import (
    DEFAULT_DESCRIPTOR,
    DescriptorInfo,
    descriptor_info,
    load_card,
    load_quantiser,
)

# On import, OpenVINO tells its maker's server that it is used, unless this package cannot be had.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

__all__ = [
    "DEFAULT_DESCRIPTOR",
    "DecisionLevels",
    "Descriptor",
    "DescriptorCard",
    "DescriptorError",
    "DescriptorInfo",
    "descriptor_info",
    "load_card",
    "load_descriptor",
    "load_quantiser",
]
