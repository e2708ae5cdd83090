#!/usr/bin/env python3
"""Times keener against PyTorch on the same inputs, side by side, and measures the memory beyond inputs and gradients.

    cargo build --release
    pip install -r bench/peers/requirements.txt
    python bench/peers/run.py [--markdown] [--json FILE] [--case NAME ...] [--quick]

Every contender is a process of its own that answers `step`. Before anything is reported, its loss and gradients must
agree with eager PyTorch. Steps are interleaved (one of each contender, again and again) and the median is reported.
See README.md beside this file for what the numbers mean.
"""

import argparse
import json
import os
import platform
import queue
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
MIB = 1 << 20
START_TIMEOUT, COMPILE_TIMEOUT, STEP_TIMEOUT = 120, 60, 300
LOSS_TOLERANCE, GRADIENT_TOLERANCE = 1e-4, 1e-3
SETTLE = 0.02  # seconds between steps, so that one side's threads have stopped spinning when the other starts

# name -> (keener objective, the function in peer.py, (B, d, N), contenders from PyTorch)
PLAIN = ["eager", "compiled"]
CASES = {
    "softmax-ce-1k": ("softmax_cross_entropy", "softmax_ce", (1024, 512, 1000), PLAIN),
    "softmax-ce-64k": ("softmax_cross_entropy", "softmax_ce", (256, 128, 65536), PLAIN),
    "arcface-16k": ("arcface", "arcface", (512, 256, 16384), ["eager", "pml", "compiled"]),
    "symmetric-infonce-4k": ("symmetric_info_nce", "symmetric_info_nce", (4096, 256, 4096), PLAIN),
    "anyloss-256k": ("anyloss:metric=f1", "any_loss_f1", (262144, 32, 2), ["eager"]),
    "aggregate-squared-256k": ("aggregate:rho=0.1", "aggregate_squared", (262144, 32, 1), ["eager"]),
    "aggregate-bce-256k": ("aggregate:rho=0.1,kind=bce", "aggregate_bce", (262144, 32, 1), ["eager"]),
    "supcon-2k": ("supervised_contrastive", "supervised_contrastive", (2048, 128, 2048), ["eager", "pml", "compiled"]),
    "stablemax-16k": ("stablemax_cross_entropy", "stablemax", (512, 256, 16384), PLAIN),
    "z-loss-16k": ("z_loss:b=4", "z_loss", (512, 256, 16384), PLAIN),
    "comp-sum-16k": ("comp_sum", "comp_sum", (512, 256, 16384), PLAIN),
    "smooth-adv-comp-sum-4k": ("smooth_adv_comp_sum", "smooth_adv_comp_sum", (512, 256, 4096), PLAIN),
    "ldr-16k": ("ldr_kl", "ldr_kl", (512, 256, 16384), PLAIN),
    "aldr-16k": ("aldr_kl", "aldr_kl", (512, 256, 16384), PLAIN),
}
TWO_VERSIONS = ["smooth_adv_comp_sum"]  # cases that also read an attacked version of the queries
SCHEDULES = ["auto", "recompute"]
NAMES = {"eager": "PyTorch eager", "compiled": "torch.compile", "pml": "pytorch-metric-learning",
         "products": "three bare products (PyTorch)", "auto": "keener auto", "recompute": "keener recompute"}


class Failed(Exception):
    pass


