// SPDX-License-Identifier: Apache-2.0
//! The grammar by table and by property, and what filters say about things.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;

struct Thing(BTreeMap<&'static str, &'static str>);

impl Adaptor for Thing {
    fn field(&self, path: &[String]) -> Option<&str> {
        self.0.get(&*map_key(path)).copied()
    }
}

fn thing(fields: &[(&'static str, &'static str)]) -> Thing {
    Thing(fields.iter().copied().collect())
}

#[test]
fn what_is_a_filter_and_how_it_is_printed() {
    let table = [
        ("", ""),
        ("name", "name"),
        ("  name", "name"),
        ("name==value", r#"name=="value""#),
        ("name == value", r#"name=="value""#),
        ("a==1, b!=2,\tc~=3", r#"a=="1",b!="2",c~="3""#),
        ("labels.a.b", "labels.a.b"),
        ("labels. a", "labels.a"),
        (r#""two words".x==y"#, r#""two words".x=="y""#),
        (r#"a=="x, \"y\" \\ \x41\101\u00e9\U0001f600\n""#, "a==\"x, \\\"y\\\" \\\\ AAé😀\\u000a\""),
        ("a==b=c.d-e/f|g\"h", r#"a=="b=c.d-e/f|g\"h""#),
        ("a~=/x,y\\/z/", r#"a~="x,y/z""#),
        ("a~=|x/y|,b", r#"a~="x/y",b"#),
        (r"a~=[abc]\+", r#"a~="[abc]\\+""#),
        // Single quotes are no quotes, but may be part of a value.
        ("a=='b'c", r#"a=="'b'c""#),
        ("name~=牛", r#"name~="牛""#),
        ("a==\"\"", r#"a=="""#),
        // Short paths are asked, and printed, first.
        ("x.y==1,z==2", r#"z=="2",x.y=="1""#),
    ];
    for (text, printed) in table {
        let filter = text.parse::<Filter>().unwrap_or_else(|error| panic!("{text:?}: {error}"));
        assert_eq!(filter.to_string(), printed, "{text:?}");
    }
}

#[test]
fn what_is_no_filter_and_where_it_goes_wrong() {
    let table = [
        (" ", "[ ]: expected field or quoted"),
        ("name==foo,", "[name==foo,]: expected field or quoted"),
        ("labels.", "[labels.]: expected field or quoted"),
        (",a", "[ >|,|< a]: expected field or quoted"),
        ("a.?b", "[a. >|?|< b]: expected field or quoted"),
        ("labels.|a|==b", "[labels. >|||< a|==b]: invalid quote encountered"),
        ("labels.ns/key==v", "[labels.ns >|/|< key==v]: quoted literal not terminated"),
        ("a/b/==v", "[a >|/|< b/==v]: expected an operator (\"==\"|\"!=\"|\"~=\")"),
        ("labels.\"x==v", "[labels. >|\"|< x==v]: quoted literal not terminated"),
        ("labels.\"a\nb\"", "[labels. >|\"|< a\nb\"]: quoted literal not terminated"),
        ("a==/v", "[a== >|/|< v]: quoted literal not terminated"),
        ("a==/v/", "[a== >|/|< v/]: invalid quote encountered"),
        (r#"a."\g""#, r#"[a. >|"|< \g"]: illegal escape sequence"#),
        (r#"a."\xaz""#, r#"[a. >|"|< \xaz"]: illegal numeric escape sequence"#),
        (r#"a."\400""#, r#"[a. >|"|< \400"]: illegal numeric escape sequence"#),
        (r#"a."\ud800""#, r#"[a. >|"|< \ud800"]: illegal numeric escape sequence"#),
        (r#"a."\xff""#, r#"[a. >|"|< \xff"]: unquoted text is not valid UTF-8"#),
        ("a~=,b", "[a~= >|,|< b]: expected value or quoted"),
        ("a==", "[a==]: expected value or quoted"),
        ("a==.b", "[a== >|.|< b]: expected value or quoted"),
        ("a=b", r#"[a >|=|< b]: unsupported operator "=""#),
        ("a===b", r#"[a >|=|< ==b]: unsupported operator "===""#),
        ("a  ~b", r#"[a   >|~|< b]: unsupported operator "~""#),
        ("a==b c", "[a==b >| |< c]: unexpected input:  "),
        ("a==b ", "[a==b >| |< ]: unexpected input:  "),
        ("a ", "[a ]: expected an operator (\"==\"|\"!=\"|\"~=\")"),
        ("a ,b", "[a  >|,|< b]: expected an operator (\"==\"|\"!=\"|\"~=\")"),
        ("foo\0bar", "[foo >|\0|< bar]: unexpected null"),
        ("é", "[ >|é|< ]: expected field or quoted"),
    ];
    for (text, message) in table {
        let error = text.parse::<Filter>().expect_err(text);
        assert_eq!(error.to_string(), message, "{text:?}");
        assert_eq!(error.kind(), Kind::InvalidArgument);
    }
}

#[test]
fn operators_mean_what_they_mean_in_the_original() {
    let thing = thing(&[("name", "foo"), ("labels.a.b", "c"), ("empty", "")]);
    let holds = [
        "",
        "name",
        "name==foo",
        "name!=bar",
        "absent!=x",
        "name~=o+",
        "name~=^f",
        "labels.a.b==c",
        r#"labels."a.b"==c"#,
        "name,labels.a.b",
        "empty",
        r#"empty=="""#,
    ];
    for text in holds {
        assert!(text.parse::<Filter>().unwrap().matches(&thing), "{text}");
    }
    for text in ["absent", "name==fo", "name!=foo", "absent==x", "absent~=|.*|", "name~=^o", "name,absent"] {
        assert!(!text.parse::<Filter>().unwrap().matches(&thing), "{text}");
    }
}

#[test]
fn one_filter_of_several_is_enough_and_none_is_everything() {
    let thing = thing(&[("name", "foo")]);
    assert!(Filters::everything().matches(&thing));
    assert!(Filters::parse(["name==x", "name==foo"]).unwrap().matches(&thing));
    assert!(!Filters::parse(["name==x", "name==y"]).unwrap().matches(&thing));
    assert!(Filters::parse(["name==x", ""]).unwrap().matches(&thing));
}

#[test]
fn an_expression_that_does_not_compile_is_an_error_at_its_place() {
    let error = "name~=[".parse::<Filter>().unwrap_err();
    assert!(matches!(&error, FilterError::Pattern { at: 6, .. }), "{error:?}");
    assert!(error.to_string().starts_with("[name~= >|[|< ]: "), "{error}");
    let error = "name~=(((a{200}){200}){200}){200}".parse::<Filter>().unwrap_err();
    assert!(matches!(error, FilterError::Pattern { .. }), "costs too much");
}

#[test]
fn the_expressions_of_a_request_share_what_they_may_cost() {
    let dear = r#"name~="a{1,500}""#;
    assert!(dear.parse::<Filter>().is_ok());
    let many = [dear; 9].join(",");
    assert!(matches!(many.parse::<Filter>(), Err(FilterError::Pattern { at, .. }) if at > dear.len()));
    assert!(matches!(Filters::parse([dear; 9]), Err(FilterError::Pattern { .. })));
    assert!(Filters::parse(vec!["namespace~=^moby$,topic~=^/tasks/"; 32]).is_ok(), "so many nobody has");
}

#[test]
fn an_expression_is_asked_about_the_beginning_of_a_long_text() {
    let begins = "é".repeat(eval::MAX_TEXT_BYTES / 2);
    let text = format!("{begins}x").leak();
    let matches = |filter: &str| filter.parse::<Filter>().unwrap().matches(&thing(&[("name", text)]));
    assert!(matches("name~=^é+$") && !matches("name~=x"));
    assert!(matches(&format!("name=={text}")), "whatever else is asked is asked about all of it");
}

#[test]
fn there_is_a_limit_to_filters() {
    let long = "a".repeat(MAX_FILTER_BYTES + 1);
    assert_eq!(long.parse::<Filter>(), Err(FilterError::TooLong { len: long.len() }));
    assert_eq!(Filters::parse(vec!["a"; MAX_FILTERS + 1]), Err(FilterError::TooMany));
    assert!(Filters::parse(vec!["a"; MAX_FILTERS]).is_ok());
}

fn quoted() -> impl Strategy<Value = String> {
    any::<String>().prop_map(|text| {
        let mut out = String::new();
        for c in text.chars() {
            if c == '"' || c == '\\' || c.is_control() {
                let _ = write!(out, "\\U{:08x}", u32::from(c));
            } else {
                out.push(c);
            }
        }
        format!("\"{out}\"")
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_filter_of_quoted_texts_is_one_and_reads_back(path in prop::collection::vec(quoted(), 1..4), value in quoted()) {
        let text = format!("{}=={value}", path.join("."));
        let filter: Filter = text.parse().unwrap();
        prop_assert_eq!(filter.to_string().parse::<Filter>().unwrap(), filter);
    }
}
