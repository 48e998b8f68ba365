"""A client like that of programs compiled by Emscripten, whose sockets are WebSockets: it asks for the sub-protocol `binary`, sends
each write as an ArrayBuffer, also while it is still connecting, and takes an empty message for the end."""

import pytest
from harness import gateway, targets

SIZES = [1, 4096, 70_000, 300_000]
CLIENT = """
const [url, protocols, sizes, done] = arguments;
const socket = new WebSocket(url, protocols);
socket.binaryType = "arraybuffer";
const wanted = sizes.reduce((sum, size) => sum + size, 0);
const received = [];
const queue = sizes.map((size, index) => new Uint8Array(size).fill(index + 1).buffer);
const told = {empty: 0, text: 0};
socket.onopen = () => { told.protocol = socket.protocol; while (queue.length) socket.send(queue.shift()); };
socket.onmessage = ({data}) => {
  if (typeof data == "string") told.text += 1;
  else if (data.byteLength == 0) told.empty += 1;
  else for (const byte of new Uint8Array(data)) received.push(byte);
  if (received.length >= wanted) socket.close();
};
socket.onerror = () => done("error");
socket.onclose = ({code, wasClean}) => {
  let at = 0;
  told.intact = received.length == wanted &&
    sizes.every((size, index) => received.slice(at, at += size).every((byte) => byte == index + 1));
  done({...told, code, wasClean});
};
"""


# Its default, and what programs set.
@pytest.mark.parametrize("protocols", [["binary"], ["binary", "base64"]], ids=" ".join)
def test_a_socket_of_emscripten_is_served(browser, directory, protocols):
    (directory / "index.html").write_text("<!doctype html><title>client</title>")
    port = gateway.free_port()
    with targets.EchoTarget() as target:
        arguments = ["--web", directory, port, f"localhost:{target.port}"]
        with gateway.Gateway(*arguments, listen=("127.0.0.1", port)):
            browser.get(f"http://127.0.0.1:{port}/")
            told = browser.execute_async_script(CLIENT, f"ws://127.0.0.1:{port}/", protocols, SIZES)
    # A close without a code is 1005 to a browser.
    assert told == {"empty": 0, "text": 0, "protocol": "binary", "intact": True, "code": 1005, "wasClean": True}, told
