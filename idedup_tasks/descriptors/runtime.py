"""What runs a descriptor network: OpenVINO on a CPU, PyTorch on a GPU or as the reference.

Each takes square uint8 images (n, side, side, 3) one at a time or in batches of one fixed size, so
that an image's vector depends on no other image, on its place in a batch or on the number of
threads. The runtimes agree within cosine 0.999 (tests/unit/test_descriptors.py).
"""

import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from idedup_tasks.descriptors.card import DescriptorCard, DescriptorError, checked_file
from idedup_tasks.descriptors.network import DescriptorNetwork, load_network

Prepare = Callable[[object], np.ndarray]

BATCH = 64


def usable_cores() -> int:
    """Number of CPU cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class OpenVinoRuntime:
    """One image an inference, one thread an inference, as many at once as there are cores.

    Batches of one were within 10 % of the best batch size, and results cannot depend on
    neighbours or on the number of cores. Preparing an image runs on the same threads.
    """

    def __init__(self, card: DescriptorCard) -> None:
        import openvino

        network = load_card_network(card)
        side = card.input_size
        example = torch.zeros(1, 3, side, side, dtype=torch.uint8)
        with warnings.catch_warnings():
            # OpenVINO 2026 traces with torch.jit, which PyTorch 2.14 calls deprecated.
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            model = openvino.convert_model(network, example_input=example, input=example.shape)
        cores = usable_cores()
        self.dim = card.dim
        self._local = ThreadPoolExecutor(cores, thread_name_prefix="descriptor")
        self._model = openvino.Core().compile_model(
            model,
            "CPU",
            {
                "NUM_STREAMS": cores,
                "INFERENCE_NUM_THREADS": cores,
                "INFERENCE_PRECISION_HINT": "f32",
            },
        )

    def run(self, images: Sequence[object], prepare: Prepare) -> np.ndarray:
        """Vectors float32 (n, dim) of n images."""
        vectors = np.empty((len(images), self.dim), np.float32)
        workers = usable_cores()

        def work(first: int) -> None:
            request = self._model.create_infer_request()
            for row in range(first, len(images), workers):
                pixels = prepare(images[row]).transpose(2, 0, 1)[None]
                request.infer([np.ascontiguousarray(pixels)])
                vectors[row] = request.get_output_tensor().data[0]

        list(self._local.map(work, range(workers)))
        return vectors


class TorchRuntime:
    """PyTorch in batches of 64, the last one padded: float16 on CUDA, float32 on a CPU."""

    def __init__(self, card: DescriptorCard, device: str) -> None:
        if device == "cuda" and not torch.cuda.is_available():
            raise DescriptorError(
                f"descriptor {card.name!r} was asked to run on cuda, which PyTorch cannot use "
                'here; give device "cpu", whose model_id differs'
            )
        self.device = torch.device(device)
        self.dim = card.dim
        self.network = load_card_network(card).to(self.device)
        self.network.to(memory_format=torch.channels_last)
        self._pool = ThreadPoolExecutor(usable_cores(), thread_name_prefix="descriptor")

    @torch.inference_mode()
    def run(self, images: Sequence[object], prepare: Prepare) -> np.ndarray:
        """Vectors float32 (n, dim) of n images."""
        vectors = np.empty((len(images), self.dim), np.float32)
        for first in range(0, len(images), BATCH):
            pixels = list(self._pool.map(prepare, images[first : first + BATCH]))
            batch = np.zeros((BATCH, *pixels[0].shape), np.uint8)
            batch[: len(pixels)] = pixels
            # A permuted view of (n, side, side, 3) is channels-last memory already.
            tensor = torch.from_numpy(batch).to(self.device).permute(0, 3, 1, 2)
            with torch.autocast("cuda", torch.float16, enabled=self.device.type == "cuda"):
                output = self.network(tensor)
            vectors[first : first + len(pixels)] = output[: len(pixels)].float().cpu().numpy()
        return vectors


def load_card_network(card: DescriptorCard) -> DescriptorNetwork:
    """The PyTorch network of a card, its weights file checked against the recorded digest."""
    path = checked_file(card, card.weights, card.weights_sha256)
    return load_network(path, card.architecture, card.dim, card.gem_p)
