# SPDX-License-Identifier: Apache-2.0
"""test_dashboard.py - the page at `/` in a real browser, in front of a stand-in for the server (dashboard_mock.py) and
of a real pipeline: its numbers are those of the server, it survives whatever is missing, and it breaks neither its
own content security policy nor the reader's patience."""
import json
import os
import re
import signal
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest

import browser
import dashboard_mock

pytestmark = pytest.mark.skipif(browser.PROGRAM is None, reason="no browser: chromium is not installed")
LIVE = "document.querySelector('#phase').dataset.kind !== 'wait' && document.querySelectorAll('#streams tr').length > 0"
BLANK_BYTES = 15_000  # a screenshot of an empty page is smaller, one of the dashboard many times as large


@pytest.fixture(scope="module")
def chromium():
    with browser.Browser() as b:
        yield b


@pytest.fixture
def serve(chromium):
    """serve(scene, ...) starts a stand-in and returns it; all are stopped at the end, and the pages closed."""
    started = []

    def start(scene="running", port=0, **words):
        words = {"moves": False, "behind": 90, "speed": 4} | words
        server = dashboard_mock.Server(port, scene, **words)
        server.url = f"http://127.0.0.1:{server.server_port}/"
        started.append(server)
        return server
    yield start
    chromium.close_pages()
    for server in started:
        if not server.stopped.is_set():
            server.stop()


def show(chromium, server, condition=LIVE, **size):
    page = chromium.page(**size)
    page.open(server.url)
    page.wait(condition)
    return page


def cells(page, body):
    return page.run(f"[...document.querySelectorAll('{body} tr')].map(r => [...r.cells].map(c => c.innerText.trim()))")


def test_the_numbers_are_those_of_the_server(chromium, serve):
    server = serve()
    page = show(chromium, server, LIVE + " && document.querySelectorAll('#alerts tr').length > 0"
                                         " && document.querySelectorAll('#dead tr').length > 0")
    s, p = server.pipeline.status(), server.pipeline
    stream = s["streams"][0]
    assert cells(page, "#streams") == [["transactions", f"{stream['rate']:,.0f}/s"] + [
        f"{stream[k]:,}" for k in ("read", "scored", "late", "dead", "shed", "backlog")]]
    assert page.text("#tile-rate .big") == f"{stream['rate']:,.0f}/s"
    assert page.text("#tile-age .big") == f"{s['age_ms']['p99']:.2f} ms"
    assert page.text("#tile-alerts .big") == f"{p.alerts:,}"
    assert page.text("#tile-dead .big") == f"{p.dead:,}"
    assert page.text("#clock") == s["now"][11:19]
    assert page.text("#spec") == s["spec"][:8]
    assert [(r[0], r[1].split()[0], r[3]) for r in cells(page, "#alerts")] == [
        (a["event_time"][11:19], a["event_id"], f"{a['score']:.3f}") for a in p.alert_records[:8]]
    features = p.alert_records[0]["features"]
    assert cells(page, "#alerts")[0][2].startswith(
        f"weekend false, night true, customer_count_1d {features['customer_count_1d']}, customer_mean_1d ")
    assert [r[0] for r in cells(page, "#dead")] == [d["reason"] for d in p.dead_records[:7]]
    assert sorted(page.text("#reasons").split()) == sorted(
        w for k, n in p.reasons.items() if n for w in (k, str(n)))
    assert page.text("#models b") == "fraud" and "100 trees" in page.text("#models")
    assert "0.31 ms, 1.12 ms" in page.text("#log")
    bars = page.run("[...document.querySelectorAll('#bars span')].map(b => b.title)")
    assert [int(re.search(r": ([\d,]+) events", b)[1].replace(",", "")) for b in bars] == s["scores"]["bins"]
    assert page.run("document.title") == f"card-fraud {stream['rate']:,.0f}/s"
    assert page.problems == []


