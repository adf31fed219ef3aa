"""A small detector: bottleneck stages (c3, c4, c5 at strides 8, 16, 32), a PAN neck, a DFL head. Input [N,3,192,320], values 0..1.

The head gives `levels.N` = distances to the four sides, 16 bins each, and class logits, at every cell of p3, p4, p5.
"""
import torch
import torch.nn as nn
import torch.nn.functional as F

STRIDES, BINS = (8, 16, 32), 16


class ConvBNAct(nn.Module):
    def __init__(self, cin, cout, k, stride=1):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(cin, cout, k, stride, k // 2, bias=False), nn.BatchNorm2d(cout)

    def forward(self, x):
        return F.silu(self.bn(self.conv(x)))


class Bottleneck(nn.Module):
    def __init__(self, cin, mid, stride):
        super().__init__()
        out = 4 * mid
        self.conv1, self.bn1 = nn.Conv2d(cin, mid, 1, bias=False), nn.BatchNorm2d(mid)
        self.conv2, self.bn2 = nn.Conv2d(mid, mid, 3, stride, 1, bias=False), nn.BatchNorm2d(mid)
        self.conv3, self.bn3 = nn.Conv2d(mid, out, 1, bias=False), nn.BatchNorm2d(out)
        self.proj = None if stride == 1 and cin == out else nn.Sequential(nn.Conv2d(cin, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + (x if self.proj is None else self.proj(x)))


class Backbone(nn.Module):
    def __init__(self, stem, mids, blocks):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, stem, 3, 2, 1, bias=False), nn.BatchNorm2d(stem), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
        cin = stem
        for i, (mid, n) in enumerate(zip(mids, blocks)):
            stage = [Bottleneck(cin if b == 0 else 4 * mid, mid, 2 if b == 0 and i else 1) for b in range(n)]
            setattr(self, f"stage{i + 1}", nn.Sequential(*stage))
            cin = 4 * mid

    def forward(self, x):
        c3 = self.stage2(self.stage1(self.stem(x)))
        c4 = self.stage3(c3)
        return c3, c4, self.stage4(c4)


class Fuse(nn.Module):
    def __init__(self, ch):
        super().__init__()
        self.reduce, self.conv = ConvBNAct(2 * ch, ch, 1), ConvBNAct(ch, ch, 3)

    def forward(self, *xs):
        return self.conv(self.reduce(torch.cat(xs, 1)))


class Neck(nn.Module):
    def __init__(self, cins, ch):
        super().__init__()
        self.lateral3, self.lateral4, self.lateral5 = (ConvBNAct(c, ch, 1) for c in cins)
        self.top_down4, self.top_down3 = Fuse(ch), Fuse(ch)
        self.down3, self.down4 = ConvBNAct(ch, ch, 3, 2), ConvBNAct(ch, ch, 3, 2)
        self.bottom_up4, self.bottom_up5 = Fuse(ch), Fuse(ch)

    def forward(self, c3, c4, c5):
        up = lambda t: F.interpolate(t, scale_factor=2, mode="nearest")
        t5 = self.lateral5(c5)
        t4 = self.top_down4(self.lateral4(c4), up(t5))
        p3 = self.top_down3(self.lateral3(c3), up(t4))
        p4 = self.bottom_up4(self.down3(p3), t4)
        return p3, p4, self.bottom_up5(self.down4(p4), t5)


class Level(nn.Module):
    def __init__(self, ch, hidden, classes):
        super().__init__()
        branch = lambda: nn.Sequential(ConvBNAct(ch, hidden, 3), ConvBNAct(hidden, hidden, 3))
        self.reg_branch, self.reg_pred = branch(), nn.Conv2d(hidden, 4 * BINS, 1)
        self.cls_branch, self.cls_pred = branch(), nn.Conv2d(hidden, classes, 1)
        nn.init.constant_(self.cls_pred.bias, -4.6)

    def forward(self, x):
        return self.reg_pred(self.reg_branch(x)), self.cls_pred(self.cls_branch(x))


class Head(nn.Module):
    def __init__(self, ch, hidden, classes):
        super().__init__()
        self.levels = nn.ModuleList(Level(ch, hidden, classes) for _ in STRIDES)

    def forward(self, maps):
        return [level(m) for level, m in zip(self.levels, maps)]


class Detector(nn.Module):
    def __init__(self, classes, stem=16, mids=(8, 16, 24, 32), blocks=(1, 2, 2, 1), ch=32, hidden=24):
        super().__init__()
        self.backbone = Backbone(stem, mids, blocks)
        self.neck = Neck([4 * m for m in mids[1:]], ch)
        self.head = Head(ch, hidden, classes)

    def forward(self, x):
        return self.head(self.neck(*self.backbone(x)))


def flat(raw):
    """All levels in a row: bins [N,A,4,16], class logits [N,A,classes], cell centres [A,2] and strides [A,1] in pixels."""
    row = lambda t: t.flatten(2).transpose(1, 2)
    points, strides = [], []
    for (reg, _), s in zip(raw, STRIDES):
        y, x = torch.meshgrid(torch.arange(reg.shape[2]), torch.arange(reg.shape[3]), indexing="ij")
        points.append((torch.stack([x, y], -1).reshape(-1, 2) + 0.5) * s)
        strides.append(torch.full((len(points[-1]), 1), float(s)))
    bins = torch.cat([row(r) for r, _ in raw], 1).unflatten(2, (4, BINS))
    return bins, torch.cat([row(c) for _, c in raw], 1), torch.cat(points), torch.cat(strides)


def boxes_of(bins, points, strides):
    """x1, y1, x2, y2 in pixels."""
    d = (bins.softmax(-1) @ torch.arange(BINS, dtype=bins.dtype)) * strides
    return torch.cat([points - d[..., :2], points + d[..., 2:]], -1)
