#!/usr/bin/env python3
"""How many of a float detector's boxes come back from int8, as each runtime's own quantiser makes it.

    pip install -r benches/peers/requirements.txt
    cargo build --release -p kenar-convert
    python benches/peers/boxes.py yolox yolox_nano.onnx photos/ --conf 0.3 --iou 0.45
    python benches/peers/boxes.py scrfd scrfd_2.5g_kps.onnx photos/ --conf 0.5 --iou 0.4

The photos calibrate and are what boxes are looked for on. A box is back if the int8 network has one of its class that overlaps it
by 0.9 of their union. Every runtime is compared with the float network on the same pixels, its own letterbox; quantisers
are tried with several settings, because which is best depends on the network.
"""

import argparse
import contextlib
import itertools
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
from PIL import Image

KENAR = pathlib.Path(__file__).resolve().parents[2] / "target/release/kenar"
STRIDES = (8, 16, 32)
# Int8 boxes count down to this part of the score that float boxes have to pass.
SLACK = 0.6


def letterbox(path, size, level):
    """The image in the upper left corner of a square, RGB, 0 to 255, [size, size, 3]."""
    image = Image.open(path).convert("RGB")
    scale = min(size / image.width, size / image.height)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.BILINEAR)
    square = np.full((size, size, 3), level, np.float32)
    square[: image.height, : image.width] = np.asarray(image)
    return square


