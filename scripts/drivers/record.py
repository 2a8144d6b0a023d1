"""Writes down what became of each test of somebody else's suite, one JSON object a line.

    record.py OUT pytest ARGUMENTS...           pytest, with a plugin of ours
    record.py OUT SCRIPT ARGUMENTS...           a script that runs unittest, whose every result class is listened to

The first line is {"version": SUITE_VERSION of the environment}. After it, a line is
{"test": NAME, "outcome": "passed" | "failed" | "skipped", "why": LAST LINE}. A test of which several parts are
told (subtests, an error while it is taken down) has failed if one of them has.
"""

import json
import os
import runpy
import signal
import sys
import unittest

RANK = {"skipped": 0, "passed": 1, "failed": 2}
outcomes = {}


def note(test, outcome, why=""):
    known = outcomes.get(test)
    if known is None or RANK[outcome] > RANK[known[0]]:
        outcomes[test] = (outcome, last_line(why))


def last_line(text):
    lines = [line.strip() for line in str(text).splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""


class Plugin:
    """What pytest tells."""

    def pytest_runtest_logreport(self, report):
        if report.failed:
            note(report.nodeid, "failed", crash(report))
        elif report.skipped:
            note(report.nodeid, "skipped", reason(report))
        elif report.when == "call":
            note(report.nodeid, "passed")

    def pytest_collectreport(self, report):
        if report.failed:
            note(report.nodeid, "failed", crash(report))


def crash(report):
    where = getattr(report.longrepr, "reprcrash", None)
    return where.message if where else report.longreprtext


def reason(report):
    return report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext


def listen_to_unittest():
    """Lets every unittest result tell us too, whichever class the suite derives its own from."""
    heard = unittest.TestResult

    def listen(method, tell):
        original = getattr(heard, method)

        def hears(self, test, *rest):
            tell(test, *rest)
            return original(self, test, *rest)

        setattr(heard, method, hears)

    def part(test, _, error):
        if error is not None:
            note(test.id(), "failed", shown(error))

    listen("addSuccess", lambda test: note(test.id(), "passed"))
    listen("addFailure", lambda test, error: note(test.id(), "failed", shown(error)))
    listen("addError", lambda test, error: note(test.id(), "failed", shown(error)))
    listen("addSkip", lambda test, why: note(getattr(test, "test_case", test).id(), "skipped", why))
    listen("addExpectedFailure", lambda test, _: note(test.id(), "passed"))
    listen("addUnexpectedSuccess", lambda test: note(test.id(), "failed", "passed, and was not expected to"))
    listen("addSubTest", part)


def shown(error):
    return f"{error[0].__name__}: {' '.join(str(error[1]).split())}"


def write(out):
    with open(out, "w", encoding="utf-8") as lines:
        print(json.dumps({"version": os.environ.get("SUITE_VERSION", "")}), file=lines)
        for test, (outcome, why) in list(outcomes.items()):
            print(json.dumps({"test": test, "outcome": outcome, "why": why}), file=lines)


def main():
    out, program, *arguments = sys.argv[1:]

    def told_to_end(*_):
        # At once: an exception would end the test at hand, and no more.
        write(out)
        os._exit(1)

    signal.signal(signal.SIGTERM, told_to_end)
    code = 1
    try:
        if program == "pytest":
            import pytest

            code = pytest.main([*arguments, "-q", "-p", "no:cacheprovider"], plugins=[Plugin()])
        else:
            listen_to_unittest()
            sys.argv = [program, *arguments]
            sys.path.insert(0, os.path.dirname(os.path.abspath(program)))
            runpy.run_path(program, run_name="__main__")
            code = 0
    except SystemExit as end:
        code = end.code
    write(out)
    # That tests failed is in the file; only a suite that could not be run has failed.
    sys.exit(0 if outcomes else code or 1)


if __name__ == "__main__":
    main()
