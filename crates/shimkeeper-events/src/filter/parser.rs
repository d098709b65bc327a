// SPDX-License-Identifier: Apache-2.0
//! The grammar of filters, by recursive descent.

use super::eval::{Filter, Pattern, Selector, Test};
use super::lexer::{Lexer, Quotes, Trouble};
use super::{FilterError, Problem};

/// Compiles one filter, whose expressions may take as much memory as there is room.
pub(super) fn parse(input: &str, room: &mut usize) -> Result<Filter, FilterError> {
    if input.is_empty() {
        return Ok(Filter::new(Vec::new()));
    }
    let mut lexer = Lexer::new(input);
    let mut selectors = Vec::new();
    loop {
        selectors.push(selector(input, &mut lexer, room)?);
        match lexer.peek() {
            None => return Ok(Filter::new(selectors)),
            Some(',') => _ = lexer.eat(','),
            Some(c) => return Err(syntax(input)((lexer.at(), Problem::UnexpectedInput(c)))),
        }
    }
}

fn syntax(input: &str) -> impl Fn(Trouble) -> FilterError + '_ {
    move |(at, problem)| FilterError::Syntax { input: input.to_owned(), at, problem }
}

fn selector(input: &str, lexer: &mut Lexer<'_>, room: &mut usize) -> Result<Selector, FilterError> {
    let path = path(lexer).map_err(syntax(input))?;
    if matches!(lexer.peek(), None | Some(',')) {
        return Ok(Selector { path, test: Test::Present });
    }
    let start = lexer.at();
    let operator = lexer.operator().map_err(syntax(input))?;
    let quotes = if operator == "~=" { Quotes::Any } else { Quotes::Double };
    if !matches!(operator, "==" | "!=" | "~=") {
        let at = start + input[start..].find(operator).unwrap_or(0);
        return Err(syntax(input)((at, Problem::UnsupportedOperator(operator.to_owned()))));
    }
    let (at, value) = lexer.value(quotes).map_err(syntax(input))?;
    let test = match operator {
        "==" => Test::Equal(value),
        "!=" => Test::NotEqual(value),
        _ => Test::Matches(Pattern::new(value, room).map_err(|error| FilterError::Pattern {
            input: input.to_owned(),
            at,
            problem: error.to_string(),
        })?),
    };
    Ok(Selector { path, test })
}

fn path(lexer: &mut Lexer<'_>) -> Result<Vec<String>, Trouble> {
    let mut path = vec![lexer.field()?];
    while lexer.eat('.') {
        path.push(lexer.field()?);
    }
    Ok(path)
}
