//! Keeps the README's list of options equal to what the tool prints for `--help`.

use std::{
    fmt::Write as _,
    fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use crate::{document, workspace::root};

/// The part of the README that this writes.
const PART: &str = "options";

/// Writes the help of `tool` into the README, or with `check` compares only.
///
/// # Errors
/// When the tool does not run, the README has no markers, or `check` finds a difference.
pub(crate) fn docs(tool: &Path, check: bool) -> Result<()> {
    let path = root().join("README.md");
    let readme = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let options = options(tool)?;
    if document::replace(&readme, PART, &options).as_ref() == Some(&readme) {
        return Ok(());
    }
    ensure!(!check, "README.md and --help differ: run `cargo xtask docs`");
    document::write(&path, PART, &options)
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

#[cfg(test)]
mod tests {
    use super::commands;

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
}
