//! Bags: rows whose responses are known together only, from files or at random.
//!
//! | file | holds |
//! |---|---|
//! | bags | one bag id a line, in the order of the rows; a first line `bag` is a heading |
//! | responses | a table with the column `bag` and one column a class: the share of the class in the bag (or what stands for it, such as a share with noise for privacy) |

use crate::error::DataError;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use std::collections::HashMap;
use std::path::Path;

/// The bag of each of some rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bags {
    /// `[n]`, numbered from 0 in the order in which they come.
    pub of_rows: Vec<u32>,
    /// Name of each bag.
    pub names: Vec<String>,
}

impl Bags {
    /// From the name of each row's bag.
    pub fn named<S: AsRef<str>>(of_rows: &[S]) -> Self {
        let numbers = crate::split::numbered(of_rows);
        let mut names: Vec<String> = Vec::new();
        for (row, bag) in of_rows.iter().zip(&numbers) {
            if *bag as usize == names.len() {
                names.push(row.as_ref().to_string());
            }
        }
        Self { of_rows: numbers, names }
    }

    /// Random bags of `size` rows; rows that are left over join the last one.
    ///
    /// # Errors
    /// [`DataError::Parameter`] for a size of 0.
    pub fn random(rows: usize, size: usize, seed: u64) -> Result<Self, DataError> {
        if size == 0 {
            let (place, name) = ("bags", "size".to_string());
            return Err(DataError::Parameter { place, name, value: "0".into(), expected: "at least 1".into() });
        }
        let count = (rows / size).max(usize::from(rows > 0));
        let mut order: Vec<usize> = (0..rows).collect();
        order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        let mut of_rows = vec![0; rows];
        for (place, row) in order.into_iter().enumerate() {
            of_rows[row] = (place / size).min(count - 1) as u32;
        }
        Ok(Self { of_rows, names: (0..count).map(|bag| bag.to_string()).collect() })
    }

