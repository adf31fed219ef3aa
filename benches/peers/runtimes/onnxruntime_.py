"""ONNX Runtime: static quantisation, QDQ, unsigned activations, signed weights per channel (its advice for x86)."""

from . import Unavailable


class Runtime:
    NAME = "onnxruntime"

    def label(self):
        import onnxruntime

        return f"ONNX Runtime {onnxruntime.__version__} (U8S8)"

    def prepare(self, job):
        from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process

        if job.made(".ort.onnx").exists():
            return
        name = job.input_name()

        class Reader(CalibrationDataReader):
            def __init__(self):
                self.rest = iter([{name: x[None]} for x in job.samples])

            def get_next(self):
                return next(self.rest, None)

        ready = job.made(".ort-ready.onnx")
        quant_pre_process(str(job.onnx), str(ready), skip_symbolic_shape=True)
        quantize_static(
            str(ready),
            str(job.made(".ort.onnx")),
            Reader(),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
        )

    def load(self, job, threads):
        import onnxruntime

        if job.isa:
            raise Unavailable("has no switch for the instruction set")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(
            str(job.made(".ort.onnx")), options, providers=["CPUExecutionProvider"]
        )
        name, x = session.get_inputs()[0].name, job.samples[:1]
        return lambda: session.run(None, {name: x})
