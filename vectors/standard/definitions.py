"""The losses, written out once each: (parameters, tensors) -> (loss, row losses or None)."""

import math

import torch
import torch.nn.functional as F


def unit(x):
    return x / x.norm(dim=1, keepdim=True)


def cosines(a, b):
    return unit(a) @ unit(b).T


def euclidean(embeddings):
    """Distances of the normalised rows; the derivative at distance zero is taken as zero."""
    x = unit(embeddings)
    squared = ((x[:, None] - x[None]) ** 2).sum(-1)
    apart = squared > 0
    return torch.where(apart, torch.where(apart, squared, 1.0).sqrt(), 0.0)


def pair_masks(labels):
    same = labels[:, None] == labels[None]
    return same & ~torch.eye(len(labels), dtype=bool), ~same


def hard_rows(scores, targets):
    return scores.logsumexp(1) - scores.gather(1, targets[:, None])[:, 0]


def mean_of(values, like):
    """Mean, and zero (with zero gradient) where there is nothing to average."""
    return values.mean() if values.numel() else (like * 0).sum()


def softmax_cross_entropy(p, x):
    scores = x["scores"] if "scores" in x else x["embeddings"] @ x["weights"].T + x["bias"]
    e, n = p["label_smoothing"], scores.shape[1]
    w = x.get("class_weights", torch.ones(n))
    negative_log = scores.logsumexp(1, keepdim=True) - scores
    if "soft_targets" in x:
        row = ((x["soft_targets"] * (1 - e) + e / n) * w * negative_log).sum(1)
        return row.mean(), row
    kept = x["targets"] != p["ignore_index"]
    t = torch.where(kept, x["targets"], 0)
    nll = w[t] * negative_log.gather(1, t[:, None])[:, 0]
    row = kept * ((1 - e) * nll + e / n * (w * negative_log).sum(1))
    return row.sum() / (kept * w[t]).sum(), row


def binary_cross_entropy(p, x):
    y = x["positives"] * (1 - p["label_smoothing"]) + p["label_smoothing"] / 2
    w = x.get("pos_weight", torch.ones(y.shape[1]))
    row = (w * y * F.softplus(-x["scores"]) + (1 - y) * F.softplus(x["scores"])).mean(1)
    return row.mean(), row


def focal(p, x):
    scores, target = x["scores"], F.one_hot(x["targets"], x["scores"].shape[1]).bool()
    rest = scores.masked_fill(target, -math.inf).logsumexp(1)
    log_p = -F.softplus(rest - scores[target])
    log_not_p = -F.softplus(scores[target] - rest)
    row = -p["alpha"] * (p["gamma"] * log_not_p).exp() * log_p
    return row.mean(), row


def on_targets(x, shape_target, scale):
    """Cross-entropy of scaled cosines whose target entries went through shape_target."""
    cos, target = cosines(x["embeddings"], x["weights"]), F.one_hot(x["targets"], len(x["weights"])).bool()
    shaped = torch.where(target, shape_target(cos), cos)
    return hard_rows(scale * shaped, x["targets"]).mean(), None


def normalized_softmax(p, x):
    return on_targets(x, lambda cos: cos, p["scale"])


def cosface(p, x):
    return on_targets(x, lambda cos: cos - p["margin"], p["scale"])


def arcface(p, x):
    m = p["margin"]

    def shape_target(cos):
        clamped = cos.clamp(-1 + 1e-7, 1 - 1e-7)
        theta = clamped.acos()
        return torch.where(theta > math.pi - m, clamped - m * math.sin(m), (theta + m).cos())

    return on_targets(x, shape_target, p["scale"])


def info_nce_rows(p, x):
    scores = cosines(x["queries"], x["candidates"]) / x["log_temperature"].exp()
    targets = x.get("targets", torch.arange(len(scores)))
    if "query_ids" in x:
        left_out = x["query_ids"][:, None] == x["candidate_ids"][None]
        left_out = left_out & ~F.one_hot(targets, scores.shape[1]).bool()
        scores = scores.masked_fill(left_out, -math.inf)
    return scores, targets


def info_nce(p, x):
    row = hard_rows(*info_nce_rows(p, x))
    return row.mean(), row


def symmetric_info_nce(p, x):
    scores, targets = info_nce_rows(p, x)
    return (hard_rows(scores, targets).mean() + hard_rows(scores.T, targets).mean()) / 2, None


