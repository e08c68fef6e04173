"""Whether the runtime beside this process is well: `python -m stoa_runtime.probe [URL]`, a container's health check.

It exits with 0 where the answer is 200, else with 1 and one line. Without a URL it asks `/healthz` on the port of
`STOA_SERVE_PORT`, else 8080.
"""

import http.client
import os
import sys
from urllib.parse import urlsplit

SECONDS = 4.0


def main(arguments: list[str]) -> int:
    """The exit code."""
    url = arguments[0] if arguments else f"http://127.0.0.1:{os.environ.get('STOA_SERVE_PORT') or 8080}/healthz"
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port, timeout=SECONDS)
    try:
        connection.request("GET", parts.path or "/")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        print(f"{url} does not answer: {error}", file=sys.stderr)
        return 1
    finally:
        connection.close()
    if status != 200:
        print(f"{url} answers {status}", file=sys.stderr)
    return 0 if status == 200 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
