//! Which rows are trained on, validated and tested.
//!
//! 40 % of the rows (stratified) are set aside for development: tuning sees them and nothing else, divided several times.
//! The repeats resample the other 60 %, so that no row that is ever tested takes part in tuning.

use super::config::{CompareConfig, Scenario, derived_seed, stream};
use super::error::CompareError;
use keener_data::{Samples, split};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// Share of the rows that tuning may see.
const DEVELOPMENT: f64 = 0.4;
/// Training and validation share of the development rows.
const DEVELOPMENT_PARTS: [f64; 2] = [0.7, 0.3];
/// Training, validation and test share of the rows of a repeat.
const REPEAT_PARTS: [f64; 3] = [0.5, 0.15, 0.35];
/// Share of the rows of trained classes that is trained on where the other classes are inserted later, and of those held out.
const HELD: [f64; 2] = [0.8, 0.2];
/// Test rows a training row under few labels: more would widen the intervals, whose correction grows with this ratio.
const FEW_TESTED: usize = 2;

/// Places of the seed's streams: repeats from 0, what else a repeat draws, and divisions for development.
const SECOND: u64 = 1 << 32;
const FOLDS: u64 = 1 << 33;

/// Rows with the labels that are seen there, classes numbered from 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labelled {
    /// Rows of the data set.
    pub rows: Vec<usize>,
    /// The label of each: the true one, or a noisy one where the scenario says so.
    pub labels: Vec<u32>,
    /// Number of classes.
    pub classes: usize,
}

/// One division of rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// To train on.
    pub train: Labelled,
    /// To choose parameters (development) or a temperature (repeats) on; in repeats of unseen classes, rows of the trained
    /// classes that are held out, to tell trained and inserted classes apart.
    pub validation: Labelled,
    /// To report; empty for development.
    pub test: Labelled,
}

/// All divisions of a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Splits {
    /// What tuning sees: several divisions of the same rows into `train` and `validation`.
    pub development: Vec<Part>,
    /// One a repeat; none of their rows is a row of `development`.
    pub repeats: Vec<Part>,
}

impl Splits {
    /// Draws all divisions of a scenario; the seed fixes them.
    ///
    /// # Errors
    /// Too few classes, or too few rows in one.
    pub fn draw(data: &Samples, scenario: Scenario, config: &CompareConfig) -> Result<Self, CompareError> {
        check(data, scenario, config)?;
        let base = derived_seed(config.seed, stream::DEVELOPMENT, scenario as u64);
        let draw = Draw { data, scenario, config };
        let (development, measured) = match scenario {
            Scenario::Imbalanced => {
                let rows = draw.imbalanced();
                let mut halves = draw.stratified(&rows, &[DEVELOPMENT, 1.0 - DEVELOPMENT], FOLDS - 1)?.into_iter();
                (halves.next().unwrap_or_default(), halves.next().unwrap_or_default())
            }
            _ => {
                let fractions = [DEVELOPMENT, 1.0 - DEVELOPMENT];
                let halves = match data.groups() {
                    Some(groups) => split::group_wise(data.labels(), groups, &fractions, base)?,
                    None => split::stratified(data.labels(), &fractions, base)?,
                };
                let mut halves = halves.into_iter();
                (halves.next().unwrap_or_default(), halves.next().unwrap_or_default())
            }
        };
        let noisy = draw.noisy(development.clone(), FOLDS)?.labels;
        let folds = (0..config.folds as u64).map(|fold| draw.fold(&development, &noisy, FOLDS + fold));
        let repeats = (0..config.repeats as u64).map(|repeat| draw.repeat(&measured, repeat));
        Ok(Self { development: folds.collect::<Result<_, _>>()?, repeats: repeats.collect::<Result<_, _>>()? })
    }

    /// The rows that tuning sees.
    pub fn development_rows(&self) -> Vec<usize> {
        self.development.iter().flat_map(|p| p.train.rows.iter().chain(&p.validation.rows)).copied().collect()
    }

    /// Whether any row of `development` is a row of a repeat.
    pub fn leaks(&self) -> bool {
        let mut seen = self.development_rows();
        seen.sort_unstable();
        let parts = self.repeats.iter().flat_map(|p| [&p.train, &p.validation, &p.test]);
        parts.flat_map(|l| &l.rows).any(|row| seen.binary_search(row).is_ok())
    }
}

