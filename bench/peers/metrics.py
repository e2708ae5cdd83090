"""Metrics of `keener eval` beside scikit-learn, pytrec_eval, ranx and pytorch-metric-learning: agreement, and speed.

    python metrics.py agree [--keener PATH] [--fixture FILE]      a table of figures and differences; exit 1 on a miss
    python metrics.py speed [--keener PATH] [--rounds 3]          50,000 × 128 in 100 classes, interleaved

Agreement is held to 1e-9 on random and on tied inputs wherever both sides define a figure alike; where they do not, the
last column says so and docs/reliability.md explains it. keener computes in f64 (`--precision double`) from inputs that are
exact in f32, as the peers do. `--fixture` writes the inputs and the peers' figures, small, for keener's own tests.
"""

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.pop("OPENBLAS_CORETYPE", None)  # the peers' BLAS chooses its own kernels
HERE = Path(__file__).resolve()
ROOT = HERE.parents[2]

import numpy as np

TOLERANCE = 1e-9


# ---------------------------------------------------------------------------------------------------------------- inputs
def embeddings(kind, n, dim, classes, seed):
    """Rows around class centres; tied: whole numbers, whose products are exact and often equal."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, n)
    if kind == "tied":
        return random.integers(-1, 3, (n, dim)).astype(np.float32), labels
    centres = np.random.default_rng(1000).standard_normal((classes, dim))
    return (centres[labels] + 1.2 * random.standard_normal((n, dim))).astype(np.float32), labels


def class_scores(kind, n, classes, seed):
    """Probabilities that lean to the label; tied: eighths. The last class has no rows."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes - 1, n)
    if kind == "tied":
        parts = random.multinomial(8, np.full(classes, 1 / classes), n).astype(np.float64)
        parts[np.arange(n), labels] += 8 - (moved := parts.sum(1))
        lean = random.random(n) < 0.4
        parts[lean] = np.roll(parts[lean], 1, axis=1)
        assert (moved == 8).all()
        return (parts / 8).astype(np.float32), labels
    logits = random.standard_normal((n, classes)) * 1.5
    logits[np.arange(n), labels] += 1.0
    p = np.exp(logits - logits.max(1, keepdims=True))
    p = (p / p.sum(1, keepdims=True)).astype(np.float32)
    return p, labels


