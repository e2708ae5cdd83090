//! Decisions that are moved after training, as a baseline under imbalance: which class wins is decided by `s_c + offset_c`.

use crate::Error;
use keener::metrics::classification::{ConfusionMatrix, argmax};

/// Multiples of the log-prior that are tried where there are more than two classes.
const MULTIPLES: usize = 16;

/// The offsets with the best macro-F1 on some rows. Two classes: any threshold on the difference of the scores, the
/// nearest to 0 of equally good ones. More: `−τ ln π_c` with the share π_c of each class among the training rows, `τ` in
/// `0, ⅛ … 2` (Menon et al., Long-tail Learning via Logit Adjustment, 2007.07314).
pub(crate) fn fit_offsets(logits: &[f64], labels: &[usize], classes: usize, train: &[u32]) -> Result<Vec<f64>, Error> {
    let score = |offsets: &[f64]| -> Result<f64, Error> {
        let predicted = argmax(&moved(logits, offsets), classes)?;
        Ok(ConfusionMatrix::new(&predicted, labels, classes)?.macro_f1())
    };
    let mut candidates = vec![vec![0.0; classes]];
    if classes == 2 {
        let mut differences: Vec<f64> = logits.chunks_exact(2).map(|s| s[1] - s[0]).collect();
        differences.sort_by(f64::total_cmp);
        let mut middles: Vec<f64> = differences.windows(2).map(|d| (d[0] + d[1]) / 2.0).collect();
        middles.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
        candidates.extend(middles.into_iter().map(|t| vec![0.0, -t]));
    } else {
        let mut counts = vec![0usize; classes];
        train.iter().for_each(|l| counts[*l as usize] += 1);
        let prior = |c: &usize| (*c as f64 / train.len() as f64).max(1e-12).ln();
        for k in 1..=MULTIPLES {
            let tau = 2.0 * k as f64 / MULTIPLES as f64;
            candidates.push(counts.iter().map(|c| -tau * prior(c)).collect());
        }
    }
    let mut best = (f64::NEG_INFINITY, candidates[0].clone());
    for offsets in candidates {
        let found = score(&offsets)?;
        if found > best.0 {
            best = (found, offsets);
        }
    }
    Ok(best.1)
}

/// Scores with the offsets of their classes.
pub(crate) fn moved(logits: &[f64], offsets: &[f64]) -> Vec<f64> {
    logits.iter().zip(offsets.iter().cycle()).map(|(s, o)| s + o).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_finds_the_rare_class() {
        // The rare class is above −2, never above 0.
        let differences = [-5.0, -4.0, -3.5, -3.0, -1.0, -0.5];
        let logits: Vec<f64> = differences.iter().flat_map(|d| [0.0, *d]).collect();
        let train = [0, 0, 0, 0, 1, 1];
        let offsets = fit_offsets(&logits, &[0, 0, 0, 0, 1, 1], 2, &train).unwrap();
        assert_eq!(offsets, [0.0, 2.0]);
        assert_eq!(argmax(&moved(&logits, &offsets), 2).unwrap(), [0, 0, 0, 0, 1, 1]);
        // Nothing to gain: nothing moves.
        let fine: Vec<f64> = [-1.0, -2.0, 1.0].iter().flat_map(|d| [0.0, *d]).collect();
        assert_eq!(fit_offsets(&fine, &[0, 0, 1], 2, &train).unwrap(), [0.0, 0.0]);
    }

    #[test]
    fn more_classes_move_by_their_log_priors() {
        let train = [vec![0; 90], vec![1; 9], vec![2; 1]].concat();
        let logits = [4.0, 0.0, 0.0, 2.0, 1.5, 0.0, 2.0, 0.0, 0.5];
        let offsets = fit_offsets(&logits, &[0, 1, 2], 3, &train).unwrap();
        assert!(offsets[0] < offsets[1] && offsets[1] < offsets[2]);
        assert_eq!(argmax(&moved(&logits, &offsets), 3).unwrap(), [0, 1, 2]);
    }
}
