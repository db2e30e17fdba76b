//! Keeps the README's list of options equal to what the tool prints for `--help`.

use std::{
    fmt::Write as _,
    fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use crate::workspace::root;

const BEGIN: &str = "<!-- options:begin -->\n";
const END: &str = "<!-- options:end -->";

/// Writes the help of `tool` into the README, or with `check` compares only.
///
/// # Errors
/// When the tool does not run, the README has no markers, or `check` finds a difference.
pub(crate) fn docs(tool: &Path, check: bool) -> Result<()> {
    let path = root().join("README.md");
    let readme = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let updated = replace(&readme, &options(tool)?)
        .with_context(|| format!("README.md lacks {} or {END}", BEGIN.trim_end()))?;
    if updated == readme {
        return Ok(());
    }
    ensure!(!check, "README.md and --help differ: run `cargo xtask docs`");
    fs::write(&path, updated).with_context(|| path.display().to_string())
}

/// What stands between the markers: the help of the tool, then of each of its commands.
fn options(tool: &Path) -> Result<String> {
    let main = help(tool, &[])?;
    let mut text = main.clone();
    for command in commands(&main) {
        let _ = write!(text, "\n$ mmaptrace {command} --help\n{}", help(tool, &[command])?);
    }
    Ok(format!("```console\n$ mmaptrace --help\n{text}```\n"))
}

/// The help that `tool` prints, at a width that does not hang on this terminal.
fn help(tool: &Path, command: &[&str]) -> Result<String> {
    let output = Command::new(tool)
        .args(command)
        .arg("--help")
        .env("COLUMNS", "100")
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {}", tool.display()))?;
    ensure!(output.status.success(), "{} --help failed ({})", tool.display(), output.status);
    let text = String::from_utf8(output.stdout).context("--help is not UTF-8")?;
    Ok(text.trim_end().lines().map(|line| line.trim_end().to_owned() + "\n").collect())
}

/// The names in the list of commands of a help text, less `help`, which clap adds.
fn commands(help: &str) -> impl Iterator<Item = &str> {
    help.lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        // What a line of its own continues is indented further.
        .filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' ')))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
}

/// `readme` with `text` between its markers; None where they are not.
fn replace(readme: &str, text: &str) -> Option<String> {
    let (before, rest) = readme.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some([before, BEGIN, text, END, after].concat())
}

#[cfg(test)]
mod tests {
    use super::{commands, replace};

    #[test]
    fn commands_are_found_in_the_help() {
        let help = "\
Usage: mmaptrace [OPTIONS]

Commands:
  dump   Print the model
           of a process
  check  Say what works
  help   Print this message

Options:
  -p <PID>
";
        assert_eq!(commands(help).collect::<Vec<_>>(), ["dump", "check"]);
        assert_eq!(commands("Options:\n  -p\n").count(), 0);
    }

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let readme = "a\n<!-- options:begin -->\nold\n<!-- options:end -->\nb\n";
        let expected = "a\n<!-- options:begin -->\nnew\n<!-- options:end -->\nb\n";
        let updated = replace(readme, "new\n");
        assert_eq!(updated.as_deref(), Some(expected));
        assert_eq!(replace(expected, "new\n"), updated, "a second time changes nothing");
        assert_eq!(replace("no markers", "new\n"), None);
    }
}
