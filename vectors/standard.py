#!/usr/bin/env python3
"""Writes vectors/standard/OP-CASE.json: the losses every framework has, computed by PyTorch in float64.

Each op is written out once as its definition (standard/definitions.py). Where PyTorch or pytorch-metric-learning has
the loss, the library computes it too (standard/libraries.py), and its value and gradients must agree with the
definition to 1e-10 before a file is written. Gradients come from autograd. A case whose outputs would move by more than
half its tolerance when the inputs move by one rounding is refused, unless it is about exact ties or the clamp.

    pip install -r bench/peers/requirements.txt
    python vectors/standard.py            write every file (seeded: the same files each time)
    python vectors/standard.py --check    regenerate in memory, compare byte for byte, exit 1 on a difference
"""

import argparse
import json
import os
import sys
import zlib
from pathlib import Path

import numpy as np
import torch

FOLDER = Path(__file__).resolve().parent / "standard"
sys.path.insert(0, str(FOLDER))
sys.dont_write_bytecode = True
from cases import CASES  # noqa: E402
from libraries import OPS, TORCH  # noqa: E402

RTOL, ATOL, AGREE = 1e-9, 1e-12, 1e-10
torch.set_num_threads(1)  # tiny shapes; one thread so that sums are taken in one order
torch.set_default_dtype(torch.float64)


def evaluate(function, op, p, arrays):
    """Loss, row losses and gradients of every real input and learned scalar (not of targets and weights on them)."""
    x = {k: torch.tensor(v) for k, v in arrays.items()}
    x |= {k: torch.tensor(float(v(p))) for k, v in op.learned.items()}
    fixed = ("soft_targets", "class_weights", "pos_weight")
    leaves = {k: v.requires_grad_() for k, v in x.items() if v.is_floating_point() and k not in fixed}
    result = function(p, x)
    if result is None:
        return None
    loss, row = result if isinstance(result, tuple) else (result, None)
    grads = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    out = {"loss": loss.detach()} | ({"row_loss": row.detach()} if row is not None else {})
    for (name, leaf), g in zip(leaves.items(), grads):
        out["grad_" + name] = torch.zeros_like(leaf) if g is None else g
    return {k: v.numpy() for k, v in out.items()}


def worst(a, b, rtol, atol):
    """The largest error in units of the tolerance, over the outputs that both have."""
    return max(float((np.abs(a[k] - b[k]) / (atol + rtol * np.abs(b[k]))).max()) for k in a.keys() & b.keys())


def build(name, op, case, params, make):
    seed = [zlib.crc32(name.encode()), zlib.crc32(case.encode())]
    rng = np.random.default_rng(seed)
    arrays, p = make(rng), op.defaults | (params or {}) | {"op": name}
    outputs = evaluate(op.define, op, p, arrays)
    assert all(np.isfinite(v).all() for v in outputs.values()), f"{name}-{case}: not finite"

    peer = evaluate(op.peer, op, p, arrays)
    source = f"float64 {TORCH}: the definition in vectors/standard/definitions.py, gradients by autograd; "
    if peer is None:
        source += op.alone
    else:
        gap = worst(outputs, peer, AGREE, AGREE)
        assert gap <= 1, f"{name}-{case}: {op.peer_name} differs by {gap:.3g} of {AGREE}"
        source += f"value and gradients equal {op.peer_name} to {AGREE:g}"

    if not any(word in case for word in ("ties", "duplicates", "aligned")):
        nudged = {k: v * (1 + 2.0**-52 * rng.choice([-1, 1], v.shape)) if v.dtype == float else v
                  for k, v in arrays.items()}
        moved = worst(evaluate(op.define, op, p, nudged), outputs, RTOL, ATOL)
        assert moved <= 0.5, f"{name}-{case}: one rounding of the inputs moves the outputs by {moved:.3g} tolerances"

    stated = {} if params is None else {k: v for k, v in p.items() if k != "op"}
    # + 0 turns -0.0 into 0.0
    plain = lambda table: {k: {"shape": list(v.shape), "data": (v.reshape(-1) + 0).tolist()} for k, v in table.items()}
    return json.dumps({"op": name, "case": case, "params": stated, "inputs": plain(arrays), "outputs": plain(outputs),
                       "rtol": RTOL, "atol": ATOL, "provenance": source}) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="compare with the files instead of writing them")
    check = parser.parse_args().check
    texts = {f"{name}-{case[0]}.json": build(name, OPS[name], *case) for name, cases in CASES.items() for case in cases}
    on_disk = {f.name: f.read_text() for f in FOLDER.glob("*.json")}
    if check:
        different = sorted(k for k in texts.keys() | on_disk.keys() if texts.get(k) != on_disk.get(k))
        print(f"{len(texts) - len(different)} of {len(texts)} files are as generated", *different, sep="\n  ")
        raise SystemExit(bool(different))
    FOLDER.mkdir(exist_ok=True)
    for stale in on_disk.keys() - texts.keys():
        (FOLDER / stale).unlink()
    for file, text in texts.items():
        (FOLDER / file).write_text(text)
    print(f"wrote {len(texts)} cases of {len(CASES)} ops to {os.path.relpath(FOLDER)}")


if __name__ == "__main__":
    main()
