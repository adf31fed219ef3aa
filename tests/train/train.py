"""Train the detector of `network.py` on scenes of `render.py`.

Usage: python train.py TRAIN HELD OUT [--epochs 24] [--minutes 40] [--start MODEL] [--seed 1]

TRAIN, HELD  folders that render.py wrote (it may still be writing TRAIN); OUT gets model.safetensors (float16) and log.jsonl.
The learning rate falls with the epochs or with the clock, whichever is further. One thread; torch, numpy, cv2, pycocotools, safetensors.
"""
import argparse
import copy
import json
import math
import time
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

import measure
from network import BINS, Detector, boxes_of, flat
from plates import CLASSES
from stickers import Stickers

WIDTH, HEIGHT = 192, 128  # parts of scenes are trained on: signs are the same size, and more of them are seen in the time


def load(folder):
    """The pictures and boxes there are now; the last lines may still be on their way."""
    images = np.load(folder / "images.npy", mmap_mode="r")
    lines = (folder / "boxes.jsonl").read_text().split("\n")[:-1]
    truth = [json.loads(line) for line in lines]
    return images, [(np.array(t["boxes"], np.float32).reshape(-1, 4), np.array(t["labels"], np.int64)) for t in truth]


def augment(image, boxes, labels, stickers, rng):
    """A part, scaled, stretched, leaning; more signs; colour, contrast, gamma; now and then noise."""
    s = math.exp(rng.uniform(math.log(0.75), math.log(1.55)))
    sx, sy, lean = s * math.exp(rng.normal(0, 0.06)), s * math.exp(rng.normal(0, 0.06)), rng.normal(0, 0.03)
    lin = np.array([[sx, lean], [-lean, sy]])
    h, w = image.shape[:2]
    shift = rng.random(2) * (np.array([WIDTH, HEIGHT]) - np.array([w * sx, h * sy])) + [-lean * h / 2, lean * w / 2]
    image = cv2.warpAffine(image, np.c_[lin, shift], (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=(114, 114, 114))
    if len(boxes):
        corners = np.stack([boxes[:, [a, b]] @ lin.T + shift for a in (0, 2) for b in (1, 3)])
        full = np.c_[corners.min(0), corners.max(0)]
        cut = full.clip(0, [WIDTH, HEIGHT] * 2)
        area = lambda t: (t[:, 2] - t[:, 0]) * (t[:, 3] - t[:, 1])
        keep = (area(cut) > 0.5 * area(full)) & ((cut[:, 2:] - cut[:, :2]).min(1) > 4)
        boxes, labels = cut[keep].astype(np.float32), labels[keep]
    boxes, labels = stickers.put(image, boxes, labels, rng, 12)
    v = np.linspace(0, 1, 256)[:, None] ** math.exp(rng.uniform(-0.35, 0.35))
    v = (v - 0.5) * np.exp(rng.uniform(-0.3, 0.3) + rng.normal(0, 0.05, 3)) + 0.5 + rng.uniform(-0.1, 0.1)
    image = cv2.LUT(image, np.ascontiguousarray((v * 255).round().clip(0, 255).astype(np.uint8)[:, None, :]))
    if rng.random() < 0.3:
        grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        image = cv2.addWeighted(image, t := rng.uniform(0.5, 1.3), grey, 1 - t, 0)
    if rng.random() < 0.15:
        image = cv2.add(image, rng.integers(0, 30, image.shape, np.uint8))
    return image, boxes, labels


def batches(images, truth, stickers, size, rng):
    order = rng.permutation(len(truth))
    for i in range(0, len(order) - size + 1, size):
        items = [augment(np.ascontiguousarray(images[j]), *truth[j], stickers, rng) for j in order[i:i + size]]
        most = max(1, max(len(b) for _, b, _ in items))
        boxes, labels = torch.zeros(size, most, 4), torch.full((size, most), -1)
        for j, (_, b, l) in enumerate(items):
            boxes[j, :len(b)], labels[j, :len(l)] = torch.from_numpy(b), torch.from_numpy(l)
        yield torch.from_numpy(np.stack([im for im, _, _ in items])), boxes, labels


def as_input(images):
    return (images.permute(0, 3, 1, 2).float() / 255).contiguous(memory_format=torch.channels_last)


def iou(a, b):
    wh = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0)
    area = lambda t: (t[..., 2:] - t[..., :2]).clamp(min=0).prod(-1)
    inter = wh.prod(-1)
    return inter / (area(a) + area(b) - inter + 1e-6)


def complete_iou(a, b):
    """IoU less the distance of the centres and the difference of the shapes."""
    value, wa, wb = iou(a, b), (a[..., 2:] - a[..., :2]).clamp(min=1e-3), b[..., 2:] - b[..., :2]
    hull = torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])
    apart = ((a[..., :2] + a[..., 2:] - b[..., :2] - b[..., 2:]) ** 2).sum(-1) / 4
    v = 4 / math.pi ** 2 * (torch.atan(wa[..., 0] / wa[..., 1]) - torch.atan(wb[..., 0] / wb[..., 1])) ** 2
    with torch.no_grad():
        share = v / (v - value + 1 + 1e-6)
    return value - apart / ((hull ** 2).sum(-1) + 1e-6) - share * v


