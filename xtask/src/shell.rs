//! Running other programs: quietly, or with their output passed on and read as it goes by.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, IsTerminal, Read, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;

use anyhow::{Context, Result, bail};

use crate::{summary::Tally, workspace};

/// A command in the workspace's folder without standard input.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(workspace::root()).stdin(Stdio::null());
    command
}

/// A cargo command in the workspace's folder.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = command(workspace::cargo());
    command.args(arguments);
    command
}

/// What a command looks like when typed.
pub(crate) fn written(command: &Command) -> String {
    let mut text =
        String::from(std::path::Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy());
    for argument in command.get_args() {
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
    }
    text
}

/// Runs to the end and returns standard output; a failure carries what the program said.
pub(crate) fn output(mut command: Command) -> Result<String> {
    let shown = written(&command);
    let output = command.output().with_context(|| format!("could not start `{shown}`"))?;
    if !output.status.success() {
        bail!(
            "`{shown}` ended with {}:\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs to the end with its output passed on; true when it succeeded.
pub(crate) fn show(mut command: Command) -> Result<bool> {
    let shown = written(&command);
    let status = command.status().with_context(|| format!("could not start `{shown}`"))?;
    Ok(status.success())
}

/// Like [`show`], and counts the tests that the runners in it report.
pub(crate) fn show_and_count(mut command: Command) -> Result<(bool, Tally)> {
    if std::io::stdout().is_terminal() {
        command.env("CARGO_TERM_COLOR", "always");
    }
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let shown = written(&command);
    let mut child = command.spawn().with_context(|| format!("could not start `{shown}`"))?;
    let (lines, read) = mpsc::channel();
    let readers =
        [child.stdout.take().map(|pipe| pass_on(pipe, &lines)), child.stderr.take().map(|pipe| pass_on(pipe, &lines))];
    drop(lines);
    let mut tally = Tally::default();
    for line in read {
        println!("{line}");
        tally.read(&line);
    }
    for reader in readers.into_iter().flatten() {
        // A reader ends with its pipe, and cannot fail in a way that matters here.
        let _ = reader.join();
    }
    std::io::stdout().flush()?;
    let status = child.wait().with_context(|| format!("could not wait for `{shown}`"))?;
    Ok((status.success(), tally))
}

fn pass_on(pipe: impl Read + Send + 'static, to: &mpsc::Sender<String>) -> thread::JoinHandle<()> {
    let to = to.clone();
    thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while matches!(pipe.read_until(b'\n', &mut line), Ok(1..)) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            if to.send(text).is_err() {
                return;
            }
            line.clear();
        }
    })
}
