"""One PyTorch contender in a process of its own, in the line protocol of `keener bench --serve`.

    python peer.py CONTENDER CASE --inputs DIR --threads 2

Loads DIR/queries.npy, candidates.npy and second.npy (if any) and targets.npy, prints a `ready` line, then answers `step`, `write`
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
LAMBDA, ALPHA, LDR_MARGIN = 10.0, 2.0, 0.1


def softmax_ce(x, w, y):
    return F.cross_entropy(x @ w.T, y)


def stablemax(x, w, y):
    s = x @ w.T
    return F.cross_entropy(s.sign() * s.abs().log1p(), y)


def z_loss(x, w, y, b=4.0):
    s = x @ w.T
    z = (s.gather(1, y[:, None])[:, 0] - s.mean(1)) / (s.std(1, correction=0) + 1e-12)
    return F.softplus(b - z).mean()


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


def comp_sum(x, w, y):
    """tau = 1.7: the generalised cross-entropy with q = 0.7."""
    ce = F.cross_entropy(x @ w.T, y, reduction="none")
    return (torch.expm1((1 - 1.7) * ce) / (1 - 1.7)).mean()


def smooth_adv_comp_sum(x, w, y, second):
    """tau = 0.4, rho = 1, nu = 1, as the defaults are."""
    s, attacked = x @ w.T, second @ w.T
    clean = torch.expm1((1 - 0.4) * F.cross_entropy(s, y, reduction="none")) / (1 - 0.4)
    moved = attacked - s
    return (clean + (moved - moved.gather(1, y[:, None])).norm(dim=1)).mean()


def margins(x, w, y):
    """Softplus scores over their mean, relative to the target's, with the margin."""
    f = F.softplus(x @ w.T)
    f = f / f.mean(1, keepdim=True)
    a = f - f.gather(1, y[:, None]) + LDR_MARGIN
    return a.scatter(1, y[:, None], 0.0)


def ldr_kl(x, w, y):
    a = margins(x, w, y)
    return (LAMBDA * (torch.logsumexp(a / LAMBDA, 1) - math.log(a.shape[1]))).mean()


def aldr_kl(x, w, y):
    """The first visit: every temperature starts at LAMBDA and takes one step, without gradient."""
    a = margins(x, w, y)
    log_k = math.log(a.shape[1])
    with torch.no_grad():
        log_p = F.log_softmax(a / LAMBDA, 1)
        kl = (log_p.exp() * (log_p + log_k)).sum(1)
        temperature = LAMBDA - LAMBDA * kl / (ALPHA * log_k)
        penalty = ALPHA * log_k / (2 * LAMBDA) * (temperature - LAMBDA) ** 2
    return (temperature * (torch.logsumexp(a / temperature[:, None], 1) - log_k) - penalty).mean()


def any_loss_f1(x, w, y, amplify=33.0):
    """F1 of soft counts (AnyLoss); the complements computed directly, as the gradient needs them."""
    s = x @ w.T
    u = amplify * (torch.sigmoid(s[:, 1] - s[:, 0]) - 0.5)
    soft, positive = torch.sigmoid(u), y.to(x.dtype)
    return 1 - 2 * (positive * soft).sum() / (positive.sum() + soft.sum())


def aggregate(x, w, bags, loss, to_prediction, rho=0.1):
    """(1 - rho) of the bags' mean predictions against their responses, rho of every prediction."""
    bag, responses = bags
    scores = x @ w.T
    f = to_prediction(scores)
    size = torch.bincount(bag, minlength=len(responses))[:, None]
    mean = torch.zeros_like(responses).index_add(0, bag, f) / size
    return (1 - rho) * (size * loss(mean, responses)).mean(1).sum() / len(x) + rho * loss(f, responses[bag]).mean()


def aggregate_squared(x, w, bags):
    return aggregate(x, w, bags, lambda u, v: (u - v) ** 2, lambda s: s)


def aggregate_bce(x, w, bags):
    return aggregate(x, w, bags, lambda p, v: F.binary_cross_entropy(p, v, reduction="none"), torch.sigmoid)


BAGS = ("aggregate_squared", "aggregate_bce")
PLAIN = {f.__name__: f for f in (softmax_ce, stablemax, z_loss, arcface, symmetric_info_nce, supervised_contrastive, comp_sum,
                                 smooth_adv_comp_sum, ldr_kl, aldr_kl, any_loss_f1, aggregate_squared, aggregate_bce)}


class Autograd:
    """Forward and backward of one loss over leaf tensors."""

    def __init__(self, contender, case, x, w, y, second=None):
        self.transposed = contender == "pml" and case == "arcface"
        if self.transposed:
            w = w.T.contiguous()
        self.y, self.leaves = y, [x.requires_grad_()] + ([w.requires_grad_()] if w is not None else [])
        if contender == "pml":
            self.loss = self.pml(case)
        else:
            plain = PLAIN[case]
            plain = torch.compile(plain, dynamic=False) if contender == "compiled" else plain
            versions = [] if second is None else [second]
            self.leaves += [version.requires_grad_() for version in versions]
            self.loss = lambda: plain(x, w, y, *versions)

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
    """The three bare matrix products, of each version of the queries, that any exact implementation with the scores stored
    has to do."""

    def __init__(self, x, w, second=None):
        self.versions, self.w = [x] if second is None else [x, second], x if w is None else w
        self.g = torch.full((len(x), len(self.w)), 1e-3)
        self.out = [torch.empty_like(t) for t in (self.g, x, self.w)]

    def step(self):
        for x in self.versions:
            torch.mm(x, self.w.T, out=self.out[0])
            torch.mm(self.g, self.w, out=self.out[1])
            torch.mm(self.g.T, x, out=self.out[2])
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


def make(contender, case, x, w, y, second):
    return Products(x, w, second) if contender == "products" else Autograd(contender, case, x, w, y, second)


def warm_up_small(contender, case, with_candidates, with_second):
    """Threads, code pages and tables of the libraries come up before memory is counted."""
    x, y = torch.randn(8, 16), torch.arange(8) // 2
    y = (y, torch.rand(4, 8)) if case in BAGS else y
    other = lambda wanted: torch.randn(8, 16) if wanted else None
    make(contender, case, x, other(with_candidates), y, other(with_second)).step()


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
    if a.case in BAGS:
        y = load("bags.npy"), load("responses.npy")
    w, second = (load(name) if (a.inputs / name).exists() else None for name in ("candidates.npy", "second.npy"))

    if a.contender != "compiled":
        warm_up_small(a.contender, a.case, w is not None, second is not None)
    job = make(a.contender, a.case, x, w, y, second)
    del w, second
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
            for name, g in zip(("grad_queries", "grad_candidates", "grad_second"), job.gradients()):
                np.save(out / f"{name}.npy", g)
            say(written=True)
        elif command == "quit":
            return


if __name__ == "__main__":
    main()
