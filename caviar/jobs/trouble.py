"""What went wrong between here and a cluster, in one line."""

from __future__ import annotations

import os
import re

import requests
from ray.exceptions import AuthenticationError

from caviar.jobs.connection import ANSWER_S, CONNECT_S, RefusedError

LONGEST = 300

_ERROR = re.compile(r"^(\w+\.)*\w*(Error|Exception): ")

TOKEN = "RAY_AUTH_TOKEN to the cluster's token or RAY_AUTH_TOKEN_PATH to its file (by default ~/.ray/auth_token)"

_NO_DASHBOARD = (requests.exceptions.JSONDecodeError, KeyError)
"""What Ray's client raises where the answer is not that of a dashboard."""


def refusal(error: RefusedError) -> str:
    """What an answer that is an error means, and what to do."""
    if error.status == requests.codes.unauthorized:
        return f"it asks for a token{_of_mode()}"
    if error.status == requests.codes.forbidden:
        return (
            "it does not take the token that it was given; RAY_AUTH_TOKEN, or the file that RAY_AUTH_TOKEN_PATH "
            "names (by default ~/.ray/auth_token), must hold the cluster's own"
        )
    return f"{last_line(str(error)) or f'no reason given, with HTTP status {error.status}'}"


def unreachable(error: Exception) -> str:
    """What an exception on the way to a cluster means."""
    if isinstance(error, AuthenticationError):
        return f"RAY_AUTH_MODE asks for a token, and there is none: set {TOKEN}"
    if isinstance(error, ConnectionError) and isinstance(error.__context__, Exception):
        error = error.__context__  # Ray's client says of every way not to connect only that
    text = str(error)
    if "WRONG_VERSION_NUMBER" in text:
        return "what listens there does not speak TLS; http:// is probably meant"
    if isinstance(error, requests.exceptions.SSLError):
        return f"its TLS certificate is not accepted: {last_line(text)}"
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return f"no answer within {CONNECT_S:g} s; is the port open from here?"
    if isinstance(error, requests.exceptions.Timeout):
        return f"something listens there, and gave no answer within {ANSWER_S:g} s"
    if isinstance(error, requests.exceptions.HTTPError) and error.response is not None:
        status = error.response.status_code
        return (
            f"what listens there answers with HTTP status {status}; is it the dashboard of a Ray cluster, and up?"
        )
    if isinstance(error, _NO_DASHBOARD) or "returned 404" in text:
        return "what listens there is not the dashboard of a Ray cluster; its port is 8265 unless it was changed"
    if "resolve" in text:
        return "nobody knows a machine of that name"
    if "refused" in text:
        return "nothing listens there"
    if "BadStatusLine" in text:
        return "what listens there does not speak HTTP; the port of a Ray cluster's dashboard is 8265 by default"
    if isinstance(error, ConnectionError | requests.exceptions.ConnectionError):
        return f"the connection fails: {last_line(text)}"
    return last_line(text) or type(error).__name__


def _of_mode() -> str:
    """What to set so that a token is sent, beside what is set already."""
    mode = os.environ.get("RAY_AUTH_MODE", "")
    if mode.lower() == "token":
        return f"; set {TOKEN}"
    of_mode = f", and RAY_AUTH_MODE is {mode!r:.80}, which sends none" if mode else ""
    return f"{of_mode}; set RAY_AUTH_MODE=token, and {TOKEN}"


def last_line(text: str) -> str:
    """The line of a traceback that says what was wrong; of other text its last."""
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    return _ERROR.sub("", lines[-1]).rstrip(".")[:LONGEST] if lines else ""
