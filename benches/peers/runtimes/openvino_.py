"""OpenVINO: NNCF post-training quantisation, latency hint, one stream."""


class Runtime:
    NAME = "openvino"

    def label(self):
        import openvino

        return f"OpenVINO {openvino.__version__.split('-')[0]} (NNCF)"

    def prepare(self, job):
        import nncf
        import openvino

        if job.made(".ov.xml").exists():
            return
        model = openvino.convert_model(str(job.onnx))
        samples = job.samples
        model = nncf.quantize(
            model,
            nncf.Dataset([x[None] for x in samples]),
            subset_size=len(samples),
            target_device=nncf.TargetDevice.CPU,
        )
        openvino.save_model(model, str(job.made(".ov.xml")))

    def load(self, job, threads):
        import openvino

        core = openvino.Core()
        settings = {
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "INFERENCE_PRECISION_HINT": "f32",
        }
        request = core.compile_model(str(job.made(".ov.xml")), "CPU", settings).create_infer_request()
        request.set_input_tensor(openvino.Tensor(job.samples[:1].copy()))
        return request.infer
