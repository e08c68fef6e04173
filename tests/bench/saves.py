"""From a save to what is served: `python tests/bench/saves.py [TENANTS] [SAVES]`.

`stoa dev` serves a generated source; a file is written as an editor does, and the MCP endpoint is asked every few
milliseconds until it tells the new text. What is printed is the time between, of so many saves, and what a question
takes.
"""

import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent)]

from generate import generate  # noqa: E402

STOA = str(Path(sys.executable).with_name("stoa"))
TENANT = "t00042"
CONTRACT = f"{TENANT}/contracts/parts.yaml"
TARGET_MS = 150
PAUSE = 0.005
"""Seconds between two questions: without any, answering them would take half of the process that compiles."""


def main() -> int:
    """Measures and prints."""
    tenants = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    saves = int(sys.argv[2]) if len(sys.argv) > 2 else 20
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch, "tenants")
        generate(tenants, root)
        develop(root)
        words = [STOA, "dev", str(root), "--port", "0", "--state", str(Path(scratch, "state")), "--format", "json"]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            try:
                assert process.stdout is not None
                facts = json.loads(process.stdout.readline())
                token = signed_in(facts["issuer"])
                asked = [ask(facts["mcp"], token)[1] for _ in range(20)]
                took = [saved(root / CONTRACT, n, facts["mcp"], token) for n in range(saves)]
            finally:
                process.terminate()
    took.sort()
    print(f"{tenants} tenants, {saves} saves; from a save to the new text, in ms:")
    print(f"  least {took[0]:.0f}, median {statistics.median(took):.0f}, most {took[-1]:.0f} (target {TARGET_MS})")
    print(f"  one question alone: least {min(asked):.1f}, median {statistics.median(asked):.1f}")
    return 0


def develop(root: Path) -> None:
    """Gives the source a development environment."""
    platform = root / "platform.yaml"
    text = platform.read_text()
    environment = (
        "  environments:\n    dev:\n      gateway: http://127.0.0.1:8080\n"
        "      issuer: http://127.0.0.1:8081/realms/bench\n      development: true\n      targets: [mcp]\n"
        "      backendNetworks: [127.0.0.0/8]\n      limitFactor: 10\n"
    )
    platform.write_text(text.replace("  environments:\n", environment, 1))
    for path in root.glob("*/tenant.yaml"):
        path.write_text(path.read_text().replace("environments: [prod]", "environments: [dev, prod]"))
    for path in root.glob("*/contracts/*.yaml"):
        path.write_text(re.sub(r"(\n\s+)prod: (https://\S+)", r"\1dev: http://localhost:9\1prod: \2", path.read_text()))


def signed_in(issuer: str) -> str:
    """A token of a client of the tenant that may list tools, by client credentials."""
    form = {"grant_type": "client_credentials", "client_id": f"{TENANT}.robot", "scope": "stoa-mcp"}
    known = json.loads(urllib.request.urlopen(f"{issuer}/.well-known/openid-configuration").read())
    request = urllib.request.Request(known["token_endpoint"], urllib.parse.urlencode(form).encode())
    return str(json.loads(urllib.request.urlopen(request).read())["access_token"])


def ask(url: str, token: str) -> tuple[str, float]:
    """All tools of the caller as text, and what it took in ms."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
    }
    body: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": meta}}
    headers = {
        "Authorization": f"Bearer {token}",
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "tools/list",
    }
    began = time.perf_counter()
    answer = urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers)).read()
    return answer.decode(), (time.perf_counter() - began) * 1000


def saved(path: Path, number: int, url: str, token: str) -> float:
    """Milliseconds from a save to the first answer with the new text."""
    word = f"Saved{number:04}"
    text = re.sub(r"summary: One part\S*", f"summary: One part{word}", path.read_text())
    staging = path.with_name(".saved.new")
    staging.write_text(text)
    time.sleep(0.3)
    staging.replace(path)
    began = time.perf_counter()
    while word not in ask(url, token)[0]:
        time.sleep(PAUSE)
        if time.perf_counter() - began > 30:
            raise SystemExit("the new text never came")
    return (time.perf_counter() - began) * 1000


if __name__ == "__main__":
    raise SystemExit(main())