# ----------------------------------------------------------------------------------------------------------------- keener
class Keener:
    def __init__(self, path):
        self.path = path

    def __call__(self, x, y, *options, gallery=None):
        with tempfile.TemporaryDirectory() as folder:
            at = lambda name: os.path.join(folder, name)
            np.save(at("x.npy"), x)
            np.save(at("y.npy"), y)
            words = [self.path, "eval", at("x.npy"), "--labels", at("y.npy"), "--json", "--bootstrap", "0"]
            if gallery is not None:
                np.save(at("g.npy"), gallery[0])
                np.save(at("h.npy"), gallery[1])
                words += ["--gallery", at("g.npy"), "--gallery-labels", at("h.npy")]
            words += ["--precision", "double", "--cluster-file", at("clusters.txt"), *options]
            done = subprocess.run(words, capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(f"{' '.join(words)}\n{done.stderr}")
            found = json.loads(done.stdout)["metrics"]
            clusters = np.loadtxt(at("clusters.txt"), dtype=int) if os.path.exists(at("clusters.txt")) else None
        values = {
            f"{group}.{name}": figure["value"]
            for group, figures in found.items()
            for name, figure in figures.items()
            if name != "notes"
        }
        return values, clusters


# ------------------------------------------------------------------------------------------------------------------ peers
def sk_classes(p, y):
    from sklearn import metrics as m

    p = p.astype(np.float64)
    classes = p.shape[1]
    predicted = p.argmax(1)
    hot = np.eye(classes)[y]
    there = [c for c in range(classes) if 0 < (y == c).sum() < len(y)]
    found = {
        "accuracy": m.accuracy_score(y, predicted),
        "balanced_accuracy": recall_mean(y, predicted),
        "macro_f1": m.f1_score(y, predicted, average="macro"),
        "micro_f1": m.f1_score(y, predicted, average="micro"),
        "auroc": np.mean([m.roc_auc_score(y == c, p[:, c]) for c in there]),
        "aupr": np.mean([m.average_precision_score(y == c, p[:, c]) for c in there]),
        "top_3_accuracy": m.top_k_accuracy_score(y, p, k=3, labels=range(classes)),
    }
    definition = {"brier": ((p - hot) ** 2).sum(1).mean()}
    if (p[np.arange(len(y)), y] > 0).all():
        definition["nll"] = -np.log(p[np.arange(len(y)), y]).mean()
    ece, classwise = 0.0, 0.0
    confidence, right = p.max(1), predicted == y
    for m_ in range(15):
        low, high = m_ / 15, (m_ + 1) / 15
        inside = (confidence > low) & (confidence <= high)
        ece += abs((right[inside] - confidence[inside]).sum()) / len(y)
        for c in range(classes):
            inside_c = (p[:, c] > low) & (p[:, c] <= high) if m_ else (p[:, c] <= high)
            classwise += abs((hot[inside_c, c] - p[inside_c, c]).sum()) / len(y) / classes
    return found, definition | {"ece": ece, "classwise_ece": classwise}


def recall_mean(y, predicted):
    """sklearn's balanced_accuracy_score, without its warning on predictions of absent classes."""
    import warnings

    from sklearn.metrics import balanced_accuracy_score

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return balanced_accuracy_score(y, predicted)


def sk_curve(scores, positive, rates):
    """AUROC, equal error rate on straight lines, and the greatest TPR at each FPR."""
    from sklearn import metrics as m

    fpr, tpr, _ = m.roc_curve(positive, scores, drop_intermediate=False)
    excess = fpr - (1 - tpr)
    at = int(np.argmax(excess >= 0))
    share = -excess[at - 1] / (excess[at] - excess[at - 1])
    found = {"auroc": m.roc_auc_score(positive, scores), "eer": fpr[at - 1] + share * (fpr[at] - fpr[at - 1])}
    return found | {f"tar@far={rate:g}": tpr[fpr <= rate].max() for rate in rates}


def similarities(kind, x, r):
    x, r = x.astype(np.float64), r.astype(np.float64)
    if kind == "tied":
        return x @ r.T
    unit = lambda v: v / np.linalg.norm(v, axis=1, keepdims=True)
    return unit(x) @ unit(r).T


def rankings(scores, y, z, itself):
    """Per query: documents with relevance and scores; equal scores stay equal, as dense ranks that single floats hold."""
    n = len(z)
    names = [f"{n - 1 - j:07d}" for j in range(n)]  # TREC puts the greater name first among equals: the lower row
    relevant, run = {}, {}
    for i, row in enumerate(scores):
        others = [j for j in range(n) if not (itself and i == j)]
        hits = {names[j]: 1 for j in others if z[j] == y[i]}
        if hits:
            _, dense = np.unique(row[others], return_inverse=True)
            relevant[f"q{i}"] = hits
            run[f"q{i}"] = {names[j]: float(d + 1) for j, d in zip(others, dense)}
    return relevant, run


def trec(relevant, run):
    import pytrec_eval

    names = {"map": "map", "ndcg": "ndcg", "recip_rank": "mrr", "Rprec": "r-precision"}
    for k in (1, 5, 10):
        names |= {f"success_{k}": f"recall@{k}", f"recall_{k}": f"found@{k}", f"P_{k}": f"precision@{k}"}
        names |= {f"ndcg_cut_{k}": f"ndcg@{k}"}
    wanted = {"map", "ndcg", "recip_rank", "Rprec", "success.1,5,10", "recall.1,5,10", "P.1,5,10", "ndcg_cut.1,5,10"}
    by_query = pytrec_eval.RelevanceEvaluator(relevant, wanted).evaluate(run)
    return {ours: float(np.mean([q[theirs] for q in by_query.values()])) for theirs, ours in names.items()}


def ranx(relevant, run):
    from ranx import Qrels, Run, evaluate

    names = {"map": "map", "ndcg": "ndcg", "mrr": "mrr", "r-precision": "r-precision"}
    for k in (1, 5, 10):
        names |= {f"hit_rate@{k}": f"recall@{k}", f"recall@{k}": f"found@{k}"}
        names |= {f"precision@{k}": f"precision@{k}", f"ndcg@{k}": f"ndcg@{k}"}
    found = evaluate(Qrels(relevant), Run(run), list(names))
    return {ours: float(found[theirs]) for theirs, ours in names.items()}


def pml(kind, x, y, gallery):
    import torch
    from pytorch_metric_learning.distances import CosineSimilarity
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
    from pytorch_metric_learning.utils.inference import CustomKNN

    names = {
        "precision_at_1": "recall@1",
        "r_precision": "r-precision",
        "mean_average_precision_at_r": "map@r",
        "mean_average_precision": "map",
        "mean_reciprocal_rank": "mrr",
    }
    calculator = AccuracyCalculator(
        include=tuple(names), k=None, device=torch.device("cpu"), knn_func=CustomKNN(CosineSimilarity())
    )
    tensor = lambda v: torch.from_numpy(np.asarray(v, dtype=np.float64 if v.dtype.kind == "f" else np.int64))
    arguments = [tensor(x), tensor(y)]
    arguments += [tensor(gallery[0]), tensor(gallery[1])] if gallery else []
    found = calculator.get_accuracy(*arguments)
    return {ours: found[theirs] for theirs, ours in names.items()}


# -------------------------------------------------------------------------------------------------------------- agreement
# Where the definitions part: (metric, peer, inputs) → why. None in a place means any.
APART = [
    ("top_3_accuracy", "scikit-learn", "tied", "of equal scores the peer takes the higher class first, keener the lower"),
    ("mrr", "pytorch-metric-learning", None, "the peer averages in single precision: held to 1e-6"),
]


class Table:
    def __init__(self):
        self.rows, self.missed = [], 0

    def add(self, case, inputs, peer, metric, ours, theirs):
        group = metric.split(".")[-1]
        apart = next((why for m, p, i, why in APART if m == group and p == peer and i in (None, inputs)), "")
        difference = abs(ours - theirs)
        allowed = 1e-6 if "1e-6" in apart else np.inf if apart else TOLERANCE
        good = difference <= allowed
        self.missed += not good
        verdict = "differs" if allowed == np.inf else "MISS" if not good else "to 1e-6" if apart else "agrees"
        self.rows.append((case, inputs, peer, metric, f"{ours:.12f}", f"{theirs:.12f}", f"{difference:.1e}", verdict, apart))

    def print(self):
        head = ("case", "inputs", "peer", "metric", "keener", "peer's", "difference", "", "remark")
        widths = [max(len(row[k]) for row in [head, *self.rows]) for k in range(len(head) - 1)]
        for row in [head, *self.rows]:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)) + "  " + row[-1])
        worst = {}
        for _, inputs, peer, _, _, _, difference, verdict, _ in self.rows:
            if verdict == "agrees":
                key = (peer, inputs)
                count, most = worst.get(key, (0, 0.0))
                worst[key] = (count + 1, max(most, float(difference)))
        print()
        for (peer, inputs), (count, most) in sorted(worst.items()):
            print(f"{peer}, {inputs} inputs: {count} figures agree, largest difference {most:.1e}")


