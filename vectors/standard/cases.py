"""The cases: op -> (name, parameters, inputs).

Parameters None leaves the defaults unsaid; inputs are built from a generator seeded by the names of op and case.
"""

import math

import numpy as np


def ints(*values):
    return np.array(values, dtype=np.int64)


def scored(b=4, n=5, scale=2.0, **more):
    return lambda r: {"scores": scale * r.normal(size=(b, n)), "targets": r.integers(0, n, b), **more}


def extreme_scores(r):
    s = r.normal(size=(4, 5))
    s[0], s[1] = [1e4, -1e4, 3.0, -2.0, 0.5], [-1e4, 1e4, 1e4 - 1.0, 9990.0, -1e4]
    s[2] *= 1e3
    return {"scores": s, "targets": ints(0, 0, 3, 2)}


def tied_scores(r):
    s = r.normal(size=(4, 5))
    s[0], s[1], s[2] = 0.0, -1e4, s[3]
    return {"scores": s, "targets": ints(2, 0, 1, 1)}


def marked(make, b=4, n=5, **more):
    """The scores of `make` with 0/1 positives instead of targets."""
    return lambda r: {"scores": make(r)["scores"], "positives": r.integers(0, 2, (b, n)), **more}


def soft(b=4, n=5, **more):
    def build(r):
        t = r.random((b, n)) ** 3
        return {"scores": 2 * r.normal(size=(b, n)), "soft_targets": t / t.sum(1, keepdims=True), **more}
    return build


def headed(b=5, d=4, n=6, bias=False, norms=(1.0, 1.0), targets=None, duplicates=False, opposed=False):
    def build(r):
        x, w = norms[0] * r.normal(size=(b, d)), norms[1] * r.normal(size=(n, d))
        t = r.integers(0, n, b) if targets is None else ints(*targets)
        if duplicates:
            x[2], w[1], t[2] = x[0], w[0], t[0]
        if opposed:  # the first two rows point almost away from their own weight row
            x[:2] = -1.7 * w[t[:2]] + 0.1 * r.normal(size=(2, d))
        return {"embeddings": x, "weights": w, **({"bias": r.normal(size=n)} if bias else {}), "targets": t}
    return build


def aligned(r):
    """Row 0 lies exactly on its own weight row: cosine 1 without rounding."""
    w = np.eye(4)[[0, 1, 2, 3, 0]] * [[2.0], [1.0], [4.0], [0.5], [-1.0]]
    return {"embeddings": np.vstack([4 * np.eye(4)[:1], r.normal(size=(2, 4))]), "weights": w, "targets": ints(0, 3, 2)}


def paired(b=5, n=None, d=4, names=("queries", "candidates"), norm=1.0, noise=0.8, duplicates=False, **more):
    def build(r):
        q, c = r.normal(size=(b, d)), r.normal(size=(n or b, d))
        c[:b] = q + noise * r.normal(size=(b, d))
        if duplicates:
            q[1], c[2] = q[0], c[0]
        return {names[0]: norm * q, names[1]: norm * c, **more}
    return build


VIEWS = {"names": ("view_a", "view_b")}


def labelled(*labels, d=4, norm=1.0, spread=1.0, pull=0.0, duplicates=False):
    """Embeddings with these labels; pull moves each towards a centre of its class."""
    def build(r):
        x, y = spread * r.normal(size=(len(labels), d)), ints(*labels)
        x += pull * r.normal(size=(max(labels) + 1, d))[y]
        if duplicates:  # of one class, and across two classes
            x[1], x[-1] = x[0], x[2]
        return {"embeddings": norm * x, "labels": y}
    return build


def axes(labels, *signed):
    """Rows on signed axes, so that every distance is exactly 0, the root of 2, or 2: ties without rounding."""
    rows = np.array([2.0 * np.sign(a) * np.eye(4)[abs(a) - 1] for a in signed])
    return lambda r: {"embeddings": rows, "labels": ints(*labels)}