    /// Reads one bag id a line.
    ///
    /// # Errors
    /// [`DataError::Io`]; [`DataError::Malformed`] for an empty line between others.
    pub fn read(path: &Path) -> Result<Self, DataError> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|source| DataError::Io { file: file.clone(), source })?;
        let mut lines: Vec<&str> = text.trim_end().lines().map(str::trim).collect();
        if lines.first() == Some(&"bag") {
            lines.remove(0);
        }
        match lines.iter().position(|line| line.is_empty()) {
            Some(row) => Err(DataError::Malformed {
                file,
                at: format!("row {row}"),
                found: "an empty line".into(),
                expected: "the id of a bag".into(),
            }),
            None => Ok(Self::named(&lines)),
        }
    }

    /// Number of bags.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Some of the rows, bags numbered anew; also the old number of each bag.
    pub fn select(&self, rows: &[usize]) -> Self {
        let names: Vec<&str> = rows.iter().map(|row| self.names[self.of_rows[*row] as usize].as_str()).collect();
        Self::named(&names)
    }

    /// Shares of the classes in each bag `[M, classes]`.
    pub fn shares(&self, labels: &[u32], classes: usize) -> Vec<f32> {
        let (mut shares, mut sizes) = (vec![0.0f32; self.len() * classes], vec![0.0f32; self.len()]);
        for (bag, label) in self.of_rows.iter().zip(labels) {
            shares[*bag as usize * classes + *label as usize] += 1.0;
            sizes[*bag as usize] += 1.0;
        }
        for (share, size) in shares.chunks_exact_mut(classes.max(1)).zip(&sizes) {
            share.iter_mut().for_each(|s| *s /= size);
        }
        shares
    }

    /// Reads responses `[M, classes]` of these bags from a table with the column `bag` and one a class, in any order.
    ///
    /// # Errors
    /// [`DataError::Io`]; [`DataError::Malformed`] for missing columns, bags that are missing or named twice, and cells that
    /// are no finite numbers.
    pub fn read_responses(&self, path: &Path, class_names: &[String]) -> Result<Vec<f32>, DataError> {
        let file = path.display().to_string();
        let wrong = |at: String, found: String, expected: String| DataError::Malformed {
            file: file.clone(),
            at,
            found,
            expected,
        };
        let text = std::fs::read_to_string(path).map_err(|source| DataError::Io { file: file.clone(), source })?;
        let mut table = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
        let unreadable = |e: csv::Error| wrong("the table".into(), e.to_string(), "comma-separated values".into());
        let heads: Vec<String> = table.headers().map_err(unreadable)?.iter().map(String::from).collect();
        let column = |name: &str| {
            let found = heads.iter().position(|head| head == name);
            found.ok_or_else(|| wrong("the first line".into(), heads.join(", "), format!("a column `{name}`")))
        };
        let bag = column("bag")?;
        let columns = class_names.iter().map(|name| column(name)).collect::<Result<Vec<usize>, _>>()?;
        let place: HashMap<&str, usize> = self.names.iter().enumerate().map(|(k, name)| (name.as_str(), k)).collect();
        let mut responses = vec![f32::NAN; self.len() * columns.len()];
        for (line, record) in table.records().enumerate() {
            let record = record.map_err(unreadable)?;
            let at = |k: usize| record.get(k).unwrap_or_default();
            // Bags of other rows are of no concern.
            let Some(row) = place.get(at(bag)).copied() else { continue };
            if responses[row * columns.len()..].first().is_some_and(|r| !r.is_nan()) {
                return Err(wrong(
                    format!("line {}", line + 2),
                    format!("bag {} again", at(bag)),
                    "each bag once".into(),
                ));
            }
            for (k, column) in columns.iter().enumerate() {
                let value: Option<f32> = at(*column).parse().ok().filter(|v: &f32| v.is_finite());
                responses[row * columns.len() + k] = value.ok_or_else(|| {
                    wrong(
                        format!("line {}, column {}", line + 2, heads[*column]),
                        format!("{:?}", at(*column)),
                        "a finite number".into(),
                    )
                })?;
            }
        }
        match responses.iter().position(|r| r.is_nan()) {
            None => Ok(responses),
            Some(at) => {
                let name = &self.names[at / columns.len()];
                Err(wrong("the column bag".into(), format!("no bag {name}"), "every bag of the rows".into()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn bags_are_read_numbered_and_selected() {
        let bags = Bags::read(file("bag\nx\ny\nx\nz\n").path()).unwrap();
        assert_eq!((&bags.of_rows[..], bags.len()), (&[0, 1, 0, 2][..], 3));
        assert_eq!(bags.select(&[3, 0]), Bags { of_rows: vec![0, 1], names: vec!["z".into(), "x".into()] });
        assert_eq!(bags.shares(&[1, 0, 0, 1], 2), [0.5, 0.5, 1.0, 0.0, 0.0, 1.0]);
        assert!(Bags::read(file("x\n\ny").path()).unwrap_err().to_string().contains("row 1"));
    }

    #[test]
    fn random_bags_have_their_size_and_a_seed_fixes_them() {
        let bags = Bags::random(19, 4, 7).unwrap();
        let count = |bag: u32| bags.of_rows.iter().filter(|b| **b == bag).count();
        assert_eq!((0..4).map(count).collect::<Vec<_>>(), [4, 4, 4, 7]);
        assert_eq!(bags, Bags::random(19, 4, 7).unwrap());
        assert_ne!(bags, Bags::random(19, 4, 8).unwrap());
        assert_eq!(Bags::random(2, 5, 0).unwrap().len(), 1);
        assert!(Bags::random(2, 0, 0).unwrap_err().to_string().contains("size = 0"));
    }

    #[test]
    fn responses_are_found_by_name() {
        let bags = Bags::named(&["x", "y", "x"]);
        let names = ["no".to_string(), "yes".to_string()];
        let good = file("yes,bag,no\n0.25, y ,0.75\n1,x,0\n0.5,other,0.5\n");
        assert_eq!(bags.read_responses(good.path(), &names).unwrap(), [0.0, 1.0, 0.75, 0.25]);
        let message = |text: &str| bags.read_responses(file(text).path(), &names).unwrap_err().to_string();
        assert!(message("bag,no\nx,1\n").contains("a column `yes`"));
        assert!(message("bag,no,yes\nx,0,1\n").contains("no bag y"));
        assert!(message("bag,no,yes\nx,0,1\nx,0,1\ny,1,0\n").contains("bag x again"));
        assert!(message("bag,no,yes\nx,0,much\ny,1,0\n").contains("line 2, column yes"));
    }
}