def agree(keener, fixture):
    from sklearn import metrics as m

    table, stored = Table(), []
    rates = (0.01, 0.001, 0.0001)

    def compare(case, inputs, prefix, found, peer, expected):
        for metric, theirs in expected.items():
            table.add(case, inputs, peer, f"{prefix}.{metric}", found[f"{prefix}.{metric}"], float(theirs))

    def keep(name, options, x, y, expected, gallery=None):
        entry = {"name": name, "options": options, "rows": np.asarray(x, dtype=float).tolist(), "labels": np.asarray(y).tolist()}
        if gallery:
            entry |= {"gallery": np.asarray(gallery[0], dtype=float).tolist(), "gallery_labels": np.asarray(gallery[1]).tolist()}
        stored.append(entry | {"expected": expected})

    for kind in ("random", "tied"):
        for small in (False, True):
            n = 40 if small else 500
            # Classes.
            p, y = class_scores(kind, n, 5, 11)
            options = ["--as", "probabilities", "--k", "1,3"]
            found, _ = keener(p, y, *options)
            peer, definition = sk_classes(p, y)
            if not small:
                compare("class scores", kind, "classification", found, "scikit-learn", peer)
                compare("class scores", kind, "classification", found, "numpy, by definition", definition)
            elif kind == "tied":
                peer.pop("top_3_accuracy")
            if small:
                keep(f"class scores, {kind}", options, p, y, {f"classification.{k}": v for k, v in (peer | definition).items()})
            # One column.
            column, two = (p[:, :1] if kind == "random" else np.round(p[:, :1] * 8)), (y == 0).astype(int)
            found, _ = keener(column, two, "--as", "scores")
            peer = sk_curve(column[:, 0].astype(np.float64), two, rates) | {
                "aupr": m.average_precision_score(two, column[:, 0].astype(np.float64))
            }
            if small:
                keep(f"one column, {kind}", ["--as", "scores"], column, two, {f"classification.{k}": v for k, v in peer.items()})
            else:
                compare("one column", kind, "classification", found, "scikit-learn", peer)
            # Embeddings, alone and against a gallery.
            similarity = ["--similarity", "inner-product" if kind == "tied" else "cosine"]
            x, y = embeddings(kind, n, 8 if kind == "random" else 3, 9, 12)
            g, z = embeddings(kind, 2 * n, x.shape[1], 7, 13)
            for gallery in (None, (g, z)):
                case = "gallery" if gallery else "embeddings"
                options = ["--as", "embeddings", *similarity]
                found, clusters = keener(x, y, *options, gallery=gallery)
                scores = similarities(kind, x, gallery[0] if gallery else x)
                relevant, run = rankings(scores, y, gallery[1] if gallery else y, not gallery)
                expected = trec(relevant, run)
                if gallery:
                    pairs = scores.ravel(), (y[:, None] == z[None]).ravel()
                else:
                    upper = np.triu_indices(n, 1)
                    pairs = scores[upper], (y[:, None] == y[None])[upper]
                curve = sk_curve(*pairs, rates)
                parts = {
                    "nmi": m.normalized_mutual_info_score(y, clusters),
                    "ami": m.adjusted_mutual_info_score(y, clusters),
                    "ari": m.adjusted_rand_score(y, clusters),
                }
                if small:
                    values = {f"retrieval.{k}": v for k, v in expected.items()} | {f"verification.{k}": v for k, v in curve.items()}
                    keep(f"{case}, {kind}", options, x, y, values, gallery)
                    continue
                compare(case, kind, "retrieval", found, "pytrec_eval", expected)
                if kind == "random":  # these two do not say which of equal scores comes first
                    compare(case, kind, "retrieval", found, "ranx", ranx(relevant, run))
                    compare(case, kind, "retrieval", found, "pytorch-metric-learning", pml(kind, x, y, gallery))
                compare(case, kind, "verification", found, "scikit-learn", curve)
                compare(case, kind, "clustering", found, "scikit-learn", parts)
    table.print()
    if fixture:
        text = json.dumps({"made by": "bench/peers/metrics.py agree --fixture", "cases": stored})
        Path(fixture).write_text(re.sub(r'(\{"name")', r"\n\1", text) + "\n")
    return table.missed


