"""The whole products and the engine's tile products in PyTorch, for comparison.

    python torch_products.py [--threads 2] [--repeats 15] [--tiles]

Prints GFLOP/s (fastest, median) and writes torch.json. The shapes are those of `src/full.rs`.
"""

import argparse
import json
import time

import torch

SHAPES = [  # queries, dimension, candidates, candidates a product
    (1024, 512, 1000, 1000),
    (256, 128, 65536, 65536),
    (512, 256, 16384, 16384),
    (4096, 256, 4096, 4096),
    (2048, 128, 2048, 2048),
    (8192, 256, 262144, 4096),
]


def rates(run, flops, repeats):
    """Fastest and median GFLOP/s of `run`, which does `flops` operations."""
    run()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    seconds.sort()
    return [flops / s / 1e9 for s in (seconds[0], seconds[len(seconds) // 2])]


def whole(rows, dim, cols, chunk, repeats):
    """S = Q·Cᵀ, in chunks of candidates, into one buffer."""
    queries, candidates = torch.randn(rows, dim), torch.randn(cols, dim)
    scores = torch.empty(rows, chunk)

    def run():
        for part in candidates.split(chunk):
            torch.matmul(queries, part.T, out=scores)

    flops = 2.0 * rows * dim * cols
    return rates(run, flops, min(repeats, 2) if flops > 1e11 else repeats)


def tile(kind, rows, cols, dim, repeats):
    """One tile product for each of several candidate tiles, as in `src/tiles.rs`."""
    flops = 2.0 * rows * cols * dim
    count = max(1, min(16, -int(-3e7 // flops)))
    queries, scores = torch.randn(rows, dim), torch.randn(rows, cols)
    tiles = [torch.randn(cols, dim) for _ in range(count)]
    grads = [torch.randn(cols, dim) for _ in range(count)]
    grad_queries = torch.zeros(rows, dim)

    def run():
        for candidates, grad in zip(tiles, grads):
            if kind == "S=QCt":
                torch.mm(queries, candidates.T, out=scores)
            elif kind == "dQ+=GC":
                grad_queries.addmm_(scores, candidates)
            else:
                grad.addmm_(scores.T, queries)

    return rates(run, flops * count, repeats)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2, help="threads of the whole products")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--tiles", action="store_true", help="tile products too, one thread")
    parser.add_argument("--json", default="torch.json")
    options = parser.parse_args()
    report = {"torch": torch.__version__, "threads": options.threads, "full": [], "tiles": []}
    torch.set_num_threads(options.threads)
    with torch.inference_mode():
        for shape in SHAPES:
            rate = whole(*shape, options.repeats)
            name = "x".join(map(str, shape[:3]))
            print(f"{name:<24}{rate[0]:8.0f}{rate[1]:8.0f}", flush=True)
            report["full"].append({"shape": name, "rates": rate})
        if options.tiles:
            torch.set_num_threads(1)
            for kind in ("S=QCt", "dQ+=GC", "dC+=GtQ"):
                for dim in (64, 128, 256, 512, 768):
                    for rows in (64, 128, 256, 512):
                        for cols in (256, 512, 1024, 2048):
                            rate = tile(kind, rows, cols, dim, options.repeats)
                            entry = {"kind": kind, "r": rows, "c": cols, "d": dim, "rates": rate}
                            report["tiles"].append(entry)
                            print(f"{kind:<8} r={rows} c={cols} d={dim} {rate[0]:8.0f}{rate[1]:8.0f}")
    with open(options.json, "w", encoding="utf-8") as file:
        json.dump(report, file)
    print("written:", options.json)


if __name__ == "__main__":
    main()