MIXED = (0, 0, 1, 1, 2, 2, 0, 1)
CASES = {
    "softmax_cross_entropy": [
        ("typical", {}, scored()),
        ("defaults-linear-head", None, headed(bias=True)),
        ("extreme-scores", {}, extreme_scores),
        ("ties", {}, tied_scores),
        ("one-row", {}, scored(b=1, n=3)),
        ("class-weights", {}, scored(class_weights=np.array([0.5, 2.0, 1.0, 0.25, 3.0]))),
        ("smoothing-weights-ignored", {"label_smoothing": 0.1, "ignore_index": -1},
         lambda r: {"scores": 2 * r.normal(size=(5, 4)), "targets": ints(3, -1, 0, 2, -1),
                    "class_weights": np.array([0.5, 2.0, 1.0, 3.0])}),
        ("soft-targets", {}, soft()),
        ("soft-targets-smoothing-weights", {"label_smoothing": 0.2},
         soft(class_weights=np.array([0.5, 2.0, 1.0, 0.25, 3.0]))),
    ],
    "binary_cross_entropy": [
        ("typical", {}, marked(scored())),
        ("defaults", None, marked(scored())),
        ("extreme-scores", {}, marked(extreme_scores)),
        ("ties", {}, marked(tied_scores)),
        ("one-row-no-positives", {}, lambda r: {"scores": r.normal(size=(1, 4)), "positives": ints(0, 0, 0, 0)[None]}),
        ("pos-weight", {}, marked(scored(), pos_weight=np.array([0.5, 2.0, 1.0, 10.0, 3.0]))),
        ("smoothing-pos-weight", {"label_smoothing": 0.1},
         marked(scored(), pos_weight=np.array([0.5, 2.0, 1.0, 10.0, 3.0]))),
    ],
    "focal": [
        ("typical", {}, scored()),
        ("defaults", None, scored()),
        ("extreme-scores", {}, extreme_scores),
        ("ties", {}, tied_scores),
        ("one-row", {}, scored(b=1, n=2)),
        ("gamma-zero-alpha-quarter", {"gamma": 0.0, "alpha": 0.25}, scored()),
        ("gamma-half", {"gamma": 0.5}, scored(scale=4.0)),
    ],
    "normalized_softmax": [
        ("typical", {}, headed()),
        ("defaults", None, headed()),
        ("sharp-scale", {"scale": 1000.0}, headed()),
        ("duplicates", {}, headed(duplicates=True)),
        ("one-row", {}, headed(b=1, n=3)),
        ("scale-one-far-norms", {"scale": 1.0}, headed(norms=(1e4, 1e-4))),
    ],
    "cosface": [
        ("typical", {}, headed()),
        ("defaults", None, headed()),
        ("scale-30-margin-0.2", {"scale": 30.0, "margin": 0.2}, headed()),
        ("duplicates", {}, headed(duplicates=True)),
        ("one-row", {}, headed(b=1, n=3)),
        ("far-norms", {}, headed(norms=(1e4, 1e-4))),
    ],
    "arcface": [
        ("typical", {}, headed()),
        ("defaults", None, headed()),
        ("scale-16-margin-0.3", {"scale": 16.0, "margin": 0.3}, headed()),
        ("past-pi", {}, headed(opposed=True)),
        ("aligned", {}, aligned),
        ("duplicates-far-norms", {}, headed(duplicates=True, norms=(1e4, 1e-4))),
        ("one-row-margin-zero", {"margin": 0.0}, headed(b=1, n=3)),
    ],
    "info_nce": [
        ("typical", {}, paired(targets=ints(0, 1, 2, 3, 4))),
        ("defaults", None, paired(n=7)),
        ("cold", {"temperature": 0.01}, paired(noise=1.5)),
        ("duplicates", {}, paired(duplicates=True)),
        ("one-row", {}, paired(b=1, n=4)),
        ("one-candidate", {}, paired(b=1)),
        ("warm-shared-targets", {"temperature": 1.0}, paired(n=3, b=3, targets=ints(2, 0, 2))),
        ("ids-excluded", {}, paired(n=6, targets=ints(0, 1, 2, 3, 4), query_ids=ints(7, 7, 8, 9, 9),
                                    candidate_ids=ints(7, 7, 8, 9, 9, 8))),
        ("ids-nothing-left", {}, paired(b=2, query_ids=ints(3, 3), candidate_ids=ints(3, 3))),
    ],
    "symmetric_info_nce": [
        ("typical", {}, paired()),
        ("defaults", None, paired()),
        ("cold", {"temperature": 0.01}, paired(noise=1.5)),
        ("duplicates", {}, paired(duplicates=True)),
        ("one-pair", {}, paired(b=1)),
        ("warm-far-norms", {"temperature": 1.0}, paired(norm=1e4)),
        ("ids-excluded", {}, paired(query_ids=ints(7, 7, 8, 9, 9), candidate_ids=ints(7, 7, 8, 9, 9))),
    ],
    "nt_xent": [
        ("simclr-typical", {}, paired(**VIEWS)),
        ("simclr-defaults", None, paired(**VIEWS)),
        ("simclr-cold", {"temperature": 0.01}, paired(noise=1.5, **VIEWS)),
        ("simclr-duplicates", {}, paired(duplicates=True, **VIEWS)),
        ("simclr-one-pair", {}, paired(b=1, **VIEWS)),
        ("pml-typical", {"variant": "pml"}, labelled(*MIXED)),
        ("pml-cold-duplicates", {"variant": "pml", "temperature": 0.05}, labelled(*MIXED, duplicates=True)),
        ("pml-no-positives", {"variant": "pml"}, labelled(0, 1, 2, 3)),
    ],
    "supervised_contrastive": [
        ("typical", {}, labelled(*MIXED)),
        ("defaults", None, labelled(*MIXED)),
        ("cold", {"temperature": 0.01}, labelled(*MIXED)),
        ("duplicates", {}, labelled(*MIXED, duplicates=True)),
        ("rows-without-positives", {"temperature": 0.5}, labelled(0, 0, 1, 2, 2, 3, 2)),
        ("no-positives", {}, labelled(0, 1, 2, 3)),
    ],
    "siglip": [
        ("typical", {}, paired()),
        ("defaults", None, paired()),
        ("scale-1000", {"log_scale": math.log(1000.0)}, paired(noise=1.5)),
        ("duplicates", {}, paired(duplicates=True)),
        ("one-pair", {}, paired(b=1)),
        ("scale-one-bias-zero", {"log_scale": 0.0, "bias": 0.0}, paired(norm=1e4)),
    ],
    "triplet": [
        ("batch-hard-typical", {}, labelled(*MIXED)),
        ("batch-hard-margin-one-singleton", {"margin": 1.0}, labelled(0, 0, 1, 1, 1, 2, pull=1.0)),
        ("batch-hard-duplicates", {}, labelled(0, 0, 1, 1, 1, 2, 2, duplicates=True)),
        ("batch-hard-ties", {}, axes((0, 0, 0, 1, 1, 2), 1, 2, 3, -1, -1, 4)),
        ("batch-hard-no-positives", {}, labelled(0, 1, 2, 3)),
        ("semi-hard-typical", {"mining": "semi_hard"}, labelled(*MIXED)),
        ("semi-hard-margin-one", {"mining": "semi_hard", "margin": 1.0}, labelled(*MIXED, pull=1.0)),
        ("semi-hard-ties", {"mining": "semi_hard", "margin": 1.0}, axes((0, 0, 1, 1, 1), 1, 2, -1, -1, -2)),
        ("semi-hard-none", {"mining": "semi_hard"}, labelled(0, 0, 1, 1, pull=5.0, spread=0.05)),
        ("all-typical", {"mining": "all"}, labelled(*MIXED)),
        ("all-duplicates", {"mining": "all", "margin": 0.5}, labelled(0, 0, 1, 1, 1, 2, 2, duplicates=True)),
        ("all-satisfied", {"mining": "all"}, labelled(0, 0, 1, 1, pull=5.0, spread=0.05)),
    ],
    "contrastive_pairs": [
        ("typical", {}, labelled(*MIXED)),
        ("defaults", None, labelled(*MIXED)),
        ("duplicates", {}, labelled(0, 0, 1, 1, 1, 2, 2, duplicates=True)),
        ("margins", {"pos_margin": 0.3, "neg_margin": 1.4}, labelled(*MIXED)),
        ("no-positives", {}, labelled(0, 1, 2, 3, d=2)),
        ("no-negatives", {}, labelled(0, 0, 0, 0)),
    ],
    "multi_similarity": [
        ("typical-mined", {"epsilon": 0.1}, labelled(*MIXED)),
        ("defaults", None, labelled(*MIXED)),
        ("mined-pulled", {"epsilon": 0.3}, labelled(*MIXED, 3, pull=1.0)),
        ("other-parameters", {"alpha": 18.0, "beta": 75.0, "base": 0.77, "epsilon": 0.1}, labelled(*MIXED)),
        ("sharp-duplicates", {"alpha": 100.0, "beta": 1000.0}, labelled(0, 0, 1, 1, 1, 2, 2, duplicates=True)),
        ("no-positives", {}, labelled(0, 1, 2, 3)),
        ("no-negatives", {}, labelled(0, 0, 0, 0)),
        ("mined-no-positives", {"epsilon": 0.1}, labelled(0, 1, 2, 3)),
    ],
    "proxy_anchor": [
        ("typical", {}, headed(n=3, targets=(0, 0, 1, 2, 2))),
        ("defaults", None, headed(n=3, targets=(0, 0, 1, 2, 2))),
        ("classes-without-rows", {}, headed(n=6, targets=(0, 0, 5, 5, 2))),
        ("sharp-margin-0.3", {"alpha": 200.0, "margin": 0.3}, headed(n=3, targets=(0, 0, 1, 2, 2))),
        ("duplicates", {}, headed(n=3, targets=(0, 0, 1, 2, 2), duplicates=True)),
        ("one-row", {}, headed(b=1, n=3)),
        ("one-class-holds-all", {}, headed(n=2, targets=(1, 1, 1, 1, 1))),
    ],
}