def test_the_charts_are_drawn_and_follow(chromium, serve):
    server = serve(moves=True)
    page = show(chromium, server)
    ink = "[...document.querySelectorAll('.chart canvas')].map(c => c.getContext('2d')" \
          ".getImageData(0, 0, c.width, c.height).data.reduce((n, v, i) => n + (i % 4 === 3 && v > 0), 0))"
    page.wait(f"document.querySelectorAll('.chart canvas').length === 2 && {ink}.every(n => n > 5000)")
    assert page.run("document.querySelector('#chart-age').getAttribute('aria-label')").startswith("Event age over")
    before = page.text("#clock")
    page.wait(f"document.querySelector('#clock').innerText !== '{before}'")
    shot = page.screenshot()
    assert len(shot) > 3 * BLANK_BYTES, "the page looks empty"
    page.open("about:blank")
    page.wait("location.href === 'about:blank'")
    assert len(page.screenshot()) < BLANK_BYTES, "the size of a screenshot says nothing"
    assert page.problems == []


def test_a_dead_letter_shows_its_bytes(chromium, serve):
    server = serve()
    letters = server.pipeline.dead_records
    text = next(i for i, d in enumerate(letters) if d["reason"] == "out_of_range")
    binary = next(i for i, d in enumerate(letters) if "event_base64" in d)
    letters[0], letters[text] = letters[text], letters[0]
    letters[1], letters[binary] = letters[binary], letters[1]
    page = show(chromium, server, "document.querySelectorAll('#dead tr').length > 0")
    page.run("document.querySelector('#dead button').click()")
    assert page.run("document.querySelector('#look').open")
    assert page.run("document.querySelector('#look-bytes').textContent") == letters[0]["event"]
    assert page.text("#look-bytes mark") == '"amount": -12.5'
    assert "decimal(2), at least 0" in page.text("#look-facts")
    page.key("Escape")
    page.wait("!document.querySelector('#look').open")
    page.run("document.querySelectorAll('#dead button')[1].click()")
    assert re.match(r"0000(  ?[0-9a-f]{2})+ ", page.text("#look-bytes"))
    assert page.problems == []


def test_features_of_a_key_are_looked_up(chromium, serve):
    page = show(chromium, serve("many"), "document.querySelectorAll('#features-by option').length === 3")
    ask = "document.querySelectorAll('#features-keys input').forEach((e, i) => e.value = {}[i]);" \
          "document.querySelector('#features-form').requestSubmit()"
    page.run(ask.format('["C17"]'))
    page.wait("document.querySelectorAll('#features tr').length > 0")
    assert ["customer_mean_30d", "55.4731818"] in cells(page, "#features")
    assert ["customer_max_30d", "null"] in cells(page, "#features")
    assert page.text("#features-note") == "customer_id C17"
    page.run(ask.format('["nobody"]'))
    page.wait("document.querySelector('#features-note').innerText.includes('no events of customer_id')")
    page.run("const e = document.querySelector('#features-by'); e.value = 'customer_id, country';"
             "e.dispatchEvent(new Event('change'))")
    page.run(ask.format('["C1", "CH"]'))
    page.wait("document.querySelector('#features-note').innerText === 'customer_id C1, country CH'")
    assert len(page.problems) == 1 and "404" in page.problems[0]


@pytest.mark.parametrize("scene", ["starting", "full", "failed", "draining", "sink-down", "quiet", "bare", "many"])
def test_every_scene_is_told_in_words(chromium, serve, scene):
    server = serve(scene)
    page = show(chromium, server, "document.querySelector('#clock').innerText.length === 8", width=390, height=800)
    said = {"starting": "477,000 of 5.00 M", "full": "no space left on device", "failed": "sync of",
            "draining": "Stopping"}.get(scene, "")
    page.wait(f"document.querySelector('#banner').innerText.includes('{said}')")  # the past comes second by second
    banner = page.text("#banner") if page.run("!document.querySelector('#banner').hidden") else ""
    assert said in banner and bool(said) == bool(banner)
    if scene == "sink-down":
        assert page.text("#tile-sinks .big") == "1 down" and "refused" in page.text("#sinks")
    everything = page.text("body")
    assert not re.search(r"\b(NaN|undefined|null|Infinity)\b|\[object", everything)
    assert page.run("document.documentElement.scrollWidth") <= 390, "wider than the screen"
    assert page.problems == []


