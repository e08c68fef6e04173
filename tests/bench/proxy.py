"""The other reference: an ASGI application that passes a call to the backend and checks nothing. Prints its port."""

import json
import socket
import sys
from typing import Any

import aiohttp
import uvicorn

BACKEND = sys.argv[2]
http: aiohttp.ClientSession | None = None


async def app(scope: Any, receive: Any, send: Any) -> None:
    """One request."""
    global http
    if scope["type"] != "http":
        return
    http = http or aiohttp.ClientSession()
    message = await receive()
    arguments = json.loads(message["body"])
    async with http.get(f"{BACKEND}/invoices/{arguments['id']}") as answer:
        body = await answer.read()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


if __name__ == "__main__":
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off", loop="uvloop")
    uvicorn.Server(config).run(sockets=[listener])
