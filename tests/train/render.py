"""Render scenes into a folder: images.npy (uint8, mapped into memory), boxes.json, and how many there are so far.

Usage: python render.py OUT COUNT SEED [--over 2]
"""
import argparse
import json
from pathlib import Path

import cv2
import numpy as np

import scene


def jpeg(picture, quality):
    ok, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    assert ok
    return data


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("out", type=Path), ap.add_argument("count", type=int), ap.add_argument("seed", type=int)
    ap.add_argument("--over", type=int, default=2)
    args = ap.parse_args()
    cv2.setNumThreads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    rng, props = np.random.default_rng(args.seed), scene.Props(args.seed)
    images = np.lib.format.open_memmap(args.out / "images.npy", "w+", np.uint8, (args.count, scene.HEIGHT, scene.WIDTH, 3))
    with open(args.out / "boxes.jsonl", "w") as lines:
        for i in range(args.count):
            picture, boxes, labels = scene.render(props, rng, over=args.over)
            images[i] = cv2.imdecode(jpeg(picture, rng.uniform(70, 97)), cv2.IMREAD_COLOR)[..., ::-1]
            lines.write(json.dumps(dict(boxes=boxes.round(2).tolist(), labels=labels.tolist())) + "\n")
            if i % 50 == 49:
                lines.flush()


if __name__ == "__main__":
    main()
