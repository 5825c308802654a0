//! The example template, part of the program: `tidings up` and the demo issue passes without any set-up.

/// The files of `templates/example`.
pub(crate) fn files() -> Vec<(String, Vec<u8>)> {
    macro_rules! files {
        ($($name:literal),+ $(,)?) => {
            vec![$(($name.to_owned(), include_bytes!(concat!("../../templates/example/", $name)).to_vec())),+]
        };
    }
    files![
        "pass.json",
        "icon.png",
        "icon@2x.png",
        "icon@3x.png",
        "logo.png",
        "logo@2x.png",
        "strip.png",
        "strip@2x.png",
        "en.lproj/pass.strings",
        "de.lproj/pass.strings",
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::Template;

    #[test]
    fn the_built_in_files_are_the_folder() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("templates/example");
        let from_folder = Template::from_folder(&folder).unwrap();
        let built_in = Template::from_files("example", files()).unwrap();
        assert_eq!(from_folder.digest, built_in.digest);
        assert_eq!(built_in.fields.iter().collect::<Vec<_>>(), ["level", "name", "offer", "points"]);
    }
}
