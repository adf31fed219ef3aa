"""ncnn. Its package runs int8 models but does not make them: `ncnn2table` and `ncnn2int8`, built from its sources, must be on the
path; without them it runs the float network in its own default precision, and the label says so."""

import shutil
import subprocess
import sys
import pathlib

from . import Unavailable


class Runtime:
    NAME = "ncnn"

    def __init__(self):
        self.int8 = bool(shutil.which("ncnn2table") and shutil.which("ncnn2int8"))

    def label(self):
        import ncnn

        return f"ncnn {ncnn.__version__} ({'int8' if self.int8 else 'float'})"

    def prepare(self, job):
        if job.made(".ncnn.param").exists():
            return self._quantize(job)
        tool = pathlib.Path(sys.executable).parent / "pnnx"
        if not tool.exists():
            raise Unavailable("pnnx is not installed")
        shape = "x".join(map(str, job.samples[:1].shape)).replace("x", ",")
        # pnnx leaves its intermediate files beside its source.
        source = job.made(".pnnx.onnx")
        shutil.copy(job.onnx, source)
        command = [str(tool), str(source), f"inputshape=[{shape}]", "fp16=0"]
        command += [f"ncnnparam={job.made('.ncnn.param')}", f"ncnnbin={job.made('.ncnn.bin')}"]
        done = subprocess.run(command, cwd=job.folder, capture_output=True, text=True)
        if done.returncode or not job.made(".ncnn.param").exists():
            raise Unavailable("pnnx: " + (done.stderr or done.stdout).strip()[-300:])
        self._quantize(job)

    def _quantize(self, job):
        if not self.int8 or job.made(".ncnn8.param").exists():
            return
        import numpy

        # The tool reads arrays when told `type=1`.
        listed = []
        for index, x in enumerate(job.samples):
            path = job.made(f".{index}.npy")
            numpy.save(path, numpy.ascontiguousarray(x))
            listed.append(str(path))
        job.made(".list").write_text("\n".join(listed) + "\n")
        _, c, h, w = job.samples.shape
        table = [str(job.made(s)) for s in (".ncnn.param", ".ncnn.bin", ".list", ".table")]
        subprocess.run(["ncnn2table", *table, f"shape=[{w},{h},{c}]", "method=aciq", "type=1"], check=True)
        files = [str(job.made(s)) for s in (".ncnn.param", ".ncnn.bin", ".ncnn8.param", ".ncnn8.bin", ".table")]
        subprocess.run(["ncnn2int8", *files], check=True)

    def load(self, job, threads):
        import ncnn
        import numpy

        if job.isa:
            raise Unavailable("has no switch for the instruction set")
        kind = ".ncnn8" if self.int8 else ".ncnn"
        net = ncnn.Net()
        net.opt.num_threads = threads
        net.opt.use_vulkan_compute = False
        net.load_param(str(job.made(kind + ".param")))
        net.load_model(str(job.made(kind + ".bin")))
        # The matrix borrows the array's memory until it is copied: the array needs a name.
        values = numpy.ascontiguousarray(job.samples[0])
        x = ncnn.Mat(values).clone()
        into, outputs = net.input_names()[0], net.output_names()

        def run():
            with net.create_extractor() as extractor:
                extractor.input(into, x)
                return [numpy.array(extractor.extract(name)[1]) for name in outputs]

        return run
