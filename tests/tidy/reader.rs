//! Reads Rust as far as the rules need it: code without comments and literals, and its paths.
//!
//! A lexer of a page, not a parser: macros stay as they are written.

use super::Finding;

/// The code of a file without what only its unit tests compile; lines keep their numbers.
pub(crate) fn production(path: &str, text: &str) -> String {
    if path.ends_with("/tests.rs") || path.contains("/tests/") {
        return String::new();
    }
    let code = code(text);
    let mut out = String::with_capacity(code.len());
    let mut rest = code.as_str();
    while let Some((before, after)) = rest.split_once(TEST_ONLY) {
        out.push_str(before);
        let (item, after) = after.split_at(end_of_item(after));
        out.extend(item.chars().filter(|&c| c == '\n'));
        rest = after;
    }
    out + rest
}

/// Behind the `;` or the last `}` of the item that `code` begins with.
fn end_of_item(code: &str) -> usize {
    let (mut depth, mut index) = (0_usize, 0);
    for (at, char) in code.char_indices() {
        index = at + char.len_utf8();
        match char {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' => depth = depth.saturating_sub(1),
            '}' if depth <= 1 => break,
            '}' => depth -= 1,
            ';' if depth == 0 => break,
            _ => {}
        }
    }
    index
}

/// `text` with comments and literals blanked; every line keeps its number.
pub(crate) fn code(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let at = |index: usize| chars.get(index).copied().unwrap_or('\0');
    let mut out = String::with_capacity(text.len());
    let mut index = 0;
    while index < chars.len() {
        let end = match (at(index), at(index + 1)) {
            ('/', '/') => until(&chars, index, |i| at(i) == '\n'),
            ('/', '*') => end_of_block_comment(&chars, index),
            ('"', _) => end_of_string(&chars, index),
            ('r', '"' | '#') if !is_name(out.chars().last().filter(|&c| c != 'b' && c != 'c')) => {
                end_of_raw_string(&chars, index)
            }
            ('\'', '\\') => until(&chars, index + 3, |i| at(i) == '\'') + 1,
            ('\'', _) if at(index + 2) == '\'' => index + 3,
            _ => index,
        };
        if end == index {
            out.push(at(index));
            index += 1;
            continue;
        }
        let end = end.min(chars.len());
        out.extend(chars[index..end].iter().map(|&c| if c == '\n' { c } else { ' ' }));
        index = end;
    }
    out
}

fn is_name(char: Option<char>) -> bool {
    char.is_some_and(|c| c.is_alphanumeric() || c == '_')
}

fn until(chars: &[char], from: usize, is_end: impl Fn(usize) -> bool) -> usize {
    (from..chars.len()).find(|&index| is_end(index)).unwrap_or(chars.len())
}

fn end_of_block_comment(chars: &[char], from: usize) -> usize {
    let (mut depth, mut index) = (0, from);
    while index < chars.len() {
        match chars.get(index..index + 2) {
            Some(['/', '*']) => (depth, index) = (depth + 1, index + 2),
            Some(['*', '/']) if depth == 1 => return index + 2,
            Some(['*', '/']) => (depth, index) = (depth - 1, index + 2),
            _ => index += 1,
        }
    }
    index
}

fn end_of_string(chars: &[char], from: usize) -> usize {
    let mut index = from + 1;
    while index < chars.len() && chars[index] != '"' {
        index += if chars[index] == '\\' { 2 } else { 1 };
    }
    index + 1
}

/// From the `r` of `r"..."` or `r#"..."#`; a raw identifier such as `r#type` is no string.
fn end_of_raw_string(chars: &[char], from: usize) -> usize {
    let quote = until(chars, from + 1, |i| chars[i] != '#');
    if chars.get(quote) != Some(&'"') {
        return from;
    }
    let hashes = quote - from - 1;
    let closes = |i: usize| {
        chars[i] == '"' && chars[i + 1..].iter().take_while(|&&c| c == '#').count() >= hashes
    };
    until(chars, quote + 1, closes) + 1 + hashes
}

/// Every name and path of `code`, with the groups of `use` written out.
pub(crate) fn paths(code: &str) -> Vec<Finding> {
    let tokens = tokens(code);
    let (mut index, mut out) = (0, Vec::new());
    while index < tokens.len() {
        read_path(&tokens, &mut index, "", &mut out);
    }
    out
}

fn read_path(tokens: &[(usize, &str)], index: &mut usize, prefix: &str, out: &mut Vec<Finding>) {
    let Some(&(line, token)) = tokens.get(*index) else { return };
    *index += 1;
    if token == "{" && !prefix.is_empty() {
        while tokens.get(*index).is_some_and(|(_, token)| *token != "}") {
            read_path(tokens, index, prefix, out);
        }
        *index += 1;
    } else if is_name(token.chars().next()) {
        let path = format!("{prefix}{token}");
        let goes_on = |token: &str| token == "{" || is_name(token.chars().next());
        match (tokens.get(*index), tokens.get(*index + 1)) {
            (Some((_, "::")), Some((_, next))) if goes_on(next) => {
                *index += 1;
                read_path(tokens, index, &format!("{path}::"), out);
            }
            _ => out.push((line, path)),
        }
    }
}

fn tokens(code: &str) -> Vec<(usize, &str)> {
    let mut out = Vec::new();
    for (index, mut rest) in code.lines().enumerate() {
        while let Some(first) = rest.chars().next() {
            let length = match first {
                _ if is_name(Some(first)) => rest.find(|c| !is_name(Some(c))).unwrap_or(rest.len()),
                ':' if rest.starts_with("::") => 2,
                _ => first.len_utf8(),
            };
            let (token, after) = rest.split_at(length);
            if !first.is_whitespace() {
                out.push((index + 1, token));
            }
            rest = after;
        }
    }
    out
}

#[test]
fn the_reader_sees_code_and_nothing_else() {
    let text = "a /* b /* c */ d */ \"e\\\"f\" 'g' '\\'' 'h: r#\"i\"j\"# br\"k\" r#l // m\nn";
    let kept: Vec<_> = code(text).split_whitespace().map(str::to_owned).collect();
    assert_eq!(kept, ["a", "'h:", "b", "r#l", "n"]);
    let found = paths("use a::{b, c::{d as e, f}, *};\ng::<h>(i)").into_iter();
    let found: Vec<_> = found.map(|(line, path)| format!("{line} {path}")).collect();
    let expected = ["1 use", "1 a::b", "1 a::c::d", "1 a::c::as", "1 a::c::e", "1 a::c::f"];
    assert_eq!(found, [&expected[..], &["2 g", "2 h", "2 i"]].concat());
}

#[test]
fn production_is_what_is_compiled_without_tests() {
    let text = "a\n#[cfg(test)]\nmod tests {\n fn f(x: [u8; 2]) { x }\n}\nb\n\
        #[cfg(test)]\nuse c;\nd";
    let found: Vec<_> = paths(&production("src/a.rs", text));
    let found: Vec<_> = found.iter().map(|(line, path)| (*line, path.as_str())).collect();
    assert_eq!(found, [(1, "a"), (6, "b"), (9, "d")]);
    let attribute = "#[cfg(test)]\n#[rustfmt::skip]\nfn f(x: [u8; 2]) { x }\ne";
    assert_eq!(paths(&production("src/a.rs", attribute)), [(4, "e".to_owned())]);
    assert_eq!(production("src/a/tests.rs", text), "");
}

const TEST_ONLY: &str = "#[cfg(test)]";
