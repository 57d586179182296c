# SPDX-License-Identifier: Apache-2.0
"""A proxy in front of a Kafka broker that looks at requests and holds, cuts or delays them: the network as an enemy.

Frames are an int32 length and a body that begins with the int16 api key; nothing else of the protocol is known here."""
import asyncio
import threading

END_TXN, TXN_OFFSET_COMMIT, PRODUCE, INIT_PRODUCER_ID, OFFSET_FETCH, LIST_OFFSETS = 26, 28, 0, 22, 9, 2


class Proxy:
    """Listens where the broker's listener PROXIED is advertised; `rule(key)` says what becomes of a request.

    None: it goes on. ("hold", seconds): it goes on later, and the client is cut off meanwhile if `cut`.
    ("cut",): the connection ends and the request is lost. ("deaf",): it goes on and its answer is lost. ("slow",
    seconds): it and what comes behind it on the connection go on that much later."""

    def __init__(self, broker):
        self.broker, self.rule, self.counts, self.down, self.open = broker, lambda key: None, {}, False, set()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.begun = threading.Event()
        self.thread.start()
        assert self.begun.wait(10)

    @property
    def bootstrap(self):
        return f"127.0.0.1:{self.broker.proxied}"

    def run(self):
        asyncio.set_event_loop(self.loop)
        self.server = self.loop.run_until_complete(
            asyncio.start_server(self.client, "127.0.0.1", self.broker.proxied))
        self.begun.set()
        self.loop.run_forever()

    def stop(self):
        def end():
            self.server.close()
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.loop.call_later(0.1, self.loop.stop)
        self.loop.call_soon_threadsafe(end)
        self.thread.join(10)

    def cut(self, down):
        """Ends all connections and refuses new ones (True), or takes them again."""
        def now():
            self.down = down
            for w in self.open if down else ():
                w.close()
        self.loop.call_soon_threadsafe(now)

    async def client(self, reader, writer):
        if self.down:
            writer.close()
            return
        self.open.add(writer)
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.broker.behind)
        except OSError:
            writer.close()
            self.open.discard(writer)
            return
        answers = asyncio.ensure_future(self.pump(up_reader, writer))
        late = []
        try:
            while True:
                head = await reader.readexactly(4)
                body = await reader.readexactly(int.from_bytes(head, "big"))
                key = int.from_bytes(body[:2], "big")
                self.counts[key] = self.counts.get(key, 0) + 1
                what = self.rule(key)
                if what is None:
                    up_writer.write(head + body)
                    await up_writer.drain()
                elif what[0] == "hold":  # arrives later; what the client sends meanwhile comes another way
                    late.append(self.loop.call_later(what[1], up_writer.write, head + body))
                    if len(what) > 2:
                        writer.close()
                        await asyncio.sleep(what[1] + 0.5)
                        break
                elif what[0] == "slow":
                    await asyncio.sleep(what[1])
                    up_writer.write(head + body)
                elif what[0] == "deaf":
                    answers.cancel()
                    up_writer.write(head + body)
                    await up_writer.drain()
                    await asyncio.sleep(0.2)
                    break
                else:
                    break
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            if late:
                await asyncio.sleep(max(0, late[-1].when() - self.loop.time()) + 0.5)
        answers.cancel()
        for w in (writer, up_writer):
            w.close()
        self.open.discard(writer)

    async def pump(self, reader, writer):
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except (ConnectionError, asyncio.CancelledError):
            pass
        writer.close()