def test_a_lost_connection_is_told_and_found_again(chromium, serve):
    server = serve()
    page = show(chromium, server)
    server.stop()
    page.wait("document.querySelector('#banner-title').innerText === 'Connection lost:'")
    assert page.text("#phase-text") == "connection lost"
    assert page.text("#banner-button") == "Try now"
    assert page.run("document.body.dataset.stale") == "yes"
    server = serve(port=server.server_port)
    page.run("document.querySelector('#banner-button').click()")
    page.wait("document.querySelector('#banner').hidden && document.querySelector('#phase').dataset.kind === 'good'")


def test_a_token_is_asked_for(chromium, serve):
    page = show(chromium, serve("token"), "document.querySelector('#ask').open")
    enter = "document.querySelector('#ask-token').value = {}; document.querySelector('#ask-form').requestSubmit()"
    page.run(enter.format('"wrong"'))
    page.wait("document.querySelector('#ask-text').innerText.includes('refuses')")
    page.run(enter.format(json.dumps(dashboard_mock.TOKEN)))
    page.wait(LIVE + " && document.querySelectorAll('#alerts tr').length > 0")
    assert dashboard_mock.TOKEN not in page.run("document.documentElement.outerHTML + location.href")
    assert page.run("localStorage.length") == 0
    assert all("401" in p for p in page.problems)


def test_what_comes_from_outside_stays_text(chromium, serve):
    server = serve()
    evil = "<img src=x onerror=\"document.title='broken in'\">"
    server.pipeline.alert_records[0]["event_id"] = evil
    server.pipeline.dead_records[0] |= {"event": evil, "reason": evil, "field": evil}
    page = show(chromium, server, "document.querySelectorAll('#dead tr').length > 0"
                                  " && document.querySelectorAll('#alerts tr').length > 0")
    page.run("document.querySelector('#dead button').click()")
    assert page.text("#look-bytes") == evil and page.text("#alerts button") == evil
    assert page.run("document.images.length") == 1, "only the mark of the page itself"
    assert page.problems == []


def test_themes_can_be_read_and_controls_have_names(chromium, serve):
    server = serve("many")
    contrast = """(() => {
        const probe = document.body.appendChild(document.createElement('i'));
        const light = (name) => {
            probe.style.color = `var(--${name})`;
            const c = getComputedStyle(probe).color.match(/[\\d.]+/g).slice(0, 3).map((v) => v / 255)
                .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
            return 0.2126 * c[0] + 0.7152 * c[1] + 0.0722 * c[2];
        };
        const pairs = [];
        for (const paper of ['page', 'panel', 'raised'])
            for (const ink of ['ink', 'soft'])
                pairs.push([ink, paper]);
        for (const tone of ['good', 'warn', 'bad'])
            pairs.push([tone, 'panel'], [tone, 'raised'], [tone, `${tone}-page`], ['ink', `${tone}-page`]);
        pairs.push(['accent', 'panel'], ['accent', 'page'], ['accent-ink', 'accent'], ['ink', 'mark']);
        return pairs.map(([ink, paper]) => {
            const [a, b] = [light(ink), light(paper)].sort((x, y) => y - x);
            return [`${ink} on ${paper}`, (a + 0.05) / (b + 0.05)];
        });
    })()"""
    for dark in (False, True):
        page = show(chromium, server, dark=dark)
        weak = [(pair, round(ratio, 2)) for pair, ratio in page.run(contrast) if ratio < 4.5]
        assert weak == []
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.run(ground)
    for theme in ("light", "dark"):
        page.run("document.querySelector('#theme').click()")
        assert page.text("#theme-name") == theme
        assert (page.run(ground) == dark) == (theme == "dark")
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    controls = [n for n in nodes if n.get("role", {}).get("value") in
                ("button", "textbox", "combobox", "link", "progressbar", "img", "dialog") and not n.get("ignored")]
    assert len(controls) > 10
    assert [n for n in controls if not n.get("name", {}).get("value")] == []


