import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luxdask.errors import ConfigError
from luxdask.io.jsonc import parse_jsonc

TEXTS = st.text('ab"\\/*,{}[]: \n\tµ', max_size=12)
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


@given(DOCUMENTS)
def test_plain_json_is_read_as_json_reads_it(document: object) -> None:
    assert parse_jsonc(json.dumps(document, ensure_ascii=False)) == document
    assert parse_jsonc(json.dumps(document, indent=1)) == document


@given(DOCUMENTS)
def test_comments_between_any_two_tokens_change_nothing(document: object) -> None:
    text = json.dumps(document, separators=(', // , ]} "\n/* a,\n ** / // */', ": /**/"))
    # only separators outside of strings are written by dumps, so all of these are comments
    assert parse_jsonc(text) == document


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('// first\n{"a": 1} // last', {"a": 1}),
        ('{"a": [1, 2,], }', {"a": [1, 2]}),
        ('{"a": [1, /* , */ 2, // two\n ], /* end */ }', {"a": [1, 2]}),
        ('{"path": "http://x/*y*/", "b": "a,]"}', {"path": "http://x/*y*/", "b": "a,]"}),
        (r'{"a": "quote \" // \\"}', {"a": 'quote " // \\'}),
        ("\ufeff[1]", [1]),
        ("[]//", []),
        ('[{},[],"",]', [{}, [], ""]),
        ("1.5e3", 1500.0),
    ],
)
def test_what_people_write(text: str, expected: object) -> None:
    assert parse_jsonc(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1, column 1"),
        ('{"a": 1,\n "b": 2\n "c": 3}', "line 3, column 2: not JSON: Expecting ',' delimiter"),
        ('{ // one\n /* two\n three */ "a": x }', "line 3, column 16"),
        ("[1, /* never\nclosed", r"line 1, column 5: this comment /\* is never closed"),
        ("[,]", "line 1, column 2"),
        ("[1,,]", "line 1, column 4"),
        ("{,}", "line 1, column 2"),
        ('{"a":,}', "line 1, column 6"),
        ('"open // string', "line 1, column 1"),
        ("[1] / 2", "line 1, column 5"),
        ('{"a": 1, "a": 2}', "'a' appears twice"),
        ("[NaN]", "NaN is not a number"),
        ("[-Infinity]", "-Infinity is not a number"),
        ("[" * 100_000, "nested too deeply"),
        ("[" + "1" * 5000 + "]", "not usable as JSON"),
    ],
)
def test_slips_are_errors_with_their_place(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_jsonc(text)
