"""The options of ``twistd smtpproxy``, and what they start."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from twisted.application.service import IService
from twisted.python import usage

from smtpproxy.config.load import load_configuration
from smtpproxy.config.problems import ConfigurationErrors
from smtpproxy.errors import SmtpProxyError
from smtpproxy.service import make_service

_EX_UNAVAILABLE: Final = 69
_DEFAULT: Final = "config/smtpproxy.yaml"


class Options(usage.Options):
    """``twistd smtpproxy --config FILE [--check]``."""

    synopsis = "[--config FILE] [--check]"
    optParameters = [  # noqa: RUF012, N815 - Twisted's name and form
        ["config", "c", _DEFAULT, "The configuration file."],
    ]
    optFlags = [  # noqa: RUF012, N815 - Twisted's name and form
        ["check", None, "Load everything, print every mistake, and exit."],
    ]


def makeService(options: Options) -> IService:  # noqa: N802 - Twisted's name
    """Load the configuration and make the gateway; exits with 78 on a mistake, with 0 after ``--check``."""
    try:
        configuration = load_configuration(Path(options["config"]))
        service = make_service(configuration)
    except ConfigurationErrors as errors:
        _leave(errors, errors.status)
    except (SmtpProxyError, OSError) as error:
        _leave(error, _EX_UNAVAILABLE)
    if options["check"]:
        print(f"ok: {len(configuration.policies)} policies")  # noqa: T201 - the answer of --check
        raise SystemExit(0)
    return service


def _leave(error: Exception, status: int) -> None:
    print(error, file=sys.stderr)  # noqa: T201 - the user's terminal, before there is a log
    raise SystemExit(status)
