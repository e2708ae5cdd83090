"""One PyTorch contender in a process of its own, in the line protocol of `keener bench --serve`.

    python peer.py CONTENDER CASE --inputs DIR --threads 2

Loads DIR/queries.npy, candidates.npy (if any) and targets.npy, prints a `ready` line, then answers `step`, `write`
(gradients to DIR/out-CONTENDER) and `quit`. Inputs are leaves with requires_grad, and gradients are reset to None.
"""

import argparse
import ctypes
import gc
import json
import math
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

TEMPERATURE, SUPCON_TEMPERATURE, MARGIN, SCALE = 0.07, 0.1, 0.5, 64.0


def softmax_ce(x, w, y):
    return F.cross_entropy(x @ w.T, y)


def arcface(x, w, y):
    """Only the target entries go through acos: the cheapest way to say it in eager PyTorch."""
    cos = F.normalize(x) @ F.normalize(w).T
    target = cos.gather(1, y[:, None])
    theta = target.clamp(-1 + 1e-7, 1 - 1e-7).acos()
    shaped = torch.where(theta > math.pi - MARGIN, target - MARGIN * math.sin(MARGIN), (theta + MARGIN).cos())
    return F.cross_entropy(SCALE * cos.scatter(1, y[:, None], shaped), y)


def symmetric_info_nce(x, w, y):
    logits = F.normalize(x) @ F.normalize(w).T / TEMPERATURE
    return (F.cross_entropy(logits, y) + F.cross_entropy(logits.T, y)) / 2


def supervised_contrastive(x, _, y):
    z = F.normalize(x)
    itself = torch.eye(len(z), dtype=torch.bool)
    scores = (z @ z.T / SUPCON_TEMPERATURE).masked_fill(itself, -math.inf)
    positive = (y[:, None] == y[None]) & ~itself
    count = positive.sum(1)
    row = scores.logsumexp(1) - scores.masked_fill(~positive, 0.0).sum(1) / count.clamp(min=1)
    return row[count > 0].mean()


PLAIN = {f.__name__: f for f in (softmax_ce, arcface, symmetric_info_nce, supervised_contrastive)}


class Autograd:
    """Forward and backward of one loss over leaf tensors."""

    def __init__(self, contender, case, x, w, y):
        self.transposed = contender == "pml" and case == "arcface"
        if self.transposed:
            w = w.T.contiguous()
        self.y, self.leaves = y, [x.requires_grad_()] + ([w.requires_grad_()] if w is not None else [])
        if contender == "pml":
            self.loss = self.pml(case)
        else:
            plain = PLAIN[case]
            plain = torch.compile(plain, dynamic=False) if contender == "compiled" else plain
            self.loss = lambda: plain(x, w, y)

    def pml(self, case):
        from pytorch_metric_learning import losses

        x, y = self.leaves[0], self.y
        if case == "supervised_contrastive":
            loss = losses.SupConLoss(temperature=SUPCON_TEMPERATURE)
        else:
            w = self.leaves[1]
            loss = losses.ArcFaceLoss(1, 1, margin=math.degrees(MARGIN), scale=SCALE)
            loss.num_classes, loss.W = w.shape[1], torch.nn.Parameter(w.detach())
            self.leaves[1] = loss.W
        return lambda: loss(x, y)

    def step(self):
        for leaf in self.leaves:
            leaf.grad = None
        loss = self.loss()
        loss.backward()
        return loss.item()

    def gradients(self):
        grads = [leaf.grad.numpy() for leaf in self.leaves]
        return [g.T if self.transposed and i == 1 else g for i, g in enumerate(grads)]

    def buffers(self):
        return [torch.ones_like(leaf).zero_() for leaf in self.leaves]

    def release(self):
        for leaf in self.leaves:
            leaf.grad = None


class Products:
    """The three bare matrix products that any exact implementation with the scores stored has to do."""

    def __init__(self, x, w):
        self.x, self.w = x, x if w is None else w
        self.g = torch.full((len(self.x), len(self.w)), 1e-3)
        self.out = [torch.empty_like(t) for t in (self.g, self.x, self.w)]

    def step(self):
        torch.mm(self.x, self.w.T, out=self.out[0])
        torch.mm(self.g, self.w, out=self.out[1])
        torch.mm(self.g.T, self.x, out=self.out[2])
        return 0.0

    def buffers(self):
        return []

    def release(self):
        pass


def memory():
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {key: int(lines[name].split()[0]) * 1024 for key, name in (("rss_bytes", "VmRSS"), ("hwm_bytes", "VmHWM"))}


def say(**fields):
    print(json.dumps(fields), flush=True)


def make(contender, case, x, w, y):
    return Products(x, w) if contender == "products" else Autograd(contender, case, x, w, y)


def warm_up_small(contender, case, with_candidates):
    """Threads, code pages and tables of the libraries come up before memory is counted."""
    x, y = torch.randn(8, 16), torch.arange(8) // 2
    job = make(contender, case, x, torch.randn(8, 16) if with_candidates else None, y)
    job.step()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("contender", choices=["eager", "compiled", "pml", "products"])
    parser.add_argument("case", choices=PLAIN)
    parser.add_argument("--inputs", type=Path, required=True)
    parser.add_argument("--threads", type=int, required=True)
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    load = lambda name: torch.from_numpy(np.load(a.inputs / name))
    x, y = load("queries.npy"), load("targets.npy")
    w = load("candidates.npy") if (a.inputs / "candidates.npy").exists() else None

    if a.contender != "compiled":
        warm_up_small(a.contender, a.case, w is not None)
    job = make(a.contender, a.case, x, w, y)
    del w
    if a.contender == "compiled":  # a graph holds for one shape, so it is compiled on the real inputs
        say(compiling=True, **memory())
        try:
            job.step()
        except Exception as error:
            reason = str(error).strip().splitlines() or [""]
            say(failed=f"{type(error).__name__}: {reason[0]}")
            raise SystemExit(1)
        job.release()

    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    buffers = job.buffers()
    counted = memory()
    del buffers  # backward makes its own, which the count then already holds
    say(ready=True, **counted)
    for line in sys.stdin:
        command = line.strip()
        if command == "step":
            start = time.perf_counter()
            loss = job.step()
            seconds = time.perf_counter() - start
            say(seconds=seconds, loss=loss, schedule="torch", **memory())
        elif command == "write":
            out = a.inputs / f"out-{a.contender}"
            out.mkdir(exist_ok=True)
            for name, g in zip(("grad_queries", "grad_candidates"), job.gradients()):
                np.save(out / f"{name}.npy", g)
            say(written=True)
        elif command == "quit":
            return


if __name__ == "__main__":
    main()