class Yolox:
    """Raw centre and size behind the grid, objectness and classes with their sigmoid; BGR pixels."""

    size = 416

    @staticmethod
    def pixels(path):
        return letterbox(path, Yolox.size, 114)[..., ::-1]

    @staticmethod
    def boxes(outputs):
        rows, at, corners = outputs[0][0], 0, []
        for stride in STRIDES:
            cells = Yolox.size // stride
            cell = np.arange(cells * cells)
            part = rows[at : at + cell.size]
            at += cell.size
            centre = (part[:, :2] + np.stack([cell % cells, cell // cells], 1)) * stride
            half = np.exp(part[:, 2:4]) * stride / 2
            corners.append(np.concatenate([centre - half, centre + half], 1))
        scores = rows[:, 5:] * rows[:, 4:5]
        return np.concatenate(corners), scores.max(1), scores.argmax(1)


class Scrfd:
    """Scores, distances to the sides in strides, landmarks, per stride; two boxes a cell."""

    size = 640

    @staticmethod
    def pixels(path):
        return (letterbox(path, Scrfd.size, 0) - 127.5) / 128

    @staticmethod
    def boxes(outputs):
        corners = []
        for stride, distances in zip(STRIDES, outputs[3:6]):
            cells = Scrfd.size // stride
            distances = distances.reshape(-1, 4) * stride
            cell = np.arange(len(distances)) // 2
            corner = np.stack([cell % cells, cell // cells], 1) * stride
            corners.append(np.concatenate([corner - distances[:, :2], corner + distances[:, 2:]], 1))
        scores = np.concatenate([o.reshape(-1) for o in outputs[:3]])
        return np.concatenate(corners), scores, np.zeros(scores.size, int)


HEADS = {"yolox": Yolox, "scrfd": Scrfd}


def overlap(box, others):
    """Intersection over union with each of `others`, [n, 4]."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    shared = np.clip(high - low, 0, None).prod(1)
    area = (others[:, 2:] - others[:, :2]).prod(1)
    return shared / ((box[2:] - box[:2]).prod() + area - shared)


def found(head, outputs, conf, iou):
    """Boxes above `conf` that suppression of overlaps leaves."""
    corners, scores, classes = head.boxes(outputs)
    order = np.flatnonzero(scores > conf)
    order = order[np.argsort(-scores[order], kind="stable")]
    kept = []
    while order.size:
        best, order = order[0], order[1:]
        kept.append(best)
        order = order[(classes[order] != classes[best]) | (overlap(corners[best], corners[order]) <= iou)]
    return corners[kept], scores[kept], classes[kept]


def compare(head, floats, ints, conf, iou):
    """Float boxes, how many are back at IoU 0.9 and at 0.5, and their mean IoU."""
    best = []
    for a, b in zip(floats, ints):
        others, _, other_classes = found(head, b, conf * SLACK, iou)
        corners, _, classes = found(head, a, conf, iou)
        for box, which in zip(corners, classes):
            same = others[other_classes == which]
            best.append(overlap(box, same).max() if len(same) else 0.0)
    best = np.array(best)
    return best.size, int((best >= 0.9).sum()), int((best >= 0.5).sum()), best.mean()


def onnxruntime_rows(source, inputs, folder):
    import onnx
    import onnxruntime as ort
    from onnx import version_converter
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    def run(path):
        session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return [session.run(None, {name: x}) for x in inputs]

    name = ort.InferenceSession(source, providers=["CPUExecutionProvider"]).get_inputs()[0].name

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.inputs = iter(inputs)

        def get_next(self):
            x = next(self.inputs, None)
            return None if x is None else {name: x}

    # Weights per channel need operator set 13.
    model = onnx.load(source)
    if model.opset_import[0].version < 13:
        model = version_converter.convert_version(model, 13)
    newer, prepared, quantised = (folder / f for f in ("newer.onnx", "prepared.onnx", "int8.onnx"))
    onnx.save(model, newer)
    quant_pre_process(str(newer), str(prepared), skip_symbolic_shape=True)
    yield "float", run(source)
    for method in CalibrationMethod.MinMax, CalibrationMethod.Entropy, CalibrationMethod.Percentile:
        for only in None, ["Conv"]:
            # It prints what it does.
            with contextlib.redirect_stdout(sys.stderr):
                quantize_static(
                    str(prepared),
                    str(quantised),
                    Reader(),
                    quant_format=QuantFormat.QDQ,
                    per_channel=True,
                    weight_type=QuantType.QInt8,
                    activation_type=QuantType.QUInt8,
                    calibrate_method=method,
                    op_types_to_quantize=only,
                )
            kind = "convolutions only" if only else "all operators"
            yield f"ONNX Runtime, {method.name.lower()}, {kind}", run(quantised)


def nncf_rows(source, inputs):
    import nncf
    import openvino as ov

    core = ov.Core()
    model = core.read_model(source)
    model.reshape({model.inputs[0]: list(inputs[0].shape)})
    for preset in nncf.QuantizationPreset.PERFORMANCE, nncf.QuantizationPreset.MIXED:
        with contextlib.redirect_stdout(sys.stderr):
            quantised = nncf.quantize(model.clone(), nncf.Dataset(inputs), preset=preset, subset_size=len(inputs))
        compiled = core.compile_model(quantised, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        results = [compiled([x]) for x in inputs]
        yield f"OpenVINO, NNCF {preset.value}", [[r[o] for o in compiled.outputs] for r in results]


def kenar_row(args, folder):
    model = folder / "model.kenar"
    quiet = {"check": True, "capture_output": True, "text": True}
    subprocess.run([KENAR, "convert", args.onnx, "--calib", args.photos, "-o", model], **quiet)
    command = [KENAR, "eval", model, "--float", args.onnx, "--data", args.photos, "--layer-images", "0", "--json"]
    command += ["--conf", str(args.conf * SLACK), "--paired-conf", str(args.conf)]
    command += ["--iou", str(args.iou), "--max-det", "1000"]
    paired = json.loads(subprocess.run(command, **quiet).stdout)["paired"]
    boxes = paired["float_boxes"]
    return boxes, round(boxes * paired["matched_90"]), round(boxes * paired["matched_50"]), paired["mean_iou"]


def show(name, row):
    boxes, close, near, mean = row
    print(f"{name:<46} {close:>3} of {boxes:<3} {near:>7} {mean:>9.3f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("head", choices=sorted(HEADS))
    parser.add_argument("onnx")
    parser.add_argument("photos", help="folder of .jpg and .png files")
    parser.add_argument("--conf", type=float, default=0.3, help="float boxes that score higher are looked for")
    parser.add_argument("--iou", type=float, default=0.45, help="boxes that overlap a better one by more are dropped")
    args = parser.parse_args()
    head = HEADS[args.head]
    files = sorted(p for p in pathlib.Path(args.photos).iterdir() if p.suffix in (".jpg", ".jpeg", ".png"))
    if not files:
        sys.exit(f"{args.photos}: no .jpg or .png file in it")
    inputs = [np.ascontiguousarray(head.pixels(f).transpose(2, 0, 1)[None], np.float32) for f in files]
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        print(f"{'':<46} at IoU 0.9  at 0.5  mean IoU")
        show("Kenar", kenar_row(args, folder))
        peers = itertools.chain(onnxruntime_rows(args.onnx, inputs, folder), nncf_rows(args.onnx, inputs))
        _, floats = next(peers)
        for name, outputs in peers:
            show(name, compare(head, floats, outputs, args.conf, args.iou))


if __name__ == "__main__":
    main()