def nt_xent(p, x):
    if p["variant"] == "simclr":
        embeddings, b = torch.cat([x["view_a"], x["view_b"]]), len(x["view_a"])
        labels = torch.arange(2 * b) % b
    else:
        embeddings, labels = x["embeddings"], x["labels"]
    scores = cosines(embeddings, embeddings) / p["temperature"]
    positive, negative = pair_masks(labels)
    if not negative.any():
        return (embeddings * 0).sum(), None
    rest = scores.masked_fill(~negative, -math.inf).logsumexp(1)
    a, i = positive.nonzero(as_tuple=True)
    return mean_of(F.softplus(rest[a] - scores[a, i]), embeddings), None


def supervised_contrastive(p, x):
    scores = cosines(x["embeddings"], x["embeddings"]) / p["temperature"]
    positive, negative = pair_masks(x["labels"])
    rows = positive.any(1)
    total = scores.masked_fill(~(positive | negative), -math.inf)[rows].logsumexp(1)
    mean_positive = (scores * positive)[rows].sum(1) / positive[rows].sum(1)
    return mean_of(total - mean_positive, x["embeddings"]), None


def siglip(p, x):
    scores = x["log_scale"].exp() * cosines(x["queries"], x["candidates"]) + x["bias"]
    sign = 2 * torch.eye(len(scores)) - 1
    return F.softplus(-sign * scores).sum() / len(scores), None


def triplets(p, distance, labels):
    """Index triplets by the definition, one anchor at a time; among equals the lowest index."""
    d, y, found = distance.detach().numpy(), labels.numpy(), []
    for a in range(len(y)):
        pos = [i for i in range(len(y)) if y[i] == y[a] and i != a]
        neg = [i for i in range(len(y)) if y[i] != y[a]]
        if p["mining"] == "all":
            found += [(a, i, j) for i in pos for j in neg]
        elif p["mining"] == "batch_hard" and pos and neg:
            found.append((a, max(pos, key=lambda i: d[a, i]), min(neg, key=lambda j: d[a, j])))
        elif p["mining"] == "semi_hard":
            for i in pos:
                window = [j for j in neg if d[a, i] < d[a, j] < d[a, i] + p["margin"]]
                if window:
                    found.append((a, i, min(window, key=lambda j: d[a, j])))
    return torch.tensor(found, dtype=torch.long).reshape(-1, 3).T


def triplet(p, x):
    distance = euclidean(x["embeddings"])
    a, i, j = triplets(p, distance, x["labels"])
    hinge = F.relu(distance[a, i] - distance[a, j] + p["margin"])
    return mean_of(hinge[hinge > 0] if p["mining"] == "all" else hinge, x["embeddings"]), None


def contrastive_pairs(p, x):
    distance, (positive, negative) = euclidean(x["embeddings"]), pair_masks(x["labels"])
    pull = F.relu(distance[positive] - p["pos_margin"])
    push = F.relu(p["neg_margin"] - distance[negative])
    return mean_of(pull[pull > 0], x["embeddings"]) + mean_of(push[push > 0], x["embeddings"]), None


def one_plus_sum_exp(values, mask, dim):
    zero = torch.zeros_like(values.select(dim, 0)).unsqueeze(dim)
    return torch.cat([values.masked_fill(~mask, -math.inf), zero], dim).logsumexp(dim)


def multi_similarity(p, x):
    cos, (positive, negative) = cosines(x["embeddings"], x["embeddings"]), pair_masks(x["labels"])
    if p["epsilon"] is not None:
        hardest_negative = cos.masked_fill(~negative, -math.inf).amax(1, keepdim=True)
        hardest_positive = cos.masked_fill(~positive, math.inf).amin(1, keepdim=True)
        positive = positive & (cos - p["epsilon"] < hardest_negative)
        negative = negative & (cos + p["epsilon"] > hardest_positive)
    pull = one_plus_sum_exp(-p["alpha"] * (cos - p["base"]), positive, 1) / p["alpha"]
    push = one_plus_sum_exp(p["beta"] * (cos - p["base"]), negative, 1) / p["beta"]
    return (pull + push).mean(), None


def proxy_anchor(p, x):
    cos, positive = cosines(x["embeddings"], x["weights"]), F.one_hot(x["targets"], len(x["weights"])).bool()
    pull = one_plus_sum_exp(-p["alpha"] * (cos - p["margin"]), positive, 0)
    push = one_plus_sum_exp(p["alpha"] * (cos + p["margin"]), ~positive, 0)
    return pull.sum() / positive.any(0).sum() + push.mean(), None
