# SPDX-License-Identifier: Apache-2.0
"""A real browser without a driver: headless chromium, spoken to over its DevTools pipe. Standard library only.

    with Browser() as b:
        page = b.page(width=1440, height=1000, dark=True)
        page.open("http://127.0.0.1:21300/")
        page.wait("document.title !== 'Quern'")
        assert page.problems == []
"""
import base64
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
         "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
         "--disable-dev-shm-usage", "--remote-debugging-pipe"]
AS_3_AND_4 = "import os, sys; a = sys.argv; os.dup2(int(a[1]), 3); os.dup2(int(a[2]), 4); os.execvp(a[3], a[3:])"
PATIENCE_S = 30


class Browser:
    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="quern-browser-")
        theirs_in, self.out = os.pipe()
        self.into, theirs_out = os.pipe()
        ends = [fcntl.fcntl(fd, fcntl.F_DUPFD, 20) for fd in (theirs_in, theirs_out)]  # clear of 3 and 4
        self.process = subprocess.Popen(
            [sys.executable, "-c", AS_3_AND_4, *map(str, ends), PROGRAM, *FLAGS, f"--user-data-dir={self.folder}",
             "about:blank"], pass_fds=ends, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True)
        for fd in (theirs_in, theirs_out, *ends):
            os.close(fd)
        self.number, self.answers, self.pages = 0, {}, {}
        self.news = threading.Condition()
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        rest = b""
        while True:
            try:
                some = os.read(self.into, 1 << 20)
            except OSError:
                return
            if not some:
                return
            *texts, rest = (rest + some).split(b"\0")
            for text in texts:
                message = json.loads(text)
                with self.news:
                    if "id" in message:
                        self.answers[message["id"]] = message
                    elif message.get("sessionId") in self.pages:
                        self.pages[message["sessionId"]].heard(message)
                    self.news.notify_all()

    def call(self, method, session=None, **words):
        with self.news:
            self.number += 1
            number = self.number
            message = {"id": number, "method": method, "params": words}
            if session:
                message["sessionId"] = session
            os.write(self.out, json.dumps(message).encode() + b"\0")
            if not self.news.wait_for(lambda: number in self.answers, PATIENCE_S):
                raise TimeoutError(f"chromium does not answer {method}")
            answer = self.answers.pop(number)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def page(self, **size):
        return Page(self, **size)

    def close_pages(self):
        for page in list(self.pages.values()):
            self.call("Target.disposeBrowserContext", browserContextId=page.context)
        self.pages.clear()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.call("Browser.close")
            self.process.wait(5)
        except (OSError, RuntimeError, TimeoutError, subprocess.TimeoutExpired):
            os.killpg(self.process.pid, signal.SIGKILL)  # the group is this browser's own
            self.process.wait()
        os.close(self.out)
        shutil.rmtree(self.folder, ignore_errors=True)


class Page:
    """One tab. `problems` holds what the page did wrong: errors of scripts, and whatever the console calls an error or
    a warning, such as a breach of the content security policy."""

    def __init__(self, browser, width=1440, height=1000, dark=False, scale=1):
        self.browser, self.problems = browser, []
        self.context = browser.call("Target.createBrowserContext")["browserContextId"]
        target = browser.call("Target.createTarget", url="about:blank", browserContextId=self.context)["targetId"]
        self.session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        browser.pages[self.session] = self
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale,
                  mobile=width < 640)
        self.call("Emulation.setEmulatedMedia",
                  features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])

    def call(self, method, **words):
        return self.browser.call(method, self.session, **words)

    def heard(self, message):
        words = message.get("params", {})
        if message["method"] == "Runtime.exceptionThrown":
            details = words["exceptionDetails"]
            self.problems.append(details.get("exception", {}).get("description") or details["text"])
        elif message["method"] == "Log.entryAdded" and words["entry"]["level"] in ("error", "warning"):
            self.problems.append(f"{words['entry']['text']} {words['entry'].get('url', '')}")
        elif message["method"] == "Runtime.consoleAPICalled" and words["type"] in ("error", "warning", "assert"):
            self.problems.append(" ".join(str(a.get("value", a.get("description"))) for a in words["args"]))

    def open(self, url):
        self.call("Page.navigate", url=url)

    def run(self, script):
        """The value of a script, waiting for a promise."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"].get("exception", {}).get("description", str(answer)))
        return answer["result"].get("value")

    def wait(self, condition, patience_s=PATIENCE_S):
        """Until the script is true; what it was last is in the error."""
        end = time.monotonic() + patience_s
        value = None
        while time.monotonic() < end:
            try:
                value = self.run(condition)
            except RuntimeError as e:  # the page is just being loaded
                value = e
            if value is True or (value and not isinstance(value, Exception)):
                return value
            time.sleep(0.05)
        raise AssertionError(f"never came true: {condition} (last: {value!r}; problems: {self.problems})")

    def text(self, selector):
        return self.run(f"document.querySelector({json.dumps(selector)})?.innerText ?? null")

    def key(self, name):
        codes = {"Tab": 9, "Enter": 13, "Escape": 27}
        for kind in ("rawKeyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=codes[name])

    def screenshot(self, path=None, whole=False):
        words = {"format": "png"}
        if whole:
            size = self.call("Page.getLayoutMetrics")["cssContentSize"]
            words |= {"captureBeyondViewport": True,
                      "clip": {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}}
        png = base64.b64decode(self.call("Page.captureScreenshot", **words)["data"])
        if path:
            with open(path, "wb") as f:
                f.write(png)
        return png
