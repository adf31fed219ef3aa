"""mAP of the detector on rendered scenes, as pycocotools computes it.

Usage: python measure.py MODEL.safetensors HELD
"""
import contextlib
import io
import json
import sys
from pathlib import Path

import numpy as np
import torch

from network import Detector, boxes_of, flat
from plates import CLASSES

CONF, IOU, CANDIDATES, KEPT = 0.01, 0.6, 1000, 100


def suppress(boxes, scores):
    """Greedy: the places of the boxes that no better one overlaps by more than IOU."""
    order, keep = np.argsort(-scores, kind="stable"), []
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    while len(order):
        i, order = order[0], order[1:]
        keep.append(i)
        wh = (np.minimum(boxes[i, 2:], boxes[order, 2:]) - np.maximum(boxes[i, :2], boxes[order, :2])).clip(0)
        inter = wh.prod(1)
        order = order[inter / (area[i] + area[order] - inter + 1e-9) <= IOU]
    return np.array(keep, int)


def detections(boxes, scores):
    """(box, score, class) of one picture, best first."""
    cell, label = np.nonzero(scores > CONF)
    s = scores[cell, label]
    top = np.argsort(-s, kind="stable")[:CANDIDATES]
    b, s, label = boxes[cell[top]], s[top], label[top]
    keep = np.concatenate([np.nonzero(label == c)[0][suppress(b[label == c], s[label == c])] for c in range(len(CLASSES))])
    keep = keep[np.argsort(-s[keep], kind="stable")][:KEPT]
    return b[keep], s[keep], label[keep]


@torch.no_grad()
def predict(model, images):
    x = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float() / 255
    bins, logits, points, strides = flat(model(x))
    return boxes_of(bins, points, strides).numpy(), logits.sigmoid().numpy()


def coco(truth, width=320, height=192, names=None):
    """The ground truth in COCO form; category ids from 1."""
    xywh = lambda b: [round(float(v), 2) for v in (b[0], b[1], b[2] - b[0], b[3] - b[1])]
    images = [dict(id=i, file_name=names[i] if names else f"{i}.jpg", width=width, height=height) for i in range(len(truth))]
    notes = [(i, xywh(b), int(l)) for i, (boxes, labels) in enumerate(truth) for b, l in zip(boxes, labels)]
    return dict(images=images, categories=[dict(id=i + 1, name=c) for i, c in enumerate(CLASSES)],
                annotations=[dict(id=n + 1, image_id=i, category_id=l + 1, bbox=b, area=round(b[2] * b[3], 2), iscrowd=0)
                             for n, (i, b, l) in enumerate(notes)])


def score(model, images, truth, limit=None):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval
    model.eval()
    truth = truth[:limit]
    found = []
    for at in range(0, len(truth), 16):
        for j, (boxes, scores) in enumerate(zip(*predict(model, images[at:min(at + 16, len(truth))]))):
            for b, s, l in zip(*detections(boxes, scores)):
                found.append(dict(image_id=at + j, category_id=int(l) + 1, score=float(s), bbox=[float(v) for v in (*b[:2], *(b[2:] - b[:2]))]))
    if not found:
        return dict(map=0.0, map50=0.0)
    with contextlib.redirect_stdout(io.StringIO()):
        gt = COCO()
        gt.dataset = coco(truth)
        gt.createIndex()
        ev = COCOeval(gt, gt.loadRes(found), "bbox")
        ev.evaluate(), ev.accumulate(), ev.summarize()
    per = {c: round(float(ev.eval["precision"][0, :, i, 0, 2].mean()), 3) for i, c in enumerate(CLASSES)}
    return dict(map=round(float(ev.stats[0]), 4), map50=round(float(ev.stats[1]), 4), ap50=per)


def load_model(path):
    from safetensors.torch import load_file
    model = Detector(len(CLASSES))
    model.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in load_file(path).items()})
    return model.eval()


if __name__ == "__main__":
    from train import load
    print(json.dumps(score(load_model(sys.argv[1]), *load(Path(sys.argv[2])))))
