"""What runs a descriptor network: OpenVINO on a CPU; torch_runtime is the other.

Each takes square uint8 images (n, side, side, 3) one at a time or in batches of one fixed size, so
that an image's vector depends on no other image, on its place in a batch or on the number of
threads. The runtimes agree within cosine 0.999 (tests/unit/test_descriptors.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from idedup_tasks.compute import usable_cores
from idedup_tasks.descriptors.card import (
    WINDOW_SIDE,
    DescriptorCard,
    DescriptorError,
    checked_file,
)

if TYPE_CHECKING:
    import openvino

# An image as a network's inputs take it: (1, side, side, 3) uint8 of the whole; where there are
# such, (inner, WINDOW_SIDE, WINDOW_SIDE, 3) of pictures in it, black for what is none; and where it
# is seen thoroughly (regions², WINDOW_SIDE, WINDOW_SIDE, 3) of its windows.
Prepare = Callable[[object], Sequence[np.ndarray]]

# What tensors of a converted network are called: the features at the full scale, and what the head
# is given, pooled, of all images: all that belongs to one in a row.
FEATURES, POOLED = "features", "pooled"


@cache
def core() -> openvino.Core:
    """OpenVINO, once for the process.

    OpenVINO 2026.4 gives the thread a signal stack with each one, and puts the stack before it back
    when it goes: of two that overlap, the second puts back what the first has unmapped, and the
    next signal handler (that of Ctrl-C, or PyTorch's of a process that ended) ends this process.
    """
    import openvino

    return openvino.Core()


class OpenVinoRuntime:
    """A fixed number of images an inference, the last ones padded; one thread an inference, as
    many at once as there are cores.

    With threads and batches of one size, results cannot depend on neighbours or on the number of
    cores. Preparing an image runs on the same threads.
    """

    def __init__(self, card: DescriptorCard, thorough: bool = False) -> None:
        import openvino

        cores = usable_cores()
        self.dim, self.parts, self.inner = card.dim, card.parts, card.inner
        self._local = ThreadPoolExecutor(cores, thread_name_prefix="descriptor")
        network = with_windows(card) if thorough else converted_network(card)
        self._size = network.inputs[0].shape[0]
        self._shapes = [tuple(given.shape) for given in network.inputs]
        self._model = core().compile_model(
            network,
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
        """Vectors float32 (n, 1 + parts, dim): of n images, then of the parts of each."""
        vectors = np.empty((len(images), 1 + self.parts, self.dim), np.float32)
        workers, size = usable_cores(), self._size

        def work(first: int) -> None:
            request = self._model.create_infer_request()
            batches = [np.zeros(shape, np.uint8) for shape in self._shapes]
            # Of each input, the rows of one image after the other.
            rows = [batch.reshape(size, -1, *batch.shape[1:]) for batch in batches]
            for start in range(size * first, len(images), size * workers):
                part = images[start : start + size]
                prepared = [prepare(image) for image in part]
                for row, pictures in enumerate(prepared):
                    for batch, pixels in zip(rows, pictures, strict=True):
                        batch[row] = pixels.transpose(0, 3, 1, 2)
                request.infer(batches)
                here = vectors[start : start + len(part)]
                here[:] = request.get_output_tensor().data[: len(part)]
                if self.inner:
                    without_blank(here, [pictures[1] for pictures in prepared])

        list(self._local.map(work, range(workers)))
        return vectors


def without_blank(vectors: np.ndarray, inner: Sequence[np.ndarray]) -> None:
    """Give inner pictures that are none a vector of zeros, which resembles nothing.

    Args:
        vectors: (n, 1 + parts, dim); those of inner pictures are an image's last.
        inner: of each image, (inner, side, side, 3).
    """
    for own, pictures in zip(vectors, inner, strict=True):
        own[len(own) - len(pictures) :][~pictures.any(axis=(1, 2, 3))] = 0


class FeatureMaps:
    """A converted network up to its features, for images of any side, on the CPU in float32."""

    def __init__(self, card: DescriptorCard) -> None:
        import openvino

        network = converted_network(card)
        features = _tensor(network, FEATURES)
        pixels = network.get_parameters()[0]
        pixels.set_element_type(openvino.Type.f32)
        pixels.set_partial_shape(openvino.PartialShape([1, 3, -1, -1]))
        self._model = core().compile_model(
            openvino.Model([features], [pixels], card.name),
            "CPU",
            {"INFERENCE_PRECISION_HINT": "f32"},
        )

    def of(self, pixels: np.ndarray) -> np.ndarray:
        """Features float32 (channels, rows, columns) of RGB pixels (height, width, 3), 0 to 255."""
        [features] = self._model([pixels.transpose(2, 0, 1)[None].astype(np.float32)]).values()
        return np.array(features[0])


def with_windows(card: DescriptorCard) -> openvino.Model:
    """A converted network whose regions are seen one by one, in a last input.

    That is windows uint8 (n regions², 3, WINDOW_SIDE, WINDOW_SIDE), row by row, of each image.
    """
    import openvino
    from openvino import opset10 as ops

    network, second = converted_network(card), converted_network(card)
    given, windows = network.get_parameters(), second.get_parameters()[0]
    count, each = given[0].shape[0], card.regions**2
    features = _tensor(second, FEATURES)
    # What else the second has is bound to the whole image's side.
    alone = openvino.Model([features], [windows], card.name)
    alone.reshape([count * each, 3, WINDOW_SIDE, WINDOW_SIDE])

    def number(value: float) -> openvino.Node:
        return ops.constant(np.float32(value))

    # As `DescriptorNetwork.generalised_mean`.
    raised = ops.power(ops.maximum(features, number(1e-6)), number(card.gem_p))
    means = ops.reduce_mean(raised, ops.constant([2, 3]), keep_dims=False)
    seen = ops.power(means, number(1 / card.gem_p))

    pooled = _tensor(network, POOLED)
    heads = pooled.get_target_inputs()
    by_image = ops.constant([count, -1, pooled.get_shape()[-1]])
    wholes, parts = (ops.reshape(rows, by_image, special_zero=False) for rows in (pooled, seen))
    whole = ops.gather(wholes, ops.constant([0]), ops.constant(1))
    inner = [ops.constant([1 + each + i]) for i in range(card.inner)]
    rest = [ops.gather(wholes, at, ops.constant(1)) for at in inner]
    same_shape = ops.constant(list(pooled.get_shape()))
    together = ops.reshape(ops.concat([whole, parts, *rest], 1), same_shape, special_zero=False)
    for head in heads:
        head.replace_source_output(together.output(0))
    return openvino.Model(network.get_results(), [*given, windows], card.name)


def _tensor(network: openvino.Model, name: str) -> openvino.Output:
    outputs = (output for node in network.get_ops() for output in node.outputs())
    return next(output for output in outputs if name in output.get_tensor().names)


def converted_network(card: DescriptorCard) -> openvino.Model:
    """The network as it was converted when the descriptor was made, its files checked.

    Raises DescriptorError where there is none, or OpenVINO cannot read it.
    """
    import openvino

    if not card.converted:
        raise DescriptorError(
            f"descriptor {card.name!r} in {card.folder} has no converted network, which `idedup "
            "train` writes beside the weights once they are calibrated: train it to the end"
        )
    files = [checked_file(card, file, sha256) for file, sha256 in card.converted.items()]
    try:
        return core().read_model(*files)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise DescriptorError(
            f"{files[0]} cannot be read by OpenVINO {openvino.__version__} ({reason}); install "
            "2025.0 or later, or train the descriptor with the version that is here"
        ) from error
