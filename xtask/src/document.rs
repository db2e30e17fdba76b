//! Parts of documents that a command writes: what stands between `<!-- NAME:begin -->` and
//! `<!-- NAME:end -->`. What a person wrote around them stays.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

/// Writes a part of a document.
///
/// # Errors
/// When the document cannot be read or written, or has no such part.
pub(crate) fn write(path: &Path, name: &str, text: &str) -> Result<()> {
    let document = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let updated = replace(&document, name, text)
        .with_context(|| format!("{} lacks <!-- {name}:begin --> or its end", path.display()))?;
    fs::write(path, updated).with_context(|| path.display().to_string())
}

/// `document` with `text` as the part `name`; None where there is no such part.
pub(crate) fn replace(document: &str, name: &str, text: &str) -> Option<String> {
    let (begin, end) = (format!("<!-- {name}:begin -->\n"), format!("<!-- {name}:end -->"));
    let (before, rest) = document.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some([before, &begin, text, &end, after].concat())
}

#[cfg(test)]
mod tests {
    use super::replace;

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let readme = "a\n<!-- options:begin -->\nold\n<!-- options:end -->\nb\n";
        let expected = "a\n<!-- options:begin -->\nnew\n<!-- options:end -->\nb\n";
        let updated = replace(readme, "options", "new\n");
        assert_eq!(updated.as_deref(), Some(expected));
        assert_eq!(replace(expected, "options", "new\n"), updated, "a second time changes nothing");
        assert_eq!(replace("no markers", "options", "new\n"), None);
    }
}
