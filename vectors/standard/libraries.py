"""The same losses as PyTorch and pytorch-metric-learning (pml) compute them, and the table of ops.

A peer takes (parameters, tensors) and returns the loss, or None where the library means something else by design.
"""

import math
from dataclasses import dataclass, field
from typing import Callable

import definitions as ours
import torch
import torch.nn.functional as F
from pytorch_metric_learning import distances, losses, miners, reducers

TORCH = "PyTorch " + torch.__version__.split("+")[0]
PML = "pytorch-metric-learning 2.9.0"


def torch_cross_entropy(p, x):
    scores = x["scores"] if "scores" in x else F.linear(x["embeddings"], x["weights"], x["bias"])
    target = x.get("soft_targets", x.get("targets"))
    return tuple(F.cross_entropy(scores, target, x.get("class_weights"), ignore_index=p["ignore_index"],
                                 label_smoothing=p["label_smoothing"], reduction=r) for r in ("mean", "none"))


def torch_binary(p, x):
    y = x["positives"] * (1 - p["label_smoothing"]) + p["label_smoothing"] / 2
    element = F.binary_cross_entropy_with_logits(x["scores"], y, pos_weight=x.get("pos_weight"), reduction="none")
    return element.mean(), element.mean(1)


def torch_focal(p, x):
    if x["scores"].abs().max() > 100:
        return None  # the textbook form below loses 1 - p there
    picked = F.softmax(x["scores"], 1).gather(1, x["targets"][:, None])[:, 0]
    return (p["alpha"] * (1 - picked) ** p["gamma"] * -picked.log()).mean()


def torch_info_nce(p, x):
    scores, targets = ours.info_nce_rows(p, x)
    forward = F.cross_entropy(scores, targets)
    return forward if p["op"] == "info_nce" else (forward + F.cross_entropy(scores.T, targets)) / 2


def torch_siglip(p, x):
    scores = x["log_scale"].exp() * F.normalize(x["queries"]) @ F.normalize(x["candidates"]).T + x["bias"]
    return F.binary_cross_entropy_with_logits(scores, torch.eye(len(scores)), reduction="sum") / len(scores)


def with_weights(loss, name, value, *data):
    """Calls a pml classification loss with our tensor in place of its parameter."""
    del loss._parameters[name]
    setattr(loss, name, value)
    loss.cast_types = lambda *_: None
    return loss(*data)


def pml_classifier(make):
    def peer(p, x):
        return with_weights(make(p, *x["weights"].shape), "W", x["weights"].T, x["embeddings"], x["targets"])
    return peer


def pml_arcface(p, x):
    cos = ours.cosines(x["embeddings"], x["weights"]).detach().gather(1, x["targets"][:, None])
    if cos.abs().max() > 1 - 1e-7:
        return None  # pml clamps at 1, where the derivative of acos is infinite
    return pml_classifier(lambda p, n, d: losses.ArcFaceLoss(
        n, d, margin=math.degrees(p["margin"]), scale=p["scale"]))(p, x)


def pml_proxy_anchor(p, x):
    loss = losses.ProxyAnchorLoss(*x["weights"].shape, margin=p["margin"], alpha=p["alpha"])
    return with_weights(loss, "proxies", x["weights"], x["embeddings"], x["targets"])


def pml_nt_xent(p, x):
    loss = losses.NTXentLoss(temperature=p["temperature"])
    if p["variant"] == "pml":
        return loss(x["embeddings"], x["labels"])
    return loss(torch.cat([x["view_a"], x["view_b"]]), torch.arange(len(x["view_a"])).repeat(2))


def pml_triplet(p, x):
    if p["mining"] == "all":
        return losses.TripletMarginLoss(margin=p["margin"])(x["embeddings"], x["labels"])
    distance = distances.LpDistance()
    if p["mining"] == "batch_hard":
        mined = miners.BatchHardMiner(distance=distance)(x["embeddings"], x["labels"])
    else:
        miner = miners.TripletMarginMiner(p["margin"], type_of_triplets="semihard", distance=distance)
        mined = nearest_negative(miner(x["embeddings"], x["labels"]), distance(x["embeddings"]).tolist())
    if not len(mined[0]):
        return (x["embeddings"] * 0).sum()
    return losses.TripletMarginLoss(margin=p["margin"], reducer=reducers.MeanReducer())(
        x["embeddings"], x["labels"], mined)


