//! The UTF-8 syntax (`matcher/parse`): any name, quoted where it holds reserved characters; Go's escapes in quotes.

use std::iter::Peekable;
use std::str::Chars;

use model::{MatchOp, Matcher};

use super::{MatcherError, is_reserved};

#[derive(Debug, PartialEq)]
enum Token {
    Open,
    Close,
    Comma,
    Op(MatchOp),
    Text(String),
}

pub(super) fn parse(text: &str) -> Result<Vec<Matcher>, MatcherError> {
    let mut tokens = tokens(text)?.into_iter().peekable();
    let braced = tokens.next_if_eq(&Token::Open).is_some();
    let mut matchers = Vec::new();
    while matches!(tokens.peek(), Some(Token::Text(_) | Token::Op(_) | Token::Comma | Token::Open)) {
        let Some(Token::Text(name)) = tokens.next() else { return Err(expected("a label name")) };
        let Some(Token::Op(op)) = tokens.next() else { return Err(expected("one of = != =~ !~")) };
        let Some(Token::Text(value)) = tokens.next() else { return Err(expected("a label value")) };
        matchers.push(Matcher { name, op, value });
        if tokens.next_if_eq(&Token::Comma).is_none() {
            break;
        }
    }
    if braced && tokens.next() != Some(Token::Close) {
        return Err(expected("a comma or a closing brace"));
    }
    if tokens.next().is_some() { Err(expected("the end")) } else { Ok(matchers) }
}

fn expected(what: &str) -> MatcherError {
    MatcherError::syntax(format!("expected {what}"))
}

fn tokens(text: &str) -> Result<Vec<Token>, MatcherError> {
    let mut chars = text.chars().peekable();
    let mut tokens = Vec::new();
    while let Some(c) = chars.next() {
        tokens.push(match c {
            '{' => Token::Open,
            '}' => Token::Close,
            ',' => Token::Comma,
            '=' if chars.next_if_eq(&'~').is_some() => Token::Op(MatchOp::Matches),
            '=' => Token::Op(MatchOp::Equal),
            '!' if chars.next_if_eq(&'=').is_some() => Token::Op(MatchOp::NotEqual),
            '!' if chars.next_if_eq(&'~').is_some() => Token::Op(MatchOp::NotMatches),
            '"' => Token::Text(quoted(&mut chars)?),
            c if c.is_whitespace() => continue,
            c if !is_reserved(c) => {
                let mut word = String::from(c);
                while let Some(c) = chars.next_if(|c| !is_reserved(*c)) {
                    word.push(c);
                }
                Token::Text(word)
            }
            _ => return Err(expected("a matcher such as name=\"value\"")),
        });
    }
    Ok(tokens)
}

/// Reads the rest of a quoted text as Go's `strconv.Unquote` does.
fn quoted(chars: &mut Peekable<Chars<'_>>) -> Result<String, MatcherError> {
    let mut bytes = Vec::new();
    loop {
        match chars.next() {
            None | Some('\n') => return Err(expected("a closing double quote")),
            Some('"') => return String::from_utf8(bytes).map_err(|_| expected("escapes that make UTF-8")),
            Some('\\') => escape(chars, &mut bytes)?,
            Some(c) => bytes.extend(c.encode_utf8(&mut [0; 4]).bytes()),
        }
    }
}

fn escape(chars: &mut Peekable<Chars<'_>>, bytes: &mut Vec<u8>) -> Result<(), MatcherError> {
    let unknown = || expected("an escape that Go knows");
    let c = chars.next().ok_or_else(unknown)?;
    let byte = match c {
        'a' => 7,
        'b' => 8,
        'f' => 12,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 11,
        '\\' => b'\\',
        '"' => b'"',
        'x' => u8::try_from(digits(chars, None, 2, 16)?).map_err(|_| unknown())?,
        '0'..='7' => u8::try_from(digits(chars, Some(c), 3, 8)?).map_err(|_| unknown())?,
        'u' | 'U' => {
            let scalar = digits(chars, None, if c == 'u' { 4 } else { 8 }, 16)?;
            let c = char::from_u32(scalar).ok_or_else(unknown)?;
            bytes.extend(c.encode_utf8(&mut [0; 4]).bytes());
            return Ok(());
        }
        _ => return Err(unknown()),
    };
    bytes.push(byte);
    Ok(())
}

fn digits(chars: &mut Peekable<Chars<'_>>, first: Option<char>, count: usize, radix: u32) -> Result<u32, MatcherError> {
    let mut number = 0_u32;
    let mut first = first;
    for _ in 0..count {
        let digit = first.take().or_else(|| chars.next()).and_then(|c| c.to_digit(radix));
        let digit = digit.ok_or_else(|| expected("an escape that Go knows"))?;
        number = number.wrapping_mul(radix).wrapping_add(digit);
    }
    Ok(number)
}
