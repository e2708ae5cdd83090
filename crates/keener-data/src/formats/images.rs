//! Images, PNG and JPEG: a folder with one folder a class, a folder of unlabelled images, or a single image.
//!
//! An image is a row of its pixels, row-major with the channels last, `[height · width · channels]`, scaled to 0..=1:
//! three channels (RGB), or one (luminance) if all are gray or gray is asked for; transparency is left out. All images
//! have one size, or are brought to the one that is asked for. Files are taken in the order of their names; those that are
//! no images by their name are passed over.

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Seek};
use std::path::{Path, PathBuf};

use image::imageops::FilterType;
use image::metadata::Orientation;
use image::{ColorType, DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};
use rayon::prelude::*;
use walkdir::WalkDir;

use crate::dataset::Matrix;
use crate::error::DataError;
use crate::formats::columnar::broken;
use crate::formats::contain::{check_allowance, contained};
use crate::formats::{Input, Table, Want};
use crate::labels::RawLabels;
use crate::options::{Part, ReadOptions};

/// Pixels of an image at most; decoded in 16 bits and four channels they take 512 MiB.
const MAX_PIXELS: u64 = 1 << 26;

const VALID: &str = "a complete PNG or JPEG image";

/// Whether the first bytes are those of an image.
pub(super) fn has_magic(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x89PNG\r\n\x1a\n") || bytes.starts_with(b"\xff\xd8\xff")
}

/// Reads a single image as one unlabelled row.
pub(super) fn read(input: &Input<'_>, want: Want, options: &ReadOptions) -> Result<Table, DataError> {
    if want != Want::Features {
        return Err(DataError::NoLabels {
            file: input.file.into(),
            expected: "a folder of images with one folder for each class".into(),
        });
    }
    let shape = size(input.file, Cursor::new(input.bytes), input.bytes.len() as u64)?.wanted(options)?;
    let mut values = vec![0.0; shape.values()];
    decode(input.file, Cursor::new(input.bytes), shape, &mut values)?;
    Ok(Table { features: Some(Matrix::new(input.file, values, shape.values(), None)?.into()), ..Table::default() })
}

/// The images below a folder, with the class of each; nothing if there are none.
pub(crate) struct Folder {
    /// Images in the order of class and name.
    files: Vec<PathBuf>,
    /// Class of each image, unless the images lie in the folder itself.
    labels: Option<Vec<String>>,
}

/// Looks for images: in folders that are classes, else in the folder itself. A folder `train` or `test` is entered.
///
/// # Errors
/// [`DataError::Io`].
pub(crate) fn find(folder: &Path, part: Part) -> Result<Option<Folder>, DataError> {
    let name = match part {
        Part::Train => "train",
        Part::Test => "test",
    };
    let inner = folder.join(name);
    let folder = if inner.is_dir() { &inner } else { folder };
    let (mut files, mut labels) = (Vec::new(), Vec::new());
    let mut alone = Vec::new();
    for entry in WalkDir::new(folder).min_depth(1).max_depth(8).follow_links(true).sort_by_file_name() {
        let entry = entry.map_err(|error| {
            let file = error.path().unwrap_or(folder).display().to_string();
            DataError::Io { file, source: error.into() }
        })?;
        let name = entry.file_name().to_string_lossy().to_lowercase();
        let is_image = [".png", ".jpg", ".jpeg"].iter().any(|end| name.ends_with(end)) && !name.starts_with('.');
        if !is_image || !entry.file_type().is_file() {
            continue;
        }
        let class = entry.path().strip_prefix(folder).ok().and_then(|inner| inner.components().next());
        match class {
            Some(class) if entry.depth() > 1 => {
                labels.push(class.as_os_str().to_string_lossy().into_owned());
                files.push(entry.into_path());
            }
            _ => alone.push(entry.into_path()),
        }
    }
    Ok(match (files.is_empty(), alone.is_empty()) {
        (true, true) => None,
        (true, false) => Some(Folder { files: alone, labels: None }),
        _ => Some(Folder { files, labels: Some(labels) }),
    })
}

impl Folder {
    /// Reads the images.
    ///
    /// # Errors
    /// [`DataError::Shape`] naming the first image of another size or with another number of channels than the first;
    /// [`DataError::Malformed`] for a broken one; [`DataError::NoLabels`] without folders of classes.
    pub(crate) fn read(self, folder: &str, want: Want, options: &ReadOptions) -> Result<Table, DataError> {
        if want != Want::Features && self.labels.is_none() {
            return Err(DataError::NoLabels {
                file: folder.into(),
                expected: "one folder for each class with the images of that class".into(),
            });
        }
        let features = match want {
            Want::Labels => None,
            _ => Some(self.pixels(folder, options)?.into()),
        };
        let labels = self.labels.filter(|_| want != Want::Features).map(RawLabels::Text);
        Ok(Table { features, labels, class_names: None })
    }

