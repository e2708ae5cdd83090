//! Heads and checkpoints as safetensors files, written atomically.

use crate::error::{Error, Result};
use crate::head::{Head, HeadConfig};
use burn::tensor::Device;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// Named numbers with a shape, and one JSON header.
pub(crate) type Named = Vec<(String, Vec<usize>, Vec<f32>)>;

/// Writes tensors of `f32` with a header under `key`.
pub(crate) fn write<H: Serialize>(path: &Path, key: &str, header: &H, named: &Named) -> Result<()> {
    let unwritable = |reason: String| Error::format(path, reason);
    let bytes: Vec<(&String, &Vec<usize>, Vec<u8>)> = named
        .iter()
        .map(|(name, shape, values)| (name, shape, values.iter().flat_map(|v| v.to_le_bytes()).collect()))
        .collect();
    let mut views = Vec::with_capacity(named.len());
    for (name, shape, bytes) in &bytes {
        let view = TensorView::new(Dtype::F32, shape.to_vec(), bytes).map_err(|e| unwritable(e.to_string()))?;
        views.push((name.as_str(), view));
    }
    let header = serde_json::to_string(header).map_err(|e| unwritable(e.to_string()))?;
    let metadata = HashMap::from([(key.to_string(), header)]);
    let file = safetensors::serialize(views, Some(metadata)).map_err(|e| unwritable(e.to_string()))?;
    keener_run::replace(path, &file).map_err(|e| Error::io(path, e))
}

/// Reads what [`write`] wrote.
pub(crate) fn read<H: DeserializeOwned>(path: &Path, key: &str) -> Result<(H, BTreeMap<String, Vec<f32>>)> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    let broken = |reason: String| Error::format(path, reason);
    let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(|e| broken(e.to_string()))?;
    let header = metadata.metadata().as_ref().and_then(|m| m.get(key));
    let header = header.ok_or_else(|| broken(format!("not written by keener: no `{key}` in its header")))?;
    let header = serde_json::from_str(header).map_err(|e| broken(format!("its header: {e}")))?;
    let mut named = BTreeMap::new();
    for (name, view) in SafeTensors::deserialize(&bytes).map_err(|e| broken(e.to_string()))?.tensors() {
        if view.dtype() != Dtype::F32 {
            return Err(broken(format!("{name} holds {:?}, expected F32", view.dtype())));
        }
        let values = view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        named.insert(name, values);
    }
    Ok((header, named))
}

/// What it takes to make a head again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct HeadShape {
    config: HeadConfig,
    dim: usize,
    classes: usize,
    parameters: usize,
}

impl HeadShape {
    pub(crate) fn of(head: &Head) -> Self {
        Self {
            config: head.config().clone(),
            dim: head.dim(),
            classes: head.num_classes(),
            parameters: head.learned().map_or(0, |p| p.dims()[0]),
        }
    }

    /// A head of this shape with the tensors `prefix…` of `named`, which are used up.
    pub(crate) fn build(
        &self,
        prefix: &str,
        named: &mut BTreeMap<String, Vec<f32>>,
        path: &Path,
        device: &Device,
    ) -> Result<Head> {
        let mut head = self.config.init(self.dim, self.classes, &vec![0.0; self.parameters], 0, device)?;
        head.replace(|name, shape, values| {
            let name = format!("{prefix}{name}");
            let found = named.remove(&name).ok_or_else(|| Error::format(path, format!("no tensor `{name}`")))?;
            if found.len() != values.len() {
                let reason = format!("`{name}` holds {} numbers, expected {shape:?}", found.len());
                return Err(Error::format(path, reason));
            }
            Ok(found)
        })?;
        Ok(head)
    }
}

const HEAD: &str = "keener_head";

impl Head {
    /// Writes the head as safetensors: `layers.K.weight`, `layers.K.bias`, `classes.weight`, `classes.bias`,
    /// `objective.parameters`; its configuration is in the header.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn save(&self, path: &Path) -> Result<()> {
        write(path, HEAD, &HeadShape::of(self), &self.named_parameters()?)
    }

    /// Reads a head that [`Head::save`] wrote.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Format`] for files that hold something else.
    pub fn load(path: &Path, device: &Device) -> Result<Self> {
        let (shape, mut named) = read::<HeadShape>(path, HEAD)?;
        shape.build("", &mut named, path, device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_come_back_bit_for_bit_and_foreign_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let device = Device::flex();
        for config in [HeadConfig::linear(), HeadConfig::cosine(), HeadConfig::projection()] {
            let path = folder.path().join("model.safetensors");
            let head = config.init(5, 3, &[0.25], 11, &device).unwrap();
            head.save(&path).unwrap();
            let back = Head::load(&path, &device.clone().autodiff()).unwrap();
            assert_eq!(back.named_parameters().unwrap(), head.named_parameters().unwrap());
            assert_eq!(back.config(), &config);
            assert!(back.learned().unwrap().is_require_grad());
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file stays behind");
        let path = folder.path().join("other");
        std::fs::write(&path, b"something else entirely").unwrap();
        assert!(matches!(Head::load(&path, &device), Err(Error::Format { .. })));
        assert!(matches!(Head::load(&folder.path().join("absent"), &device), Err(Error::Io { .. })));
        let head = HeadConfig::linear().init(2, 2, &[], 1, &device).unwrap();
        let unwritable = folder.path().join("no/such/folder");
        assert!(matches!(head.save(&unwritable), Err(Error::Io { .. })));
    }

    #[test]
    fn a_missing_tensor_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let device = Device::flex();
        let head = HeadConfig::linear().init(2, 2, &[], 1, &device).unwrap();
        let mut named = head.named_parameters().unwrap();
        named.remove(0);
        write(&path, HEAD, &HeadShape::of(&head), &named).unwrap();
        let message = Head::load(&path, &device).unwrap_err().to_string();
        assert!(message.contains("no tensor `classes.weight`"), "{message}");
    }
}