def test_numbers_are_for_people_and_history_ends(chromium, serve):
    page = show(chromium, serve())
    said = page.run("""import('/format.js').then((f) => [f.count(999999), f.count(1234567), f.count(NaN), f.rate(0.04),
        f.rate(12.34), f.rate(1234.5), f.rate(2345678), f.bytes(512), f.bytes(184e6), f.ms(0.00004), f.ms(0.31),
        f.ms(41.27), f.ms(1500), f.duration(59.9), f.duration(3725), f.duration(200000), f.share(1, 1e6),
        f.share(0, 0), f.time('2026-05-01T10:31:22.5Z', Date.parse('2026-05-01T23:00:00Z') / 1000),
        f.time('2026-05-01T10:31:22.5Z', Date.parse('2026-05-02T00:00:00Z') / 1000), f.time(null),
        f.score(undefined)])""")
    assert said == ["999,999", "1.23 M", "–", "0.040/s", "12.3/s", "1,235/s", "2.35 M/s", "512 B", "184 MB", "0.04 µs",
                    "0.31 ms", "41.3 ms", "1.5 s", "59 s", "1 h 2 min", "2 d 7 h", "< 0.01 %", "–", "10:31:22",
                    "2026-05-01 10:31:22", "–", "–"]
    kept = page.run("""import('/charts.js').then(({ History }) => {
        const h = new History();
        for (let t = 0; t < 20000; t++) h.add({ t: t / 2 });
        return [h.samples.length, h.last().t - h.samples[0].t];
    })""")
    assert kept[0] <= 1300 and kept[1] <= 605


@pytest.fixture
def pipeline():
    """A pipeline of its own: the demo, which makes its events; yields its address."""
    command = [str(Path(os.environ["QUERN_BUILD"]) / "quern"), "demo", "--http", "127.0.0.1:0", "--events", "0",
               "--rate", "2000"]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                               text=True)
    line = process.stderr.readline()
    assert line.startswith("dashboard: http://"), line
    yield line.split()[1]
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    process.stderr.close()


def test_in_front_of_a_real_pipeline(chromium, pipeline):
    broken = '{"transaction_id": "T1", "created_at": "2018-04-01T00:00:01Z", "customer_id": "C9", ' \
             '"terminal_id": "M9", "amount": "lots"}'
    request = urllib.request.Request(f"{pipeline}/v1/streams/transactions/events", broken.encode(), method="POST",
                                     headers={"Content-Type": "application/json"})
    try:
        urllib.request.urlopen(request, timeout=30).close()
    except urllib.error.HTTPError as e:
        assert e.code == 422, e.read()  # its only event is rejected, and set aside
    page = chromium.page()
    try:
        page.open(pipeline)
        page.wait("document.querySelectorAll('#dead tr').length === 1")
        read = "Number((document.querySelector('#streams td:nth-child(3)')?.innerText ?? '0').replaceAll(',', ''))"
        page.wait(f"{read} > 2000")
        before = page.run(read)
        page.wait(f"{read} > {before} + 2000")
        assert page.text("#phase-text") == "running" and page.text("#pipeline") == "card-fraud"
        assert page.text("#tile-dead .big") == "1" and page.text("#reasons").split() == ["wrong_type", "1"]
        page.wait("/^[0-9.]+ (µs|ms|s)$/.test(document.querySelector('#tile-age .big').innerText)")
        page.wait("[...document.querySelectorAll('#bars i')].some((bar) => bar.offsetHeight > 20)")
        page.run("document.querySelector('#dead button').click()")
        assert page.run("document.querySelector('#look-bytes').textContent") == broken
        assert page.text("#look-bytes mark") == '"amount": "lots"'
        page.key("Escape")
        page.run("document.querySelector('#features-keys input').value = '1';"
                 "document.querySelector('#features-form').requestSubmit()")
        page.wait("document.querySelector('#features-note').innerText !== ''")
        assert "fraud" in page.text("#models") and "100 trees" in page.text("#models")
        assert not re.search(r"\b(NaN|undefined|Infinity)\b|\[object", page.text("body"))
        assert [p for p in page.problems if "404" not in p] == []
    finally:
        chromium.close_pages()
