#!/usr/bin/env python3
"""Times a training step of a dense softmax layer in PyTorch (forward, backward, SGD update of the class weights) against the number of
classes, for the picture and the table of `keener bench factored`.

    python bench/peers/factored.py --json torch.json
    keener bench factored --peer torch.json --plot steps.svg

Inputs are leaves with requires_grad as in a network; the optimiser's update is the in-place `w -= lr * grad`, which is what plain SGD does.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F

CLASSES = [1_000, 10_000, 30_000, 100_000, 300_000]


def step(x, w, y):
    x.grad = w.grad = None
    F.cross_entropy(x @ w.T, y).backward()
    with torch.no_grad():
        w.sub_(w.grad)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--classes", type=int, nargs="+", default=CLASSES)
    parser.add_argument("--json", type=Path, help="write there instead of to standard output")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    found = {}
    for n in options.classes:
        w = ((2 * torch.rand(n, options.dim) - 1) / options.dim**0.5).requires_grad_()
        seconds = []
        for k in range(2 + options.repeats):
            x = torch.randn(options.batch, options.dim, requires_grad=True)
            y = torch.randint(n, (options.batch,))
            start = time.perf_counter()
            step(x, w, y)
            seconds.append(time.perf_counter() - start)
        found[str(n)] = statistics.median(seconds[2:])
        print(f"{n} classes: {1e3 * found[str(n)]:.2f} ms", file=sys.stderr)
    text = json.dumps({"torch": torch.__version__, "threads": options.threads, "dim": options.dim, "batch": options.batch,
                       "seconds": found}, indent=1)
    if options.json:
        options.json.write_text(text + "\n")
    else:
        print(text)


if __name__ == "__main__":
    main()
