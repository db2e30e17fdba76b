//! The page itself: its files, put together around the data.

use std::io::{self, Write};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64, write::EncoderWriter};
use flate2::{Compression, write::GzEncoder};
use sha2::{Digest as _, Sha256};

use super::{columns::Data, summary};

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
/// In the order in which they need each other.
const SCRIPTS: [&str; 11] = [
    include_str!("data.js"),
    include_str!("layout.js"),
    include_str!("colours.js"),
    include_str!("ticks.js"),
    include_str!("paint.js"),
    include_str!("story.js"),
    include_str!("search.js"),
    include_str!("timeline.js"),
    include_str!("controls.js"),
    include_str!("input.js"),
    include_str!("main.js"),
];

/// Writes the page, with what belongs there in place of each `@{NAME}`.
pub(super) fn write(out: &mut impl Write, data: &Data) -> io::Result<()> {
    let script = SCRIPTS.concat();
    let mut rest = PAGE;
    while let Some((before, name, after)) = split(rest) {
        out.write_all(before.as_bytes())?;
        rest = after;
        match name {
            "STYLE_HASH" => out.write_all(hash(STYLE).as_bytes())?,
            "SCRIPT_HASH" => out.write_all(hash(&script).as_bytes())?,
            "STYLE" => out.write_all(STYLE.as_bytes())?,
            "SCRIPT" => out.write_all(script.as_bytes())?,
            "SUMMARY" => summary::write(out, data)?,
            "DATA" => {
                let base64 = EncoderWriter::new(&mut *out, &BASE64);
                let mut gzip = GzEncoder::new(base64, Compression::default());
                serde_json::to_writer(io::BufWriter::new(&mut gzip), data)?;
                gzip.finish()?.finish()?;
            }
            unknown => unreachable!("the page has no place for {unknown}"),
        }
    }
    out.write_all(rest.as_bytes())
}

/// What comes before the first place to fill, its name, and what comes after.
fn split(page: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = page.split_once("@{")?;
    let (name, after) = rest.split_once('}')?;
    Some((before, name, after))
}

/// As a Content-Security-Policy names a script or a style.
pub(super) fn hash(text: &str) -> String {
    format!("'sha256-{}'", BASE64.encode(Sha256::digest(text)))
}