fn check(data: &Samples, scenario: Scenario, config: &CompareConfig) -> Result<(), CompareError> {
    if data.groups().is_some() && !matches!(scenario, Scenario::Full | Scenario::NoisyLabels) {
        return Err(CompareError::Setting {
            name: "scenario",
            value: scenario.to_string(),
            expected: "`full` or `noisy-labels` for rows in groups: other scenarios draw single rows or whole classes"
                .into(),
        });
    }
    let counts = data.class_counts();
    let inhabited = counts.iter().filter(|c| **c > 0).count();
    let (classes, rows, hint) = match scenario {
        Scenario::Full | Scenario::NoisyLabels | Scenario::Imbalanced => (2, 12, "leave such classes out".to_string()),
        Scenario::FewLabels => {
            let per_class = config.labels_per_class;
            // Development: training and two validation rows; repeats: training, half as many to validate, one to test.
            let needed = ((per_class + 3) as f64 / DEVELOPMENT)
                .max((per_class + per_class.div_ceil(2) + 2) as f64 / (1.0 - DEVELOPMENT))
                .ceil() as usize;
            (2, needed, format!("ask for fewer than {per_class} labels a class, or leave such classes out"))
        }
        Scenario::UnseenClasses => (4, 8, "leave such classes out".to_string()),
    };
    if inhabited < classes {
        return Err(CompareError::TooFewClasses { scenario, classes: inhabited, needed: classes });
    }
    match counts.iter().position(|c| *c > 0 && *c < rows) {
        None => Ok(()),
        Some(class) => Err(CompareError::TooFewRows {
            scenario,
            class: data.class_names().get(class).cloned().unwrap_or_else(|| class.to_string()),
            rows: counts[class],
            needed: rows,
            hint,
        }),
    }
}

struct Draw<'a> {
    data: &'a Samples,
    scenario: Scenario,
    config: &'a CompareConfig,
}