@torch.no_grad()
def assign(scores, boxes, points, gt, labels, top=9):
    """Task-aligned: each sign takes the `top` cells inside it whose class score and overlap are best together."""
    inside = torch.cat([points - gt[..., None, :2], gt[..., None, 2:] - points], -1).amin(-1) > 0
    inside &= (labels >= 0).unsqueeze(-1)
    overlap = iou(gt.unsqueeze(2), boxes.unsqueeze(1)) * inside
    score = scores.transpose(1, 2).gather(1, labels.clamp(min=0).unsqueeze(-1).expand(-1, -1, scores.shape[1]))
    metric = score.sqrt() * overlap ** 6
    best = ((metric + 1e-12) * inside).topk(top, 2)
    chosen = torch.zeros_like(metric).scatter_(2, best.indices, (best.values > 0).float()) > 0
    first = torch.zeros_like(chosen).scatter_(1, overlap.argmax(1, keepdim=True), True)
    chosen = torch.where(chosen.sum(1, keepdim=True) > 1, chosen & first, chosen)
    metric, overlap = metric * chosen, overlap * chosen
    weight = metric / (metric.amax(2, keepdim=True) + 1e-12) * overlap.amax(2, keepdim=True)
    return chosen.any(1), chosen.float().argmax(1), weight.amax(1)


def loss_of(raw, gt, labels):
    bins, logits, points, strides = flat(raw)
    with torch.no_grad():
        p = logits.sigmoid()
        found, owner, weight = assign(p, boxes_of(bins, points, strides), points, gt, labels)
    norm = weight.sum().clamp(min=1)
    # classes: the target is how well the cell's box fits; easy background counts little
    one = F.one_hot(labels.gather(1, owner).clamp(min=0), len(CLASSES)).float() * (found * weight).unsqueeze(-1)
    focus = torch.where(one > 0, one, 0.75 * p ** 2)
    cls = (F.binary_cross_entropy_with_logits(logits, one, reduction="none") * focus).sum()
    target, w, mine = gt.gather(1, owner.unsqueeze(-1).expand(-1, -1, 4))[found], weight[found], bins[found]
    at, st = points.expand(len(gt), -1, 2)[found], strides.expand(len(gt), -1, 1)[found]
    box = ((1 - complete_iou(boxes_of(mine, at, st), target)) * w).sum()
    side = (torch.cat([at - target[:, :2], target[:, 2:] - at], 1) / st).clamp(0, BINS - 1.01)
    low, logp = side.floor(), mine.log_softmax(-1)
    pick = lambda i: -logp.gather(-1, i.long().unsqueeze(-1)).squeeze(-1)
    dfl = ((pick(low) * (low + 1 - side) + pick(low + 1) * (side - low)).mean(1) * w).sum()
    return (1.5 * cls + 4 * box + 0.8 * dfl) / norm


def save(model, path):
    state = {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    save_file({k: v.contiguous() for k, v in state.items()}, path)


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("train", type=Path), ap.add_argument("held", type=Path), ap.add_argument("out", type=Path)
    ap.add_argument("--epochs", type=int, default=24), ap.add_argument("--minutes", type=float, default=40)
    ap.add_argument("--batch", type=int, default=32), ap.add_argument("--rate", type=float, default=4e-3)
    ap.add_argument("--start", type=Path, help="weights to go on from")
    ap.add_argument("--seed", type=int, default=1)
    args = ap.parse_args()
    torch.set_num_threads(1), cv2.setNumThreads(1), torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    stickers = Stickers(rng)
    args.out.mkdir(parents=True, exist_ok=True)
    model = (measure.load_model(args.start) if args.start else Detector(len(CLASSES))).to(memory_format=torch.channels_last)
    mean = copy.deepcopy(model).eval()  # the running mean of the weights is what is kept
    matrices = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim <= 1]
    opt = torch.optim.AdamW([dict(params=matrices, weight_decay=0.02), dict(params=rest, weight_decay=0)], lr=args.rate, fused=True)
    kept, current = ([t for t in m.state_dict().values() if t.is_floating_point()] for m in (mean, model))
    start, step, seen, epoch, done = time.time(), 0, 0.0, 0, 0.0
    while done < 1:
        images, truth = load(args.train)
        model.train()
        total, first, checked = 0.0, step, time.time()
        for x, gt, labels in batches(images, truth, stickers, args.batch, rng):
            done = max((seen + (step - first) * args.batch / len(truth)) / args.epochs, (time.time() - start) / 60 / args.minutes)
            for group in opt.param_groups:
                group["lr"] = args.rate * min(1, (step + 1) / 150) * (0.01 + 0.99 * (1 + math.cos(math.pi * min(done, 1))) / 2)
            with torch.autocast("cpu", torch.bfloat16):
                raw = model(as_input(x))
            loss = loss_of([(r.float(), c.float()) for r, c in raw], gt, labels)
            opt.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
            opt.step()
            step, total = step + 1, total + loss.item()
            keep = 0.998 * (1 - math.exp(-step / 300))
            with torch.no_grad():
                torch._foreach_lerp_(kept, current, 1 - keep)
            if done >= 1:
                break
        epoch += 1
        seen += (step - first) * args.batch / len(truth)
        line = dict(epoch=epoch, scenes=len(truth), seen=round(seen, 2), done=round(done, 3), loss=round(total / max(1, step - first), 4),
                    seconds=round(time.time() - start))
        save(mean, args.out / "model.safetensors")
        if epoch % 4 == 0 or done >= 1:
            line |= measure.score(mean, *load(args.held), limit=None if done >= 1 else 100)
        with open(args.out / "log.jsonl", "a") as log:
            log.write(json.dumps(line) + "\n")
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
