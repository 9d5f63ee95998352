"""The options of ``twistd smtpproxy``, and what they start."""

from __future__ import annotations

import gc
import sys
from dataclasses import replace
from pathlib import Path
from typing import Final, NoReturn

from twisted.application.service import IService, MultiService
from twisted.logger import ILogObserver
from twisted.python import usage
from twisted.python.components import Componentized

from smtpproxy.authority.signing_process import SigningProcessError, check_keys
from smtpproxy.config.certificates import Keys
from smtpproxy.config.load import keys_elsewhere, load_configuration
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

_ALONE: Final = (
    "gateway.workers: auto is one process after twistd --uid; to use every core, have the service manager change the "
    "user, or name a number"
)


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
        if options["check"]:
            print(f"ok: {len(load_configuration(file).policies)} policies")  # noqa: T201 - the answer of --check
            raise SystemExit(0)
        service = _make(_Loading(file, options.parent), relays=not _logs_to_terminal(options.parent))
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


def _make(loading: _Loading, *, relays: bool) -> IService:
    """One process does it all, or a supervisor has several that do it."""
    configuration = loading.load_first()
    if configuration.gateway.workers == 1:
        return make_service(configuration, loading.load)
    check_keys(configuration.file)
    return make_fleet(configuration, loading.load_without_keys, Launch(relay=relay if relays else None))


class _Loading:
    """Loads the configuration, with the number of workers that there are to be.

    Args:
        file: the main file.
        twistd: its options.
    """

    def __init__(self, file: Path, twistd: usage.Options | None) -> None:
        self._file, self._absolute = file, file.absolute()
        self._gives_up_rights = twistd is not None and twistd["uid"] is not None

    def load_first(self) -> Configuration:
        """Load it with the authorities' keys, unless several processes do the work: then one more has them."""
        return self._counted(load_configuration(self._file, keys=self._keys))

    def load(self) -> Configuration:
        """Do so again; twistd may have gone to another folder."""
        return self._counted(load_configuration(self._absolute, keys=self._keys))

    def load_without_keys(self) -> Configuration:
        """Load it without them, whatever the number is."""
        return self._counted(load_configuration(self._absolute, keys=keys_elsewhere))

    def _keys(self, workers: int | None) -> Keys:
        return Keys.HERE if self._count(workers) == 1 else Keys.ELSEWHERE

    def _counted(self, configuration: Configuration) -> Configuration:
        gateway = configuration.gateway
        counted = replace(configuration, gateway=replace(gateway, workers=self._count(gateway.workers)))
        if not self._gives_up_rights or gateway.workers is not None or count_workers(None) == 1:
            return counted
        return replace(counted, notices=(*configuration.notices, _ALONE))

    def _count(self, workers: int | None) -> int:
        """With lesser rights than at the start, no process may be able to begin anew."""
        return 1 if workers is None and self._gives_up_rights else count_workers(workers)


def _logs_to_terminal(twistd: usage.Options | None) -> bool:
    """Whether twistd was told nothing else about its log."""
    if twistd is None or not twistd["nodaemon"]:
        return False
    return not (twistd["logger"] or twistd["syslog"]) and twistd["logfile"] in (None, "-")


def _leave(error: Exception, status: int) -> NoReturn:
    print(error, file=sys.stderr)  # noqa: T201 - the user's terminal, before there is a log
    raise SystemExit(status)
