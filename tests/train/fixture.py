"""Write the pictures that `kenar demo` carries: five to look at, with their boxes, and some to calibrate on.

Usage: python fixture.py OUT

OUT/NAME.jpg      640x384, one each of five kinds of light
OUT/boxes.json    where the signs are in them, as COCO has it
OUT/calib/*.jpg   12 scenes of 320x192, drawn like those trained on
OUT/labels.txt    class names, one a line
"""
import json
import sys
from pathlib import Path

import cv2
import numpy as np

import measure
import plates
import scene
from render import jpeg

PICTURES = [  # name, seed, light, place; chosen for their variety, before the network had seen them
    ("city", 7012, "clear", "city"), ("evening", 7007, "golden", "suburb"), ("country", 7014, "overcast", "country"),
    ("night", 7021, "night", "city"), ("fog", 7017, "fog", "city")]
CALIBRATION = 12


def main(out):
    cv2.setNumThreads(1)
    (out / "calib").mkdir(parents=True, exist_ok=True)
    props, truth = scene.Props(2024), []
    for name, seed, mood, place in PICTURES:
        picture, boxes, labels = scene.render(props, np.random.default_rng(seed), k=2, rough=0.0, mood=mood, place=place,
                                              count=6, sizes=(13, 58))
        (out / f"{name}.jpg").write_bytes(jpeg(picture, 82).tobytes())
        truth.append((boxes, labels))
    gt = measure.coco(truth, 2 * scene.WIDTH, 2 * scene.HEIGHT, [f"{p[0]}.jpg" for p in PICTURES])
    (out / "boxes.json").write_text(json.dumps(gt, separators=(",", ":")) + "\n")
    rng = np.random.default_rng(4)
    for i in range(CALIBRATION):
        (out / "calib" / f"{i:02}.jpg").write_bytes(jpeg(scene.render(props, rng)[0], 70).tobytes())
    (out / "labels.txt").write_text("\n".join(plates.CLASSES) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