    fn pixels(&self, folder: &str, options: &ReadOptions) -> Result<Matrix, DataError> {
        let shapes: Vec<Shape> = self
            .files
            .par_iter()
            .map(|path| {
                let reader = open(path)?;
                let len = reader.get_ref().metadata().map_or(0, |metadata| metadata.len());
                size(&path.display().to_string(), reader, len)?.wanted(options)
            })
            .collect::<Result<_, DataError>>()?;
        let first = shapes[0];
        if let Some(odd) = shapes.iter().position(|shape| *shape != first) {
            return Err(DataError::Shape {
                place: self.files[odd].display().to_string(),
                what: "the image".into(),
                found: shapes[odd].to_string(),
                expected: format!("{first} as {} (or say to which size, or gray)", self.files[0].display()),
            });
        }
        let (rows, dim) = (self.files.len(), first.values());
        let too_large = || DataError::TooLarge {
            place: folder.into(),
            what: format!("{rows} images of {first}"),
            bytes: (rows as u64).saturating_mul(dim as u64).saturating_mul(4),
            expected: "images that fit the memory: ask for a smaller size, or for gray".into(),
        };
        let mut values = Vec::new();
        let size = rows.checked_mul(dim).ok_or_else(too_large)?;
        values.try_reserve_exact(size).map_err(|_| too_large())?;
        values.resize(size, 0.0);
        self.files.par_iter().zip(values.par_chunks_exact_mut(dim)).try_for_each(|(path, out)| {
            let shown = path.display().to_string();
            decode(&shown, open(path)?, first, out)
        })?;
        Matrix::new(folder, values, dim, None)
    }
}

fn open(path: &Path) -> Result<BufReader<File>, DataError> {
    let opened = File::open(path).map_err(|source| DataError::Io { file: path.display().to_string(), source });
    Ok(BufReader::new(opened?))
}

/// Size of an image as a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape {
    width: u32,
    height: u32,
    channels: u32,
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} x {} pixels in {}", self.width, self.height, if self.channels == 1 { "gray" } else { "colour" })
    }
}

impl Shape {
    /// The shape that is asked for.
    fn wanted(self, options: &ReadOptions) -> Result<Self, DataError> {
        let (width, height) = options.image.size.unwrap_or((self.width, self.height));
        if !(1..=MAX_PIXELS).contains(&(u64::from(width) * u64::from(height))) {
            return Err(DataError::Parameter {
                place: "reading images",
                name: "size".into(),
                value: format!("{width} x {height}"),
                expected: format!("1 to {MAX_PIXELS} pixels"),
            });
        }
        Ok(Self { width, height, channels: if options.image.gray { 1 } else { self.channels } })
    }

    fn values(self) -> usize {
        self.width as usize * self.height as usize * self.channels as usize
    }
}

fn decoder<'a, R: BufRead + Seek + 'a>(file: &str, reader: R) -> Result<impl ImageDecoder + 'a, DataError> {
    let failed = |error: &dyn std::fmt::Display| broken(file, "image", error, VALID);
    let mut reader = ImageReader::new(reader).with_guessed_format().map_err(|error| failed(&error))?;
    if !matches!(reader.format(), Some(ImageFormat::Png | ImageFormat::Jpeg)) {
        return Err(failed(&"no signature of an image"));
    }
    let mut limits = Limits::default();
    limits.max_alloc = Some(8 * MAX_PIXELS);
    reader.limits(limits);
    reader.into_decoder().map_err(|error| failed(&error))
}

/// Size of an image as it is stored, from its header alone. `len` is the size of the file.
fn size<'a, R: BufRead + Seek + 'a>(file: &str, reader: R, len: u64) -> Result<Shape, DataError> {
    contained(file, "image", VALID, || {
        let mut decoder = decoder(file, reader)?;
        let (width, height) = decoder.dimensions();
        let pixels = u64::from(width) * u64::from(height);
        if pixels == 0 || pixels > MAX_PIXELS {
            return Err(DataError::Size {
                file: file.into(),
                at: "image".into(),
                declared: format!("{width} x {height} pixels (at most {MAX_PIXELS} in all)"),
                available: pixels,
            });
        }
        // Three channels of four bytes are what it becomes.
        check_allowance(file, "image", 12 * pixels, len)?;
        let turned = decoder.orientation().is_ok_and(|orientation| {
            use Orientation::*;
            matches!(orientation, Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH)
        });
        let (width, height) = if turned { (height, width) } else { (width, height) };
        let gray = matches!(decoder.color_type(), ColorType::L8 | ColorType::La8 | ColorType::L16 | ColorType::La16);
        Ok(Shape { width, height, channels: if gray { 1 } else { 3 } })
    })
}