# ------------------------------------------------------------------------------------------------------------------ speed
def peer_main(folder, threads):
    """pytorch-metric-learning in a process of its own: a line of JSON for each line of input."""
    import ctypes
    import gc

    import faiss
    import torch
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
    from pytorch_metric_learning.utils.inference import FaissKNN

    class Calculator(AccuracyCalculator):
        def calculate_recall_at_10(self, knn_labels, query_labels, **_):
            return (knn_labels[:, :10] == query_labels[:, None]).any(1).double().mean().item()

        def requires_knn(self):
            return super().requires_knn() + ["recall_at_10"]

    torch.set_num_threads(threads)
    faiss.omp_set_num_threads(threads)
    x = torch.from_numpy(np.load(os.path.join(folder, "x.npy")))
    y = torch.from_numpy(np.load(os.path.join(folder, "y.npy")))
    include = ("precision_at_1", "recall_at_10", "mean_average_precision_at_r")
    # Rows have length one, so both indices find the neighbours of the cosine.
    indices = {"IndexFlatL2, as it comes": faiss.IndexFlatL2, "IndexFlatIP": faiss.IndexFlatIP}
    make = lambda index: Calculator(
        include=include,
        k="max_bin_count",
        device=torch.device("cpu"),
        knn_func=FaissKNN(index_init_fn=index, gpus=None),
    )
    make(faiss.IndexFlatIP).get_accuracy(x[:2000], y[:2000])  # libraries and threads come up
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    memory = lambda: {k: int(v.split()[0]) / 1024 for k, v in (l.split(":", 1) for l in Path("/proc/self/status").read_text().splitlines()) if k in ("VmRSS", "VmHWM")}
    print(json.dumps({"ready": True, "names": list(indices)}), flush=True)
    for line in sys.stdin:
        Path("/proc/self/clear_refs").write_text("5")
        before = memory()["VmRSS"]
        start = time.perf_counter()
        found = make(indices[line.strip()]).get_accuracy(x, y)
        seconds = time.perf_counter() - start
        after = memory()
        print(json.dumps({"seconds": seconds, "extra": after["VmHWM"] - before, "whole": after["VmHWM"], "values": found}), flush=True)


