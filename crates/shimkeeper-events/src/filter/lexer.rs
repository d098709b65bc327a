// SPDX-License-Identifier: Apache-2.0
//! Reads the words of a filter: fields, operators, values, quoted texts.
//!
//! White space is skipped before a word and never after one, so the parser, which looks at the next character
//! itself, sees it: `a == b` is a filter and `a == b ` is none, as in the original.

use super::Problem;

/// A cursor in a filter's text. Owned by one run of the parser.
pub(super) struct Lexer<'a> {
    input: &'a str,
    at: usize,
}

/// What is wrong, and where (in bytes).
pub(super) type Trouble = (usize, Problem);

/// Which quotes a place allows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Quotes {
    /// `"` alone.
    Double,
    /// `"`, `/` and `|`.
    Any,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(input: &'a str) -> Self {
        Self { input, at: 0 }
    }

    /// Where the cursor is, in bytes.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// The character at the cursor; white space counts.
    pub(super) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// Steps over `c` if it is next.
    pub(super) fn eat(&mut self, c: char) -> bool {
        let found = self.peek() == Some(c);
        if found {
            self.at += c.len_utf8();
        }
        found
    }

    /// A field of a path.
    pub(super) fn field(&mut self) -> Result<String, Trouble> {
        let start = self.start()?;
        match self.peek() {
            Some('"' | '/' | '|') => self.quoted(Quotes::Double),
            Some(c) if is_field(c) => Ok(self.take_while(is_field).to_owned()),
            _ => Err((start, Problem::ExpectedField)),
        }
    }

    /// A run of operator characters, which may or may not be an operator.
    pub(super) fn operator(&mut self) -> Result<&'a str, Trouble> {
        let start = self.start()?;
        match self.take_while(is_operator) {
            "" => {
                // A slash in an unquoted field opens a quote; that it has no end says more than that an
                // operator is missing.
                if matches!(self.peek(), Some('"' | '/' | '|')) {
                    self.quoted(Quotes::Any)?;
                }
                Err((start, Problem::ExpectedOperator))
            }
            run => Ok(run),
        }
    }

    /// A value, and where it starts.
    pub(super) fn value(&mut self, quotes: Quotes) -> Result<(usize, String), Trouble> {
        let start = self.start()?;
        let text = match self.peek() {
            Some('"' | '/' | '|') => self.quoted(quotes)?,
            Some(c) if is_operator(c) || c == '.' || !is_value(c) => {
                return Err((start, Problem::ExpectedValue));
            }
            Some(_) => self.take_while(is_value).to_owned(),
            None => return Err((start, Problem::ExpectedValue)),
        };
        Ok((start, text))
    }

    fn rest(&self) -> &'a str {
        &self.input[self.at..]
    }

    /// Skips white space and says where the next word starts. A NUL is never part of one.
    fn start(&mut self) -> Result<usize, Trouble> {
        self.take_while(char::is_whitespace);
        if self.peek() == Some('\0') { Err((self.at, Problem::Null)) } else { Ok(self.at) }
    }

    fn take_while(&mut self, accept: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let len = rest.find(|c| !accept(c)).unwrap_or(rest.len());
        self.at += len;
        &rest[..len]
    }

    /// A quoted text, without its quotes and with its escapes resolved. Trouble is reported at the quote.
    fn quoted(&mut self, quotes: Quotes) -> Result<String, Trouble> {
        let start = self.at;
        let text = self.unquote();
        match text {
            // An unterminated quote is the more useful message, whichever character it is.
            Err(problem) => Err((start, problem)),
            Ok((quote, _)) if quote != '"' && quotes == Quotes::Double => Err((start, Problem::InvalidQuote)),
            Ok((_, text)) => Ok(text),
        }
    }

    fn unquote(&mut self) -> Result<(char, String), Problem> {
        let mut chars = self.rest().chars();
        let quote = chars.next().ok_or(Problem::NotTerminated)?;
        let mut bytes = Vec::new();
        loop {
            match chars.next() {
                None | Some('\n') => return Err(Problem::NotTerminated),
                Some('\0') => return Err(Problem::Null),
                Some('\\') => escape(&mut chars, quote, &mut bytes)?,
                Some(c) if c == quote => break,
                Some(c) => push(&mut bytes, c),
            }
        }
        self.at = self.input.len() - chars.as_str().len();
        let text = String::from_utf8(bytes).map_err(|_| Problem::NotUtf8)?;
        Ok((quote, text))
    }
}

fn is_field(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn is_operator(c: char) -> bool {
    matches!(c, '=' | '!' | '~')
}

fn is_value(c: char) -> bool {
    c != ',' && !c.is_whitespace() && !c.is_control()
}

fn push(bytes: &mut Vec<u8>, c: char) {
    bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

/// What follows a backslash, as Go has it. Octal and `\x` name a byte, `\u` and `\U` a character.
fn escape(chars: &mut std::str::Chars<'_>, quote: char, bytes: &mut Vec<u8>) -> Result<(), Problem> {
    let c = chars.next().ok_or(Problem::NotTerminated)?;
    let plain = match c {
        'a' => 7,
        'b' => 8,
        'f' => 12,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 11,
        '\\' => b'\\',
        '"' | '/' | '|' if c == quote => u8::try_from(c).map_err(|_| Problem::IllegalEscape)?,
        'x' => byte(number(chars, 2, 16)?)?,
        '0'..='7' => {
            let first = c.to_digit(8).ok_or(Problem::IllegalNumericEscape)?;
            byte(first * 64 + number(chars, 2, 8)?)?
        }
        'u' | 'U' => {
            let code = number(chars, if c == 'u' { 4 } else { 8 }, 16)?;
            push(bytes, char::from_u32(code).ok_or(Problem::IllegalNumericEscape)?);
            return Ok(());
        }
        _ => return Err(Problem::IllegalEscape),
    };
    bytes.push(plain);
    Ok(())
}

fn number(chars: &mut std::str::Chars<'_>, digits: u32, radix: u32) -> Result<u32, Problem> {
    (0..digits).try_fold(0_u32, |sum, _| {
        let digit = chars.next().and_then(|c| c.to_digit(radix)).ok_or(Problem::IllegalNumericEscape)?;
        sum.checked_mul(radix).and_then(|sum| sum.checked_add(digit)).ok_or(Problem::IllegalNumericEscape)
    })
}

fn byte(number: u32) -> Result<u8, Problem> {
    u8::try_from(number).map_err(|_| Problem::IllegalNumericEscape)
}
