"""One file per runtime. Each defines a class with

- `NAME`, and `label()`, which says what was run (name, version, precision);
- `prepare(job)`: makes the int8 model in `job.folder` from `job.onnx` with `job.samples`, or raises `Unavailable`;
- `load(job, threads)`: a function of no argument that runs one inference, from float input to float output.

`prepare` runs once, in a process of its own; `load` in the process that is timed.
"""

import dataclasses
import importlib
import pathlib

NAMES = ["kenar", "onnxruntime_", "openvino_", "litert", "ncnn_"]


class Unavailable(Exception):
    """This runtime cannot take part; the text says why."""


@dataclasses.dataclass
class Job:
    """What every runtime starts from."""

    onnx: pathlib.Path
    folder: pathlib.Path
    """Where a runtime keeps the files it makes."""
    calibration: pathlib.Path
    """`.npy`, float32 [N, C, H, W]: a few inputs. The first one is timed."""
    kenar: pathlib.Path
    """Folder of the release binaries `kenar` and `peer_worker`."""
    isa: str | None = None
    """Instruction set that every runtime is held to: None (all the machine has) or a name of `ONEDNN`."""

    @property
    def samples(self):
        import numpy

        return numpy.load(self.calibration)

    def made(self, suffix):
        return self.folder / (self.onnx.stem + suffix)

    def input_name(self):
        import onnx

        graph = onnx.load(str(self.onnx), load_external_data=False).graph
        weights = {w.name for w in graph.initializer}
        return next(i.name for i in graph.input if i.name not in weights)


ONEDNN = {"avx2": "AVX2", "avxvnni": "AVX2_VNNI"}
"""Kenar's instruction sets by the names that oneDNN, the kernel library of OpenVINO, has for them."""


def environment(isa):
    """Environment variables that hold a runtime's kernel library to an instruction set."""
    return {name: ONEDNN[isa] for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")} if isa else {}


def get(name):
    """The module's `Runtime` by its short name."""
    module = name if name in NAMES else name + "_"
    if module not in NAMES:
        raise Unavailable(f"no runtime {name!r}; there are {', '.join(n.rstrip('_') for n in NAMES)}")
    return importlib.import_module(f"runtimes.{module}").Runtime()
