//! A template as it is uploaded, or a package as it is opened: a ZIP archive, read with bounds.

use std::io::{Cursor, Read};

use super::fault::Faults;

/// Most files in an archive.
const MOST_FILES: usize = 500;
/// Most bytes of all files together, unpacked.
pub const LARGEST_UNPACKED: u64 = 20 * 1024 * 1024;

/// The files of an archive. One folder around everything is taken away; hidden files and what macOS adds are left out.
///
/// # Errors
/// What keeps it from being read.
pub fn unpack(bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>, Faults> {
    let mut faults = Faults::default();
    let mut files = Vec::new();
    if let Err((found, rule)) = read(bytes, &mut files) {
        faults.add("archive", found, rule);
        return Err(faults);
    }
    if !files.iter().any(|(name, _)| name == "pass.json")
        && let Some(folder) = files.iter().find_map(|(name, _)| name.strip_suffix("/pass.json"))
        && !folder.contains('/')
    {
        let prefix = format!("{folder}/");
        files = files
            .into_iter()
            .filter_map(|(name, bytes)| Some((name.strip_prefix(&prefix)?.to_owned(), bytes)))
            .collect();
    }
    Ok(files)
}

type Refused = (String, &'static str);

fn read(bytes: &[u8], files: &mut Vec<(String, Vec<u8>)>) -> Result<(), Refused> {
    let broken = |error: zip::result::ZipError| (error.to_string(), "is a ZIP archive of the template's files");
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).map_err(broken)?;
    if archive.len() > MOST_FILES {
        return Err((format!("{} files", archive.len()), "has at most 500 files"));
    }
    let mut left = LARGEST_UNPACKED;
    for index in 0..archive.len() {
        let file = archive.by_index(index).map_err(broken)?;
        let name = file.name().map_err(broken)?.into_owned();
        let hidden = name.split('/').any(|part| part.starts_with('.') || part == "__MACOSX");
        if file.is_dir() || hidden {
            continue;
        }
        let mut content = Vec::new();
        let unreadable =
            |error: std::io::Error| (format!("{name}: {error}"), "is a ZIP archive of the template's files");
        let read = file.take(left + 1).read_to_end(&mut content).map_err(unreadable)?;
        let read = u64::try_from(read).unwrap_or(u64::MAX);
        if read > left {
            return Err((format!("more than {LARGEST_UNPACKED} bytes, unpacked"), "has at most 20 MiB, unpacked"));
        }
        left -= read;
        files.push((name, content));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn zipped(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in files {
            writer.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
            writer.write_all(bytes).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    #[test]
    fn a_folder_around_everything_and_what_macos_adds_are_left_out() {
        let archive = zipped(&[
            ("card/pass.json", b"{}"),
            ("card/en.lproj/pass.strings", b""),
            ("card/.DS_Store", b"x"),
            ("__MACOSX/card/._pass.json", b"x"),
        ]);
        let names: Vec<_> = unpack(&archive).unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["pass.json", "en.lproj/pass.strings"]);
    }

    #[test]
    fn what_is_too_large_or_no_archive_is_refused() {
        let bomb = vec![0; usize::try_from(LARGEST_UNPACKED).unwrap() + 1];
        let error = unpack(&zipped(&[("pass.json", &bomb)])).unwrap_err();
        assert!(error.to_string().contains("20 MiB"), "{error}");
        let many: Vec<_> = (0..=MOST_FILES).map(|number| (format!("{number}.png"), Vec::new())).collect();
        let many: Vec<_> =
            many.iter().map(|(name, bytes): &(String, Vec<u8>)| (name.as_str(), bytes.as_slice())).collect();
        assert!(unpack(&zipped(&many)).is_err());
        assert!(unpack(b"no archive").is_err());
    }
}