def nearest_negative(mined, distance):
    """Of pml's semi-hard triplets, the one with the nearest negative for each anchor and positive."""
    ranked = sorted((a, p, distance[a][n], n) for a, p, n in zip(*(column.tolist() for column in mined)))
    first = [t for t, before in zip(ranked, [None, *ranked]) if before is None or t[:2] != before[:2]]
    return tuple(torch.tensor([t[k] for t in first], dtype=torch.long) for k in (0, 1, 3))


def pml_multi_similarity(p, x):
    loss = losses.MultiSimilarityLoss(p["alpha"], p["beta"], p["base"])
    miner = miners.MultiSimilarityMiner(epsilon=p["epsilon"]) if p["epsilon"] is not None else None
    mined = miner(x["embeddings"], x["labels"]) if miner else None
    return loss(x["embeddings"], x["labels"], mined)


@dataclass
class Op:
    define: Callable
    peer: Callable
    peer_name: str
    defaults: dict
    learned: dict = field(default_factory=dict)  # scalars that get a gradient: name -> value from the parameters
    alone: str = "no library computes this case, so it rests on the definition"


LOG_T = {"log_temperature": lambda p: math.log(p["temperature"])}
OPS = {
    "softmax_cross_entropy": Op(ours.softmax_cross_entropy, torch_cross_entropy, f"{TORCH} cross_entropy",
                                {"label_smoothing": 0.0, "ignore_index": -100}),
    "binary_cross_entropy": Op(ours.binary_cross_entropy, torch_binary, f"{TORCH} binary_cross_entropy_with_logits",
                               {"label_smoothing": 0.0}),
    "focal": Op(ours.focal, torch_focal, "the textbook form alpha (1-p)^gamma (-log p) on softmax probabilities",
                {"gamma": 2.0, "alpha": 1.0},
                alone="the textbook form loses 1 - p at such scores, so the case rests on the definition in log space"),
    "normalized_softmax": Op(ours.normalized_softmax, pml_classifier(lambda p, n, d: losses.NormalizedSoftmaxLoss(
        n, d, temperature=1 / p["scale"])), f"{PML} NormalizedSoftmaxLoss(temperature=1/scale)", {"scale": 20.0}),
    "cosface": Op(ours.cosface, pml_classifier(lambda p, n, d: losses.CosFaceLoss(
        n, d, margin=p["margin"], scale=p["scale"])), f"{PML} CosFaceLoss", {"scale": 64.0, "margin": 0.35}),
    "arcface": Op(ours.arcface, pml_arcface, f"{PML} ArcFaceLoss(margin in degrees)", {"scale": 64.0, "margin": 0.5},
                  alone="on the row that lies on its class, pml's derivative is infinite and ours clamps the cosine to "
                        "1 - 1e-7, so the case rests on the definition"),
    "info_nce": Op(ours.info_nce, torch_info_nce, f"{TORCH} cross_entropy of the scaled cosines",
                   {"temperature": 0.07}, LOG_T),
    "symmetric_info_nce": Op(ours.symmetric_info_nce, torch_info_nce, f"{TORCH} cross_entropy both ways",
                             {"temperature": 0.07}, LOG_T),
    "nt_xent": Op(ours.nt_xent, pml_nt_xent, f"{PML} NTXentLoss", {"temperature": 0.5, "variant": "simclr"}),
    "supervised_contrastive": Op(ours.supervised_contrastive, lambda p, x: losses.SupConLoss(
        temperature=p["temperature"])(x["embeddings"], x["labels"]), f"{PML} SupConLoss", {"temperature": 0.1}),
    "siglip": Op(ours.siglip, torch_siglip, f"{TORCH} binary_cross_entropy_with_logits(reduction=sum) / B",
                 {"log_scale": math.log(10.0), "bias": -10.0},
                 {"log_scale": lambda p: p["log_scale"], "bias": lambda p: p["bias"]}),
    "triplet": Op(ours.triplet, pml_triplet, f"{PML} TripletMarginLoss with its miner",
                  {"margin": 0.2, "mining": "batch_hard"}),
    "contrastive_pairs": Op(ours.contrastive_pairs, lambda p, x: losses.ContrastiveLoss(
        p["pos_margin"], p["neg_margin"])(x["embeddings"], x["labels"]), f"{PML} ContrastiveLoss",
                            {"pos_margin": 0.0, "neg_margin": 1.0}),
    "multi_similarity": Op(ours.multi_similarity, pml_multi_similarity,
                           f"{PML} MultiSimilarityLoss and MultiSimilarityMiner",
                           {"alpha": 2.0, "beta": 50.0, "base": 0.5, "epsilon": None}),
    "proxy_anchor": Op(ours.proxy_anchor, pml_proxy_anchor, f"{PML} ProxyAnchorLoss", {"margin": 0.1, "alpha": 32.0}),
}
