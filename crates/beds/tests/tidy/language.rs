//! Plain language, counted: comments and documents name the thing, where a pronoun would make a riddle of the sentence.
//!
//! Not here: texts for callers and operators in the code itself (error messages, log lines).

use std::fs;
use std::path::{Path, PathBuf};

use crate::{root, sources};

/// Words that stand for a thing that the sentence does not name.
const VAGUE: &[&str] = &[
    "what",
    "who",
    "whom",
    "whoever",
    "whatever",
    "nobody",
    "somebody",
    "something",
    "anything",
    "anybody",
    "somewhere",
];
/// In a hundred sentences, at most so many may hold one of them.
const MOST_IN_A_HUNDRED: usize = 4;
/// Fewer words are a label and no sentence.
const FEWEST_WORDS: usize = 3;

#[test]
fn sentences_name_the_thing() {
    let (mut count, mut vague, mut begun) = (0, Vec::new(), Vec::new());
    for (file, text) in texts() {
        for sentence in sentences(&text) {
            let words: Vec<String> = words(&sentence);
            if words.len() < FEWEST_WORDS {
                continue;
            }
            count += 1;
            let place = file.strip_prefix(root()).unwrap_or(&file).display().to_string();
            if matches!(words[0].as_str(), "what" | "who") {
                begun.push(format!("{place}: {sentence}"));
            }
            if words.iter().any(|word| VAGUE.contains(&word.as_str())) {
                vague.push(format!("{place}: {sentence}"));
            }
        }
    }
    assert!(begun.is_empty(), "sentences begin with What or Who:\n{}", begun.join("\n"));
    assert!(count > 4_000, "only {count} sentences were found");
    let most = count * MOST_IN_A_HUNDRED / 100;
    assert!(
        vague.len() <= most,
        "{} of {count} sentences name no thing:\n{}",
        vague.len(),
        vague.join("\n")
    );
}

#[test]
fn sentences_end_at_marks_and_code_is_no_part_of_them() {
    let text = "What it is: `a::b. c` of a node. See beds.toml | The cell | Whose is it?";
    let found = sentences(text)
        .into_iter()
        .map(|sentence| words(&sentence))
        .filter(|words| !words.is_empty());
    let found: Vec<Vec<String>> = found.collect();
    let wanted = ["what it is", "of a node", "see beds toml", "the cell", "whose is it"];
    assert_eq!(
        found,
        wanted.map(|sentence| sentence.split(' ').map(str::to_owned).collect::<Vec<_>>())
    );
}

/// Each run of comment lines in the code, and each paragraph, item or row of the documents.
fn texts() -> Vec<(PathBuf, String)> {
    let mut texts = Vec::new();
    let mut code = Vec::new();
    for folder in ["crates", "bench"] {
        sources(&root().join(folder), &mut code);
    }
    for file in code {
        let text = fs::read_to_string(&file).unwrap();
        texts.extend(runs(text.lines().map(comment)).map(|run| (file.clone(), run)));
    }
    for (folder, extension, mark) in
        [("schema/rel/main", "sql", "--"), ("config", "toml", "#"), ("templates", "toml", "#")]
    {
        for file in entries(folder, extension) {
            let text = fs::read_to_string(&file).unwrap();
            texts.extend(
                runs(text.lines().map(|line| line.trim_start().strip_prefix(mark)))
                    .map(|run| (file.clone(), run)),
            );
        }
    }
    let mut documents = Vec::new();
    for folder in ["", "docs", "docs/decisions", "bench"] {
        documents.extend(entries(folder, "md"));
    }
    for file in documents {
        let text = fs::read_to_string(&file).unwrap();
        texts.extend(paragraphs(&text).into_iter().map(|paragraph| (file.clone(), paragraph)));
    }
    assert!(
        texts.iter().any(|(file, _)| file.ends_with(Path::new("docs/wire.md"))),
        "the documents were found"
    );
    texts
}

/// The files of a folder with an ending.
fn entries(folder: &str, ending: &str) -> Vec<PathBuf> {
    let paths = fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == ending)).collect()
}

/// The text of a line that is a comment.
fn comment(line: &str) -> Option<&str> {
    let text = line.trim_start().strip_prefix("//")?;
    Some(text.trim_start_matches(['/', '!']))
}

/// Joins neighbours.
fn runs<'t>(lines: impl Iterator<Item = Option<&'t str>>) -> impl Iterator<Item = String> {
    let mut runs = vec![String::new()];
    for line in lines {
        let last = runs.len() - 1;
        match line {
            Some(text) => {
                runs[last].push(' ');
                runs[last].push_str(text);
            }
            None if runs[last].is_empty() => {}
            None => runs.push(String::new()),
        }
    }
    runs.into_iter().filter(|run| !run.is_empty())
}

fn paragraphs(document: &str) -> Vec<String> {
    let (mut is_code, mut lines) = (false, Vec::new());
    for line in document.lines() {
        let trimmed = line.trim_start();
        if trimmed.starts_with("```") {
            is_code = !is_code;
        } else if !is_code {
            let is_new = trimmed.is_empty()
                || trimmed.starts_with(['-', '*', '#', '|'])
                || trimmed.starts_with(|c: char| c.is_ascii_digit());
            if is_new {
                lines.push(None);
            }
            lines.push((!trimmed.is_empty()).then(|| trimmed.trim_start_matches(['-', '*', '#'])));
        }
    }
    runs(lines.into_iter()).collect()
}

/// Parts of a text between marks. Code in backquotes is left out before.
fn sentences(text: &str) -> Vec<String> {
    let plain: String = text.split('`').step_by(2).collect::<Vec<_>>().join(" ");
    plain.split(['.', '!', '?', ':', ';', '|']).fold(Vec::new(), |mut parts: Vec<String>, part| {
        // A mark within a word, as in a file's name, ends nothing.
        match parts.last_mut() {
            Some(last)
                if part.starts_with(|c: char| !c.is_whitespace())
                    && !last.ends_with(' ')
                    && !last.is_empty() =>
            {
                last.push(' ');
                last.push_str(part);
            }
            _ => parts.push(part.to_owned()),
        }
        parts
    })
}

fn words(sentence: &str) -> Vec<String> {
    let is_part = |c: char| c.is_ascii_alphabetic() || matches!(c, '\'' | '’' | '-');
    let words = sentence
        .split(|c| !is_part(c))
        .map(|word| word.trim_matches(['-', '\'', '’']).to_lowercase());
    words.filter(|word| !word.is_empty()).collect()
}
