"""The options of ``twistd smtpproxy``, and what they start."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, NoReturn

from twisted.application.service import IService, MultiService
from twisted.logger import ILogObserver
from twisted.python import usage
from twisted.python.components import Componentized

from smtpproxy.authority.signing_process import SigningProcessError, check_keys
from smtpproxy.config.certificates import Keys
from smtpproxy.config.load import keys_elsewhere, keys_here, load_configuration
from smtpproxy.config.problems import ConfigurationErrors
from smtpproxy.config.values import Configuration
from smtpproxy.errors import SmtpProxyError
from smtpproxy.fleet import make_fleet
from smtpproxy.net.console import Console
from smtpproxy.service import make_service
from smtpproxy.workers.cores import count_workers
from smtpproxy.workers.launch import Launch
from smtpproxy.workers.log_lines import relay

_EX_UNAVAILABLE: Final = 69
_EX_CONFIG: Final = 78
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


class _Foreground(MultiService):
    """Brings its own log observer along, in the way that Twisted has for it: as a component of the application."""

    def setServiceParent(self, parent: object) -> None:  # noqa: N802 - Twisted's name
        if isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, Console(sys.stdout))
        super().setServiceParent(parent)  # type: ignore[no-untyped-call]


def makeService(options: Options) -> IService:  # noqa: N802 - Twisted's name
    """Load the configuration and make the gateway; exits with 78 on a mistake, with 0 after ``--check``."""
    try:
        file = Path(options["config"])
        is_check = bool(options["check"])
        configuration = load_configuration(file, keys=keys_here if is_check else _keys)
        if is_check:
            print(f"ok: {len(configuration.policies)} policies")  # noqa: T201 - the answer of --check
            raise SystemExit(0)
        # Absolute, since twistd may go to another folder.
        load = partial(load_configuration, file.absolute(), keys=_keys)
        service = _make(configuration, load, relays=not _logs_to_terminal(options.parent))
        gc.freeze()  # what was loaded stays: a full collection need not look at it again
    except ConfigurationErrors as errors:
        _leave(errors, errors.status)
    except SigningProcessError as error:
        _leave(error, _EX_CONFIG)
    except (SmtpProxyError, OSError) as error:
        _leave(error, _EX_UNAVAILABLE)
    if not _logs_to_terminal(options.parent):
        return service
    foreground = _Foreground()  # type: ignore[no-untyped-call]
    service.setServiceParent(foreground)
    return foreground


def _make(configuration: Configuration, load: Callable[[], Configuration], *, relays: bool) -> IService:
    """One process does it all, or a supervisor has several that do it."""
    if count_workers(configuration.gateway.workers) == 1:
        return make_service(configuration, load)
    check_keys(configuration.file)
    load = partial(load_configuration, configuration.file, keys=keys_elsewhere)
    return make_fleet(configuration, load, Launch(relay=relay if relays else None))


def _keys(workers: int | None) -> Keys:
    """Where several processes do the work, one more has the authorities' keys."""
    return Keys.HERE if count_workers(workers) == 1 else Keys.ELSEWHERE


def _logs_to_terminal(twistd: usage.Options | None) -> bool:
    """Whether twistd was told nothing else about its log."""
    if twistd is None or not twistd["nodaemon"]:
        return False
    return not (twistd["logger"] or twistd["syslog"]) and twistd["logfile"] in (None, "-")


def _leave(error: Exception, status: int) -> NoReturn:
    print(error, file=sys.stderr)  # noqa: T201 - the user's terminal, before there is a log
    raise SystemExit(status)
