//! What the page says where scripts do not run.

use std::io::{self, Write};

use super::columns::{Data, Space};
use crate::sink::size::Size;

/// Writes a table of the address spaces.
pub(super) fn write(out: &mut impl Write, data: &Data) -> io::Result<()> {
    out.write_all(b"<table>\n<tr><th>Process<th>Changes<th>Most regions<th>Most mapped")?;
    for kind in data.kinds {
        write!(out, "<th>At last: {kind}")?;
    }
    for Space { pid, comm, changes, peak, regions, sizes } in &data.spaces {
        let peak = Size(*peak);
        write!(out, "\n<tr><td>{pid} {}<td>{changes}<td>{regions}<td>{peak}", escape(comm))?;
        for &size in sizes {
            write!(out, "<td>{}", Size(size))?;
        }
    }
    out.write_all(b"\n</table>\n")?;
    data.faults.iter().try_for_each(|fault| writeln!(out, "<p>{}</p>", escape(fault)))
}

/// Text as HTML.
fn escape(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            other => html.push(other),
        }
    }
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_markup() {
        assert_eq!(escape("</td><script>\"&'"), "&lt;/td&gt;&lt;script&gt;&quot;&amp;'");
    }
}
