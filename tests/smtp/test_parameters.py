from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpproxy.smtp.parameters import (
    MAIL_VALUES,
    PARAMETER_EXTENSION,
    RCPT_VALUES,
    Parameter,
    ParameterError,
    parse_parameters,
)


@pytest.mark.parametrize(
    "word",
    [
        b"SIZE=0",
        b"SIZE=12345678901234567890",
        b"BODY=7BIT",
        b"BODY=8BITMIME",
        b"body=binarymime",
        b"SMTPUTF8",
        b"RET=FULL",
        b"RET=hdrs",
        b"ENVID=QQ314159",
        b"ENVID=a+3Db+2B",
        b"ENVID=" + b"x" * 100,
        b"XFOO",
        b"X-FOO=<bar>",
        b"8BIT=;",
        "X=größe".encode(),
    ],
)
def test_parameter_of_mail_passes_as_it_came(word: bytes) -> None:
    (parameter,) = parse_parameters(b" " + word, MAIL_VALUES)
    assert parameter.to_wire() == word


@pytest.mark.parametrize(
    "word",
    [
        b"NOTIFY=NEVER",
        b"NOTIFY=success",
        b"NOTIFY=SUCCESS,FAILURE,DELAY",
        b"ORCPT=rfc822;Bob@example.com",
        b"ORCPT=rfc822;Bob+2Bx@example.com",
        b"ORCPT=rfc822;",
        b"ORCPT=rfc822;" + b"x" * 493,
        "ORCPT=utf-8;jörg@büro.example".encode(),
        b"ORCPT=utf-8;j\\x{F6}rg@example.com",
    ],
)
def test_parameter_of_rcpt_passes_as_it_came(word: bytes) -> None:
    (parameter,) = parse_parameters(b" " + word, RCPT_VALUES)
    assert parameter.to_wire() == word


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (b"SIZE=1", "parameter-syntax"),
        (b" -X=1", "parameter-syntax"),
        (b" X_Y=1", "parameter-syntax"),
        (b" =1", "parameter-syntax"),
        (b" X=", "parameter-syntax"),
        (b" X=a=b", "parameter-syntax"),
        (b" X=\x7f", "parameter-syntax"),
        (b" X=a\x0bb", "parameter-syntax"),
        (b" SIZE=1\x0cBODY=7BIT", "parameter-syntax"),
        (b" X=\xff", "parameter-not-utf8"),
        (b" \xc3\xa4=1", "parameter-syntax"),
        (b" SIZE", "parameter-value"),
        (b" SIZE=-1", "parameter-value"),
        (b" SIZE=1k", "parameter-value"),
        (b" SIZE=123456789012345678901", "parameter-value"),
        (b" BODY", "parameter-value"),
        (b" BODY=9BIT", "parameter-value"),
        (b" SMTPUTF8=1", "parameter-value"),
        (b" RET=BODY", "parameter-value"),
        (b" RET", "parameter-value"),
        (b" ENVID", "parameter-value"),
        (b" ENVID=a+b", "parameter-value"),
        (b" ENVID=a+4", "parameter-value"),
        (b" ENVID=" + b"x" * 101, "parameter-value"),
        (" ENVID=ä".encode(), "parameter-value"),
        (b" SIZE=1 size=2", "parameter-twice"),
        (b" X x", "parameter-twice"),
        (b" " + b" ".join(b"X%d" % index for index in range(33)), "parameter-syntax"),
    ],
)
def test_bad_parameter_of_mail(octets: bytes, reason: str) -> None:
    with pytest.raises(ParameterError) as caught:
        parse_parameters(octets, MAIL_VALUES)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    "octets",
    [
        b" NOTIFY",
        b" NOTIFY=",
        b" NOTIFY=NEVER,SUCCESS",
        b" NOTIFY=SUCCESS,",
        b" NOTIFY=SUCCESS,NEVER",
        b" NOTIFY=SUCCESS,DELAY,FAILURE,DELAY",
        b" ORCPT",
        b" ORCPT=a@b",
        b" ORCPT=;a",
        b" ORCPT=rfc822;a+b",
        b" ORCPT=rfc822;" + b"x" * 494,
        " ORCPT=rfc822;ä".encode(),
        " ORCPT=utf-8;a+ä".encode(),
        b" ORCPT=utf-8;",
        b" ORCPT=UTF-8;a+2B",
        b" ORCPT=utf-8;a\\b",
    ],
)
def test_bad_parameter_of_rcpt(octets: bytes) -> None:
    with pytest.raises(ParameterError):
        parse_parameters(octets, RCPT_VALUES)


def test_spaces_between_parameters_may_be_many() -> None:
    assert parse_parameters(b"  A=1   B", MAIL_VALUES) == (Parameter(b"A", b"1"), Parameter(b"B"))
    assert parse_parameters(b"", MAIL_VALUES) == ()


def test_name_is_for_comparison_and_the_keyword_is_as_sent() -> None:
    parameter = Parameter(b"sIzE", b"1")
    assert (parameter.name, parameter.to_wire()) == (b"SIZE", b"sIzE=1")


def test_every_known_parameter_names_the_extension_that_it_needs() -> None:
    assert set(PARAMETER_EXTENSION) == set(MAIL_VALUES) | set(RCPT_VALUES)


@given(st.binary(max_size=60))
def test_random_octets_are_refused_or_pass_as_they_came(octets: bytes) -> None:
    try:
        parameters = parse_parameters(b" " + octets, MAIL_VALUES)
    except ParameterError:
        return
    assert b"".join(parameter.to_wire() for parameter in parameters) == octets.replace(b" ", b"")
