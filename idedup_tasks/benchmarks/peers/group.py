"""Group a folder's images with another program: `python group.py imagededup-phash FOLDER FOUND`.

Run by a Python that has the program (requirements.txt beside this file), never by idedup's own, and
with the program's own thresholds. FOUND becomes JSON: `groups`, lists of file names, or `error`.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path


def by_fastdup(folder: Path) -> list[list[str]]:
    os.environ["SENTRY_OPT_OUT"] = "1"  # it would report to its makers
    import fastdup

    with tempfile.TemporaryDirectory(prefix="idedup-fastdup-") as work:
        # It writes paths relative to the working directory into its results.
        os.chdir(work)
        analysis = fastdup.create(work_dir=f"{work}/work", input_dir=str(folder))
        analysis.run()
        rows, _ = analysis.connected_components()
        groups: dict[str, list[str]] = {}
        for component, file in zip(rows["component_id"], rows["filename"], strict=True):
            groups.setdefault(str(component), []).append(Path(file).name)
        os.chdir(folder)
    return list(groups.values())


def by_imagededup(kind: str, folder: Path) -> list[list[str]]:
    from imagededup import methods

    names = {"ahash": "AHash", "dhash": "DHash", "phash": "PHash", "whash": "WHash", "cnn": "CNN"}
    method = getattr(methods, names[kind])(verbose=False)
    return joined(method.find_duplicates(image_dir=str(folder)).items())


def joined(pairs: Iterable[tuple[str, Iterable[str]]]) -> list[list[str]]:
    """The connected components of files and what each was found with."""
    group_of: dict[str, set[str]] = {}
    for file, others in pairs:
        group = group_of.setdefault(file, {file})
        for other in others:
            more = group_of.setdefault(other, {other})
            if more is not group:
                small, group = sorted((group, more), key=len)
                group |= small
                group_of.update(dict.fromkeys(small, group))
    distinct = {id(group): group for group in group_of.values() if len(group) > 1}
    return [sorted(group) for group in distinct.values()]


def main(name: str, folder: Path, found: Path) -> None:
    try:
        if name == "fastdup":
            answer: dict[str, object] = {"groups": by_fastdup(folder)}
        else:
            answer = {"groups": by_imagededup(name.removeprefix("imagededup-"), folder)}
    # Whatever goes wrong inside another program is the reason why it is not in the table.
    except Exception as error:
        answer = {"error": f"{type(error).__name__}: {error}"}
    found.write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
