"""Kenar. The timed process is `peer_worker`, a Rust program that speaks the same protocol as `worker.py`."""

import subprocess

from . import Unavailable


class Runtime:
    NAME = "kenar"

    def label(self):
        return "Kenar"

    def prepare(self, job):
        import numpy
        from safetensors.numpy import save_file

        if job.made(".kenar").exists():
            return
        batch = job.made(".calibration.safetensors")
        save_file({"input": numpy.ascontiguousarray(job.samples)}, str(batch))
        command = [str(job.kenar / "kenar"), "convert", str(job.onnx), "--calib", str(batch), "-o", str(job.made(".kenar"))]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise Unavailable(done.stderr.strip()[-300:])

    def command(self, job, threads):
        """The process to time."""
        worker = job.kenar / "peer_worker"
        return [str(worker), str(job.made(".kenar")), str(job.calibration), str(threads), *([job.isa] if job.isa else [])]