def speed(keener, rounds, threads):
    random = np.random.default_rng(0)
    n, dim, classes = 50_000, 128, 100
    y = random.integers(0, classes, n)
    centres = random.standard_normal((classes, dim))
    x = centres[y] + 3.0 * random.standard_normal((n, dim))
    x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        np.save(os.path.join(folder, "x.npy"), x)
        np.save(os.path.join(folder, "y.npy"), y)
        child = subprocess.Popen([sys.executable, HERE, "peer", folder, "--threads", str(threads)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        ask = lambda line: (child.stdin.write(line + "\n"), child.stdin.flush(), json.loads(child.stdout.readline()))[2]
        names = json.loads(child.stdout.readline())["names"]
        words = [keener, "eval", f"{folder}/x.npy", "--labels", f"{folder}/y.npy", "--json", "--threads", str(threads), "--bootstrap", "0"]
        runs = {name: [] for name in ["keener", *names]}
        for _ in range(rounds):
            start = time.perf_counter()
            process = subprocess.Popen([*words, "--metrics", "recall@1,recall@10,map@r"], stdout=subprocess.PIPE, text=True)
            output = process.stdout.read()
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - start
            if status:
                raise SystemExit("keener failed")
            values = {k: v["value"] for k, v in json.loads(output)["metrics"]["retrieval"].items() if k != "notes"}
            runs["keener"].append({"seconds": seconds, "whole": usage.ru_maxrss / 1024, "values": values})
            for name in names:
                runs[name].append(ask(name))
            print("; ".join(f"{name}: {run[-1]['seconds']:.2f} s" for name, run in runs.items()), file=sys.stderr, flush=True)
        child.stdin.close()
        child.wait()
    median = lambda name, key: float(np.median([run[key] for run in runs[name]]))
    ours = runs["keener"][0]["values"]
    inputs = x.nbytes / 2**20
    print(f"{n:,} × {dim}, {classes} classes, {threads} threads, median of {rounds} interleaved rounds")
    print(f"keener eval, the whole command: {median('keener', 'seconds'):.2f} s, {median('keener', 'whole'):.0f} MiB in all, the embeddings' {inputs:.0f} included  {ours}")
    missed = 0
    for name in names:
        theirs = runs[name][0]["values"]
        pairs = {"recall@1": "precision_at_1", "recall@10": "recall_at_10", "map@r": "mean_average_precision_at_r"}
        apart = max(abs(ours[a] - theirs[b]) for a, b in pairs.items())
        missed += apart > 1e-4
        print(f"AccuracyCalculator, {name}: {median(name, 'seconds'):.2f} s, {median(name, 'extra'):.0f} MiB beyond libraries and embeddings ({median(name, 'whole'):.0f} in all); "
              f"{median(name, 'seconds') / median('keener', 'seconds'):.1f}× keener's time, {median(name, 'extra') / median('keener', 'whole'):.1f}× its memory; figures within {apart:.1e}")
    return missed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["agree", "speed", "peer"])
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--keener", default=str(ROOT / "target" / "release" / "keener"))
    parser.add_argument("--fixture")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    a = parser.parse_args()
    if a.what == "peer":
        return peer_main(a.folder, a.threads)
    missed = agree(Keener(a.keener), a.fixture) if a.what == "agree" else speed(a.keener, a.rounds, a.threads)
    raise SystemExit(1 if missed else 0)


if __name__ == "__main__":
    main()
