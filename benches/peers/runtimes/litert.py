"""LiteRT (TensorFlow Lite) with XNNPACK. Models are made by onnx2tf, which needs TensorFlow: give the Python of an environment
that has both in the variable ONNX2TF_PYTHON."""

import os
import pathlib
import subprocess

from . import Unavailable


class Runtime:
    NAME = "litert"

    def label(self):
        import importlib.metadata

        return f"LiteRT {importlib.metadata.version('ai-edge-litert')} (XNNPACK)"

    def _model(self, job):
        return job.made(".tf") / f"{job.onnx.stem}_full_integer_quant.tflite"

    def prepare(self, job):
        import numpy

        if self._model(job).exists():
            return
        python = os.environ.get("ONNX2TF_PYTHON")
        if not python:
            raise Unavailable("ONNX2TF_PYTHON names no Python with onnx2tf and tensorflow")
        samples = job.made(".nhwc.npy")
        numpy.save(samples, job.samples.transpose(0, 2, 3, 1))
        # The tool fetches photographs for a check that is not asked for, unless it finds the file: it need not be online.
        photographs = job.folder / "calibration_image_sample_data_20x128x128x3_float32.npy"
        numpy.save(photographs, numpy.random.default_rng(1).random((20, 128, 128, 3), dtype=numpy.float32))
        tool = pathlib.Path(python).parent / "onnx2tf"
        command = [str(tool), "-i", str(job.onnx), "-o", str(job.made(".tf")), "-oiqt", "-qt", "per-channel", "-n"]
        command += ["-cind", job.input_name(), str(samples), "[[[[0,0,0]]]]", "[[[[1,1,1]]]]"]
        done = subprocess.run(command, cwd=job.folder, capture_output=True, text=True)
        if done.returncode or not self._model(job).exists():
            raise Unavailable("onnx2tf: " + (done.stderr or done.stdout).strip()[-300:])

    def load(self, job, threads):
        import numpy
        from ai_edge_litert.interpreter import Interpreter

        if job.isa:
            raise Unavailable("has no switch for the instruction set")
        interpreter = Interpreter(model_path=str(self._model(job)), num_threads=threads)
        interpreter.allocate_tensors()
        (into,) = interpreter.get_input_details()
        outputs = interpreter.get_output_details()
        x = job.samples[:1].transpose(0, 2, 3, 1)
        scale, zero = into["quantization"]

        def run():
            q = x
            if into["dtype"] != numpy.float32:
                limits = numpy.iinfo(into["dtype"])
                q = numpy.clip(numpy.rint(x / scale + zero), limits.min, limits.max).astype(into["dtype"])
            interpreter.set_tensor(into["index"], q)
            interpreter.invoke()
            return [interpreter.get_tensor(o["index"]) for o in outputs]

        return run