/// Decodes an image into `out`, brought to `shape`.
fn decode<'a, R: BufRead + Seek + 'a>(file: &str, reader: R, shape: Shape, out: &mut [f32]) -> Result<(), DataError> {
    contained(file, "image", VALID, || {
        let failed = |error: &dyn std::fmt::Display| broken(file, "image", error, VALID);
        let mut decoder = decoder(file, reader)?;
        let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
        let mut image = DynamicImage::from_decoder(decoder).map_err(|error| failed(&error))?;
        image.apply_orientation(orientation);
        if (image.width(), image.height()) != (shape.width, shape.height) {
            image = image.resize_exact(shape.width, shape.height, FilterType::Triangle);
        }
        let bytes = if shape.channels == 1 { image.into_luma8().into_raw() } else { image.into_rgb8().into_raw() };
        if bytes.len() != out.len() {
            return Err(failed(&"another number of pixels than the header says"));
        }
        out.iter_mut().zip(bytes).for_each(|(out, byte)| *out = f32::from(byte) / 255.0);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, width: u32, height: u32, pixel: impl Fn(u32, u32) -> [u8; 3]) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        image::RgbImage::from_fn(width, height, |x, y| image::Rgb(pixel(x, y))).save(path).unwrap();
    }

    fn read(folder: &Path, options: &ReadOptions) -> Result<Table, DataError> {
        find(folder, options.part).unwrap().unwrap().read("pets", Want::Labelled, options)
    }

    #[test]
    fn one_folder_a_class() {
        let dir = tempfile::tempdir().unwrap();
        write(&dir.path().join("dog/b.png"), 2, 1, |x, _| [255 * x as u8, 0, 51]);
        write(&dir.path().join("cat/a.png"), 2, 1, |_, _| [102; 3]);
        write(&dir.path().join("cat/deep/c.jpg"), 2, 1, |_, _| [0; 3]);
        std::fs::write(dir.path().join("cat/readme.txt"), "no image").unwrap();
        let table = read(dir.path(), &ReadOptions::default()).unwrap();
        let features = table.features.unwrap().into_dense("f").unwrap();
        assert_eq!((features.rows, features.dim), (3, 6));
        assert_eq!(features.row(0), [0.4; 6]);
        assert_eq!(features.row(2), [0.0, 0.0, 0.2, 1.0, 0.0, 0.2]);
        assert_eq!(table.labels.unwrap(), RawLabels::Text(["cat", "cat", "dog"].map(String::from).to_vec()));
        let gray = ReadOptions {
            image: crate::options::ImageOptions { gray: true, size: Some((4, 4)) },
            ..Default::default()
        };
        assert_eq!(read(dir.path(), &gray).unwrap().features.unwrap().dim(), 16);
    }

    #[test]
    fn the_odd_one_is_named() {
        let dir = tempfile::tempdir().unwrap();
        write(&dir.path().join("a/1.png"), 2, 2, |_, _| [9; 3]);
        write(&dir.path().join("b/odd.png"), 3, 2, |_, _| [9; 3]);
        let error = read(dir.path(), &ReadOptions::default()).unwrap_err().to_string();
        assert!(
            error.contains("odd.png") && error.contains("3 x 2 pixels in colour") && error.contains("1.png"),
            "{error}"
        );
        std::fs::write(dir.path().join("b/odd.png"), b"\x89PNG\r\n\x1a\nrest").unwrap();
        let error = read(dir.path(), &ReadOptions::default()).unwrap_err().to_string();
        assert!(error.contains("odd.png: image: found"), "{error}");
        std::fs::write(dir.path().join("b/odd.png"), b"text").unwrap();
        assert!(read(dir.path(), &ReadOptions::default()).unwrap_err().to_string().contains("no signature"));
    }

    #[test]
    fn a_huge_image_is_refused_before_it_is_decoded() {
        let mut bytes = Vec::new();
        image::GrayImage::new(1, 1).write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png).unwrap();
        let header = |width: u32| {
            let mut bytes = bytes.clone();
            bytes[16..20].copy_from_slice(&width.to_be_bytes());
            bytes[20..24].copy_from_slice(&width.to_be_bytes());
            let mut crc = flate2::Crc::new();
            crc.update(&bytes[12..29]);
            bytes[29..33].copy_from_slice(&crc.sum().to_be_bytes());
            bytes
        };
        for (width, part) in [
            (60_000, "60000 x 60000 pixels"),
            (8_000, "expected at most"),
            (2, "image: found"),
            (u32::MAX, "image: found"),
        ] {
            let bytes = header(width);
            let input = Input { file: "a.png", bytes: &bytes };
            let error = super::read(&input, Want::Features, &ReadOptions::default()).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        let input = Input { file: "a.png", bytes: &bytes };
        let one = super::read(&input, Want::Features, &ReadOptions::default()).unwrap();
        assert_eq!(one.features.unwrap().into_dense("f").unwrap().values, [0.0]);
        assert!(super::read(&input, Want::Labelled, &ReadOptions::default()).is_err());
    }
}