class Contender:
    """A child process in the line protocol."""

    def __init__(self, name, command, env, log):
        self.name, self.log, self.seconds = name, log, []
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log.open("w"),
                                        text=True, env=env)
        self.lines = queue.Queue()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def answer(self, timeout, waiting_for):
        deadline = time.monotonic() + timeout
        while True:
            try:
                line = self.lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise Failed(f"no answer to {waiting_for} within {timeout} s") from None
            if line is None:
                said = [s for s in self.log.read_text().splitlines() if s.strip()]
                raise Failed(f"ended before {waiting_for}: {said[-1].strip() if said else 'no message'}")
            if line.startswith("{"):
                fields = json.loads(line)
                if "failed" in fields:
                    raise Failed(fields["failed"])
                return fields

    def ask(self, word, timeout=STEP_TIMEOUT):
        try:
            self.process.stdin.write(word + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # the answer below says why
        return self.answer(timeout, f"`{word}`")

    def start(self):
        ready = self.answer(START_TIMEOUT, "`ready`")
        if ready.get("compiling"):
            try:
                ready = self.answer(COMPILE_TIMEOUT, "`ready`")
            except Failed as error:
                raise Failed(f"did not compile: {error}") from None
        self.counted = ready["rss_bytes"]
        try:  # from here the high-water mark counts from the present size, on every side alike
            Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")
        except OSError:  # where that is not allowed, what starting up has taken hides as much of what steps take
            self.counted = max(self.counted, self.high_water())

    def high_water(self):
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        raise Failed("the process has no VmHWM")

    def warm(self, steps):
        for _ in range(steps):
            self.last = self.ask("step")
        self.extra = self.high_water() - self.counted

    def stop(self):
        if self.process.poll() is None:
            try:
                self.process.stdin.write("quit\n")
                self.process.stdin.close()
                self.process.wait(10)
            except (BrokenPipeError, OSError, subprocess.TimeoutExpired):
                self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def make_inputs(case, folder, seed):
    """queries, candidates (none where the batch is compared with itself) and targets, in f32."""
    _, kind, (b, d, n), _ = CASES[case]
    rng = np.random.default_rng([seed, *case.encode()])
    normal = lambda *shape: rng.standard_normal(shape, dtype=np.float32)
    if kind == "supervised_contrastive":
        targets = rng.integers(0, 100, b)
        arrays = {"queries": normal(100, d)[targets] + 2 * normal(b, d)}
    elif kind == "symmetric_info_nce":
        queries, targets = normal(b, d), np.arange(b)
        arrays = {"queries": queries, "candidates": queries + 2 * normal(n, d)}
    else:
        targets = rng.integers(0, n, b)
        arrays = {"queries": normal(b, d), "candidates": normal(n, d) / np.float32(np.sqrt(d))}
    if kind in TWO_VERSIONS:
        arrays["second"] = arrays["queries"] + np.float32(0.1) * normal(b, d)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    if kind.startswith("aggregate"):  # bags of eight rows that lie anywhere
        np.save(folder / "bags.npy", rng.permutation(np.arange(b) // 8))
        np.save(folder / "responses.npy", rng.random((b // 8, n), dtype=np.float32))
    np.save(folder / "targets.npy", targets.astype(np.int64))
    return list(arrays)


def command(case, name, folder, options):
    objective, kind, (b, d, n), _ = CASES[case]
    if name in SCHEDULES:
        return [options.keener, "bench", objective, "--batch", b, "--dim", d, "--candidates", n, "--inputs", folder,
                "--schedule", name, "--threads", options.threads, "--serve"]
    return [sys.executable, HERE / "peer.py", name, kind, "--inputs", folder, "--threads", options.threads]


def written(contender, folder, arrays):
    """The gradients that the contender writes; keener's folder is moved aside for the next schedule."""
    out = folder / ("out" if contender.name in SCHEDULES else f"out-{contender.name}")
    contender.ask("write")
    if contender.name in SCHEDULES:
        out = out.rename(folder / f"out-{contender.name}")
    return [np.load(out / f"grad_{name}.npy") for name in arrays]


def disagreement(contender, grads, reference, wanted):
    """The relative errors of loss and gradients against eager PyTorch; Failed when one is beyond its tolerance."""
    errors = {"loss": abs(contender.last["loss"] - reference.last["loss"]) / abs(reference.last["loss"])}
    for name, got, want in zip(("grad_queries", "grad_candidates", "grad_second"), grads, wanted):
        if got.shape != want.shape:
            raise Failed(f"{name} has shape {got.shape}, expected {want.shape}")
        errors[name] = float(np.abs(got - want).max() / np.abs(want).max())
    for name, error in errors.items():
        limit = LOSS_TOLERANCE if name == "loss" else GRADIENT_TOLERANCE
        if not error <= limit:  # also a NaN
            raise Failed(f"disagrees with eager PyTorch: {name} is off by {error:.3g}, allowed {limit:g}")
    return errors


def run_case(case, options, folder):
    _, _, (b, d, n), peers = CASES[case]
    arrays = make_inputs(case, folder, options.seed)
    env = os.environ | {"OMP_NUM_THREADS": str(options.threads), "TORCHINDUCTOR_COMPILE_THREADS": "1",
                        "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"), "PYTHONDONTWRITEBYTECODE": "1"}
    result = {"case": case, "batch": b, "dim": d, "candidates": n, "contenders": {}}
    running, wanted = {}, None
    try:
        for name in ["eager", *SCHEDULES, "products", *(p for p in peers if p != "eager")]:
            print(f"{case}: starting {NAMES[name]}", file=sys.stderr, flush=True)
            row = result["contenders"][name] = {"name": NAMES[name]}
            try:
                words = [str(word) for word in command(case, name, folder, options)]
                contender = Contender(name, words, env, folder / f"{name}.log")
                running[name] = contender
                contender.start()
                contender.warm(options.warm_up)
                row |= {"extra_bytes": contender.extra, "schedule": contender.last["schedule"]}
                if name != "products":
                    grads = written(contender, folder, arrays)
                    wanted = grads if name == "eager" else wanted
                    row["loss"] = contender.last["loss"]
                    row["errors"] = disagreement(contender, grads, running["eager"], wanted)
            except (Failed, OSError) as error:
                row["failed"] = str(error)[:300]
                print(f"{case}: {NAMES[name]}: {row['failed']}", file=sys.stderr, flush=True)
                if name in running:
                    running.pop(name).stop()
                if name == "eager":
                    raise SystemExit(f"{case}: the reference itself failed: {row['failed']}")
        print(f"{case}: {options.repeats} rounds", file=sys.stderr, flush=True)
        for _ in range(options.repeats):
            for contender in running.values():
                time.sleep(SETTLE)
                # The others have had the caches and the cores since: one step to get them back, as in a training loop,
                # where steps follow each other.
                contender.ask("step")
                contender.seconds.append(contender.ask("step")["seconds"])
    finally:
        for contender in running.values():
            contender.stop()
    for name, contender in running.items():
        result["contenders"][name] |= {"seconds": statistics.median(contender.seconds), "samples": contender.seconds}
    result["ratios"] = ratios(result["contenders"])
    return result


def ratios(rows):
    """For each schedule of keener and each peer: how many times slower and larger the peer is."""
    at_least = lambda row: max(row["extra_bytes"], MIB)  # below a MiB the allocator decides
    return [{"keener": k, "peer": p, "time": rows[p]["seconds"] / rows[k]["seconds"],
             "memory": at_least(rows[p]) / at_least(rows[k])}
            for k in SCHEDULES for p in rows if p not in (*SCHEDULES, "products")
            if "failed" not in rows[k] and "failed" not in rows[p]]


def table(header, rows, markdown):
    if markdown:
        lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)
    widths = [max(len(line[i]) for line in [header, *rows]) for i in range(len(header))]
    return "\n".join("  ".join(cell.ljust(w) if i < 1 else cell.rjust(w)
                               for i, (cell, w) in enumerate(zip(line, widths))) for line in [header, *rows])


def report(results, markdown):
    measured, compared, failures = [], [], []
    for result in results:
        rows = result["contenders"]
        label = f"{result['case']} {result['batch']}×{result['dim']}×{result['candidates']}"
        for name, row in rows.items():
            if "failed" in row:
                failures.append(f"{label}: {row['name']}: {row['failed']}")
                continue
            share = rows["products"].get("seconds", float("nan")) / row["seconds"]
            memory = "" if name == "products" else f"{row['extra_bytes'] / MIB:.1f}"
            chosen = row["schedule"] if name in SCHEDULES else ""
            measured.append([label, row["name"], chosen, f"{row['seconds'] * 1e3:.2f}", f"{share:.0%}", memory])
        compared += [[label, NAMES[r["keener"]], NAMES[r["peer"]], f"{r['time']:.2f}×", f"{r['memory']:.1f}×"]
                     for r in result["ratios"]]
    parts = [table(["case B×d×N", "contender", "schedule", "ms a step", "products' share", "extra MiB"],
                   measured, markdown)]
    if compared:
        header = ["case B×d×N", "keener", "peer", "peer's time", "peer's extra memory"]
        parts.append(table(header, compared, markdown))
    if failures:
        parts.append("\n".join(["Not measured:", *(f"- {line}" for line in failures)]))
    return "\n\n".join(parts)


def machine(options):
    cpu = [s.split(":", 1)[1].strip() for s in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in s]
    versions = {line.split("==")[0]: line.split("==")[1] for line in (HERE / "requirements.txt").read_text().split()}
    return {"cpu": cpu[0] if cpu else platform.processor(), "cores": os.cpu_count(), "threads": options.threads,
            "repeats": options.repeats, "seed": options.seed, "python": platform.python_version(), **versions}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--keener", type=Path, default=HERE.parents[1] / "target/release/keener")
    parser.add_argument("--case", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--warm-up", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="3 rounds: a look, not a measurement")
    parser.add_argument("--markdown", action="store_true", help="print the tables as Markdown")
    parser.add_argument("--json", type=Path, help="write the JSON there instead of after the tables")
    options = parser.parse_args()
    options.keener = options.keener.resolve()
    if not options.keener.is_file():
        parser.error(f"there is no {options.keener}: build it with `cargo build --release`, or say --keener PATH")
    options.repeats = 3 if options.quick else options.repeats
    results = []
    for case in options.case:
        with tempfile.TemporaryDirectory(prefix="keener-peers-") as folder:
            results.append(run_case(case, options, Path(folder)))
    print(report(results, options.markdown))
    text = json.dumps({"machine": machine(options), "cases": results}, indent=1)
    if options.json:
        options.json.write_text(text + "\n")
    else:
        print("\n" + text)
    unmeasured = [k for r in results for k in SCHEDULES if "failed" in r["contenders"][k]]
    raise SystemExit(1 if unmeasured else 0)


if __name__ == "__main__":
    main()
