"""What runs a descriptor network: OpenVINO on a CPU; torch_runtime is the other.

Each takes square uint8 images (n, side, side, 3) one at a time or in batches of one fixed size, so
that an image's vector depends on no other image, on its place in a batch or on the number of
threads. The runtimes agree within cosine 0.999 (tests/unit/test_descriptors.py).
"""

import tempfile
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from idedup_tasks.cluster import usable_cores
from idedup_tasks.descriptors.card import DescriptorCard, checked_file
from idedup_tasks.settings import Places

Prepare = Callable[[object], np.ndarray]


# Images an inference: a fifth faster than one by one, and more gain little.
BATCH = 4


class OpenVinoRuntime:
    """Four images an inference, the last ones padded; one thread an inference, as many at once as
    there are cores.

    With threads and batches of one size, results cannot depend on neighbours or on the number of
    cores. Preparing an image runs on the same threads.
    """

    def __init__(self, card: DescriptorCard) -> None:
        import openvino

        cores = usable_cores()
        self.dim = card.dim
        self.side = card.input_size
        self._local = ThreadPoolExecutor(cores, thread_name_prefix="descriptor")
        self._model = openvino.Core().compile_model(
            _converted(card),
            "CPU",
            {
                "NUM_STREAMS": cores,
                "INFERENCE_NUM_THREADS": cores,
                "INFERENCE_PRECISION_HINT": "f32",
            },
        )
        # The first tensor read as an array sets up NumPy inside OpenVINO 2026.4's bindings; two
        # threads that do so at once wait for each other for ever (pybind11: GIL against once_flag).
        _ = openvino.Tensor(np.zeros(1, np.float32)).data

    def run(self, images: Sequence[object], prepare: Prepare) -> np.ndarray:
        """Vectors float32 (n, dim) of n images."""
        vectors = np.empty((len(images), self.dim), np.float32)
        workers = usable_cores()

        def work(first: int) -> None:
            request = self._model.create_infer_request()
            batch = np.zeros((BATCH, 3, self.side, self.side), np.uint8)
            for start in range(BATCH * first, len(images), BATCH * workers):
                part = images[start : start + BATCH]
                for row, image in enumerate(part):
                    batch[row] = prepare(image).transpose(2, 0, 1)
                request.infer([batch])
                vectors[start : start + len(part)] = request.get_output_tensor().data[: len(part)]

        list(self._local.map(work, range(workers)))
        return vectors


def _converted(card: DescriptorCard) -> Path:
    """OpenVINO's own form of the network, converted once and kept under IDEDUP_HOME.

    Importing PyTorch and converting takes seconds, which each task of each run would pay.
    """
    import openvino

    checked_file(card, card.weights, card.weights_sha256)
    folder = Places.from_environment().home / "cache"
    # Replaced when any of what decides its content is.
    version = openvino.__version__.split("-")[0]
    name = f"{card.model_id('cpu')}-openvino-{version}-{BATCH}"
    path = folder / f"{name}.xml"
    if path.exists():
        return path
    import torch

    from idedup_tasks.descriptors.torch_runtime import load_card_network

    network = load_card_network(card)
    side = card.input_size
    example = torch.zeros(BATCH, 3, side, side, dtype=torch.uint8)
    with warnings.catch_warnings():
        # OpenVINO 2026 traces with torch.jit, which PyTorch 2.14 calls deprecated.
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        # The sides that an image is scaled to are constants, as they are meant to be.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        model = openvino.convert_model(network, example_input=example, input=example.shape)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        openvino.save_model(model, Path(scratch) / path.name, compress_to_fp16=False)
        # The .xml last: where it is, both are whole.
        for written in (path.with_suffix(".bin"), path):
            (Path(scratch) / written.name).replace(written)
    return path