impl Draw<'_> {
    fn seed(&self, what: u64, at: u64) -> u64 {
        derived_seed(derived_seed(self.config.seed, what, self.scenario as u64), 0, at)
    }

    /// Stratified parts of some rows, with whole groups where rows have groups.
    fn stratified(&self, rows: &[usize], fractions: &[f64], at: u64) -> Result<Vec<Vec<usize>>, CompareError> {
        let labels: Vec<u32> = rows.iter().map(|r| self.data.labels()[*r]).collect();
        let seed = self.seed(stream::SPLIT, at);
        let parts = match self.data.groups() {
            Some(groups) => {
                let groups: Vec<u32> = rows.iter().map(|r| groups[*r]).collect();
                split::group_wise(&labels, &groups, fractions, seed)?
            }
            None => split::stratified(&labels, fractions, seed)?,
        };
        Ok(parts.into_iter().map(|part| part.into_iter().map(|i| rows[i]).collect()).collect())
    }

    /// Rows left of every class so that sizes fall geometrically from the most frequent to the rarest class, which has
    /// 1/imbalance of its rows (Cui et al., Class-Balanced Loss Based on Effective Number of Samples, 1901.05555). Classes
    /// of equal size fall in their order, so of two the second is the rare one; none grows, and none falls below what the
    /// parts need.
    fn imbalanced(&self) -> Vec<usize> {
        const LEAST: usize = 12;
        let counts = self.data.class_counts();
        let mut order: Vec<usize> = (0..counts.len()).filter(|c| counts[*c] > 0).collect();
        order.sort_by(|a, b| counts[*b].cmp(&counts[*a]).then(a.cmp(b)));
        let most = order.first().map_or(0, |c| counts[*c]) as f64;
        let steps = (order.len().max(2) - 1) as f64;
        let mut kept = Vec::new();
        for (rank, class) in order.into_iter().enumerate() {
            let wanted = most * self.config.imbalance.powf(-(rank as f64) / steps);
            let count = (wanted.round() as usize).max(LEAST).min(counts[class]);
            let mut rows: Vec<usize> =
                (0..self.data.labels().len()).filter(|r| self.data.labels()[*r] as usize == class).collect();
            rows.shuffle(&mut ChaCha8Rng::seed_from_u64(self.seed(stream::IMBALANCE, class as u64)));
            kept.extend_from_slice(&rows[..count]);
        }
        kept.sort_unstable();
        kept
    }

    /// `k` rows a class, and the rest.
    fn few(&self, rows: &[usize], k: usize, at: u64) -> Result<(Vec<usize>, Vec<usize>), CompareError> {
        let taken = split::few_per_class(self.data.labels(), rows, k, self.seed(stream::FEW, at))?;
        let rest = rows.iter().copied().filter(|r| taken.binary_search(r).is_err()).collect();
        Ok((taken, rest))
    }

    /// At most `most` of the rows, stratified.
    fn capped(&self, rows: Vec<usize>, most: usize, at: u64) -> Result<Vec<usize>, CompareError> {
        if rows.len() <= most {
            return Ok(rows);
        }
        let share = most as f64 / rows.len() as f64;
        let labels: Vec<u32> = rows.iter().map(|r| self.data.labels()[*r]).collect();
        let parts = split::stratified(&labels, &[share, 1.0 - share], self.seed(stream::CAP, at))?;
        Ok(parts[0].iter().map(|i| rows[*i]).collect())
    }

    fn labelled(&self, rows: Vec<usize>) -> Labelled {
        let labels = rows.iter().map(|r| self.data.labels()[*r]).collect();
        Labelled { rows, labels, classes: self.data.num_classes() }
    }

    /// With the scenario's noise on the labels.
    fn noisy(&self, rows: Vec<usize>, at: u64) -> Result<Labelled, CompareError> {
        let mut labelled = self.labelled(rows);
        if self.scenario == Scenario::NoisyLabels {
            let seed = self.seed(stream::NOISE, at);
            let Self { config, .. } = self;
            let noisy = config.noise_kind.apply(&labelled.labels, labelled.classes, config.noise, seed)?;
            labelled.labels = noisy.labels;
        }
        Ok(labelled)
    }

    /// Two halves of the classes with their rows, classes renumbered in each.
    fn disjoint(&self, rows: &[usize], at: u64) -> Result<[Labelled; 2], CompareError> {
        let labels: Vec<u32> = rows.iter().map(|r| self.data.labels()[*r]).collect();
        let seed = self.seed(stream::SPLIT, at);
        let parts = split::class_disjoint(&labels, self.data.num_classes(), &[0.5, 0.5], seed)?;
        let half = |part: &Vec<usize>| self.renumbered(part.iter().map(|i| rows[*i]).collect());
        Ok([half(&parts[0]), half(&parts[1])])
    }

    fn renumbered(&self, rows: Vec<usize>) -> Labelled {
        let classes = self.classes_of(&rows);
        self.renumbered_among(rows, &classes)
    }

    fn classes_of(&self, rows: &[usize]) -> Vec<u32> {
        let mut classes: Vec<u32> = rows.iter().map(|r| self.data.labels()[*r]).collect();
        classes.sort_unstable();
        classes.dedup();
        classes
    }

    /// Labels as places in `classes`, which ascend and hold every class of the rows.
    fn renumbered_among(&self, rows: Vec<usize>, classes: &[u32]) -> Labelled {
        let place = |r: &usize| classes.partition_point(|c| *c < self.data.labels()[*r]) as u32;
        Labelled { labels: rows.iter().map(place).collect(), rows, classes: classes.len() }
    }

    /// One division of the development rows, whose labels (`noisy`, in their order) are the same in all of them.
    fn fold(&self, rows: &[usize], noisy: &[u32], at: u64) -> Result<Part, CompareError> {
        let most = self.config.most_tested;
        let (train, validation) = match self.scenario {
            Scenario::UnseenClasses => {
                let [train, other] = self.disjoint(rows, at)?;
                let validation = self.renumbered(self.capped(other.rows, most, at)?);
                return Ok(Part { train, validation, test: Labelled::default() });
            }
            Scenario::FewLabels => self.few(rows, self.config.labels_per_class, at)?,
            Scenario::Full | Scenario::NoisyLabels | Scenario::Imbalanced => {
                let mut parts = self.stratified(rows, &DEVELOPMENT_PARTS, at)?.into_iter();
                (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
            }
        };
        let validation = self.capped(validation, most, at)?;
        let [train, validation] = [train, validation].map(|part| {
            let labels = part.iter().map(|row| noisy[rows.partition_point(|r| r < row)]).collect();
            Labelled { labels, rows: part, classes: self.data.num_classes() }
        });
        Ok(Part { train, validation, test: Labelled::default() })
    }

    fn repeat(&self, rows: &[usize], at: u64) -> Result<Part, CompareError> {
        let most = self.config.most_tested;
        match self.scenario {
            Scenario::UnseenClasses => {
                let [train, test] = self.disjoint(rows, at)?;
                let test = self.renumbered(self.capped(test.rows, most, at)?);
                let mut parts = self.stratified(&train.rows, &HELD, SECOND + at)?.into_iter();
                let (train, held) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
                let held = self.capped(held, most, SECOND + at)?;
                let classes = self.classes_of(&train);
                Ok(Part { train: self.renumbered(train), validation: self.renumbered_among(held, &classes), test })
            }
            Scenario::FewLabels => {
                let per_class = self.config.labels_per_class;
                let (train, rest) = self.few(rows, per_class, at)?;
                let (validation, rest) = self.few(&rest, per_class.div_ceil(2), SECOND + at)?;
                let test = self.capped(rest, most.min(FEW_TESTED * train.len()), at)?;
                let [train, validation, test] = [train, validation, test].map(|rows| self.labelled(rows));
                Ok(Part { train, validation, test })
            }
            Scenario::Full | Scenario::NoisyLabels | Scenario::Imbalanced => {
                let mut parts = self.stratified(rows, &REPEAT_PARTS, at)?.into_iter();
                let mut next = || parts.next().unwrap_or_default();
                let (train, validation, test) = (next(), next(), next());
                Ok(Part {
                    train: self.noisy(train, at)?,
                    validation: self.noisy(validation, SECOND + at)?,
                    test: self.labelled(self.capped(test, most, at)?),
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_row_that_is_tested_is_tuned_on_and_parts_are_disjoint() {
        let data = Samples::from(keener_data::digits());
        for scenario in Scenario::ALL {
            let splits = Splits::draw(&data, scenario, &CompareConfig::default()).unwrap();
            assert!(!splits.leaks(), "{scenario}");
            for part in &splits.repeats {
                let mut rows: Vec<usize> =
                    [&part.train, &part.validation, &part.test].iter().flat_map(|l| l.rows.clone()).collect();
                let count = rows.len();
                rows.sort_unstable();
                rows.dedup();
                assert_eq!(rows.len(), count, "{scenario}");
                assert!(!part.test.rows.is_empty());
                let clean = part.test.rows.iter().zip(&part.test.labels);
                if scenario.task() == super::super::Task::Classify {
                    assert!(clean.into_iter().all(|(r, l)| data.labels()[*r] == *l), "test labels are true");
                }
            }
            assert_ne!(splits.repeats[0], splits.repeats[1]);
            assert_eq!(splits, Splits::draw(&data, scenario, &CompareConfig::default()).unwrap());
        }
    }

    #[test]
    fn noise_reaches_training_and_validation() {
        let data = Samples::from(keener_data::digits());
        let splits = Splits::draw(&data, Scenario::NoisyLabels, &CompareConfig::default()).unwrap();
        let wrong = |l: &Labelled| {
            l.rows.iter().zip(&l.labels).filter(|(r, y)| data.labels()[**r] != **y).count() as f64 / l.rows.len() as f64
        };
        for part in splits.repeats.iter() {
            assert!((wrong(&part.train) - 0.4).abs() < 0.01 && (wrong(&part.validation) - 0.4).abs() < 0.01);
        }
        // Development labels are drawn once: the divisions differ, and a row's label does not.
        let first = &splits.development[0];
        assert_ne!(first, &splits.development[1]);
        for part in &splits.development {
            let rows = part.train.rows.len() + part.validation.rows.len();
            let both = (wrong(&part.train) * part.train.rows.len() as f64
                + wrong(&part.validation) * part.validation.rows.len() as f64)
                / rows as f64;
            assert!((both - 0.4).abs() < 0.01, "{both}");
        }
        let more = CompareConfig { repeats: 3, ..CompareConfig::default() };
        let fewer = Splits::draw(&data, Scenario::NoisyLabels, &more).unwrap();
        assert_eq!(fewer.development, splits.development, "tuning does not depend on the number of repeats");
        assert_eq!(fewer.repeats[..], splits.repeats[..3]);
    }

    #[test]
    fn unseen_classes_are_unseen() {
        let data = Samples::from(keener_data::digits());
        let splits = Splits::draw(&data, Scenario::UnseenClasses, &CompareConfig::default()).unwrap();
        for part in &splits.repeats {
            let classes =
                |l: &Labelled| l.rows.iter().map(|r| data.labels()[*r]).collect::<std::collections::BTreeSet<_>>();
            assert!(classes(&part.train).is_disjoint(&classes(&part.test)));
            assert_eq!((part.train.classes, part.test.classes), (5, 5));
            assert!(part.train.labels.iter().all(|l| *l < 5));
        }
    }

    #[test]
    fn imbalance_leaves_the_wanted_share_in_every_part() {
        let data = Samples::from(keener_data::digits());
        let splits = Splits::draw(&data, Scenario::Imbalanced, &CompareConfig::default()).unwrap();
        for part in splits.repeats.iter().flat_map(|p| [&p.train, &p.test]) {
            let mut counts = [0usize; 10];
            part.labels.iter().for_each(|l| counts[*l as usize] += 1);
            let (most, least) = (counts.iter().max().unwrap(), counts.iter().min().unwrap());
            let ratio = *most as f64 / *least as f64;
            assert!((7.0..14.0).contains(&ratio), "{counts:?}");
        }
        let even = CompareConfig { imbalance: 1.0, ..CompareConfig::default() };
        let all = Splits::draw(&data, Scenario::Imbalanced, &even).unwrap();
        let rows = |s: &Splits| s.repeats[0].train.rows.len();
        assert!(rows(&all) > 2 * rows(&splits));
    }

    #[test]
    fn groups_are_never_on_two_sides() {
        let digits = keener_data::digits();
        let groups: Vec<u32> = (0..digits.rows() as u32).map(|row| row / 7).collect();
        let data = Samples::from(digits).with_groups(groups.clone()).unwrap();
        let splits = Splits::draw(&data, Scenario::NoisyLabels, &CompareConfig::default()).unwrap();
        let of = |rows: &[usize]| rows.iter().map(|r| groups[*r]).collect::<std::collections::BTreeSet<_>>();
        for part in splits.repeats.iter().chain(&splits.development) {
            let [train, validation, test] = [&part.train, &part.validation, &part.test].map(|l| of(&l.rows));
            assert!(train.is_disjoint(&validation) && train.is_disjoint(&test) && validation.is_disjoint(&test));
        }
        let measured: Vec<usize> =
            splits.repeats.iter().flat_map(|p| p.train.rows.iter().chain(&p.test.rows)).copied().collect();
        assert!(of(&splits.development_rows()).is_disjoint(&of(&measured)));
        let error = Splits::draw(&data, Scenario::FewLabels, &CompareConfig::default()).unwrap_err().to_string();
        assert!(error.contains("rows in groups"), "{error}");
    }

    #[test]
    fn rare_classes_are_refused_by_name() {
        let features = vec![0.0; 40];
        let mut labels = vec![0; 40];
        labels[..5].fill(1);
        let data =
            keener_data::Dataset::new("tiny", features, 1, labels, vec!["many".into(), "rare".into()]).unwrap().into();
        let error = Splits::draw(&data, Scenario::Full, &CompareConfig::default()).unwrap_err().to_string();
        assert!(error.contains("`rare` has 5 rows") && error.contains("at least 12"), "{error}");
        let error = Splits::draw(&data, Scenario::UnseenClasses, &CompareConfig::default()).unwrap_err().to_string();
        assert!(error.contains("2 classes"), "{error}");
    }
}
