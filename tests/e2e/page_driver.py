"""The tests of the page share this: a headless browser, and a page whose server may be played by the test."""

import functools
import unittest

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

import harness
from harness import Server

DESKTOP, PHONE = (1280, 800), (390, 844)

# Notes the requests for answers in `sent`. While `played` is true, the test writes the answers itself, with say() and
# end(), as if they came in pieces from a server that does not notice when it is left.
PLAYED_SERVER = """
window.sent = [];
window.played = false;
window.streams = [];
const send = window.fetch;
window.fetch = (url, options) => {
  if (!options?.body) return send(url, options);
  const body = {...JSON.parse(options.body), ...window.changes};
  window.sent.push(body);
  if (!window.played) return send(url, {...options, body: JSON.stringify(body)});
  const body_of = (controller) => window.streams.push(controller);
  return Promise.resolve(new Response(new ReadableStream({start: body_of})));
};
window.write = (text) => window.streams.at(-1).enqueue(new TextEncoder().encode(text));
window.say = (...events) => window.write(events.map((e) => 'data: ' + JSON.stringify(e) + '\\n\\n').join(''));
"""


def chunk(finish=None, usage=(10, 1, 0), **delta):
    """An event of a chat's stream; `usage`: prompt, completion and reused tokens."""
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
            "usage": {"prompt_tokens": usage[0], "completion_tokens": usage[1],
                      "prompt_tokens_details": {"cached_tokens": usage[2]}}}


def last_chunk(usage=(10, 1, 0), first_ms=20, decode_ms=None):
    return {**chunk(usage=usage), "choices": [],
            "timings": {"time_to_first_token_ms": first_ms, "decode_ms": decode_ms}}


class PageTest(unittest.TestCase):
    OPTIONS = ("--max-sequences", "2", "--no-grpc")
    SIZE, DARK = DESKTOP, False

    @classmethod
    def setUpClass(cls):
        cls.server = cls.start_server()
        cls.driver = shared_browser()

    @classmethod
    def start_server(cls):
        return shared_server(*cls.OPTIONS)

    def setUp(self):
        self.size(*self.SIZE, dark=self.DARK)
        self.driver.get(self.server.url + "/health")
        self.driver.execute_script("localStorage.clear(); sessionStorage.clear()")
        self.open()
        self.driver.get_log("browser")

    def size(self, width, height, dark=False):
        set_screen(self.driver, width, height, dark)

    def open(self):
        self.driver.get(self.server.url + "/")
        self.wait(lambda: self.text("model") == self.server.model)

    def script(self, code, *arguments):
        return self.driver.execute_script(code, *arguments)

    def element(self, name):
        return self.driver.find_element(By.ID, name)

    def all(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def text(self, name):
        """The text of an element, also of one that a screen reader alone is told."""
        return " ".join(self.element(name).get_attribute("textContent").split())

    def wait(self, condition, seconds=harness.PATIENCE):
        WebDriverWait(self.driver, seconds, 0.02).until(lambda _: condition())

    def is_shown(self, name):
        return self.element(name).is_displayed()

    def set(self, name, value):
        self.script("const field = document.getElementById(arguments[0]); field.value = arguments[1];"
                    "field.dispatchEvent(new Event('input', {bubbles: true}))", name, value)

    def type(self, text):
        self.element("input").send_keys(text)

    def click(self, name):
        self.element(name).click()

    def send(self, text):
        self.type(text)
        self.click("send")

    def ask(self, text, count=1):
        """Sends, and waits until so many answers are complete."""
        self.send(text)
        self.wait_answers(count)

    def wait_answers(self, count):
        self.wait(lambda: len(self.all("#messages .finish")) == count and self.is_shown("send"))

    def play(self):
        self.script("window.played = true")

    def say(self, *events):
        self.script("window.say(...arguments)", *events)

    def end(self):
        self.script("window.write('data: [DONE]\\n\\n')")

    def answer(self, text, finish="stop", **figures):
        """The played answer to the request before."""
        self.wait(lambda: self.script("return window.streams.length") > 0)
        self.say(chunk(role="assistant", content=text), chunk(finish=finish), last_chunk(**figures))
        self.end()
        self.script("window.streams.length = 0")

    def sent(self):
        return self.script("return window.sent")

    def answers(self):
        return [e.text for e in self.all("#messages .assistant .content")]

    def figures(self):
        """Returns, for each answer, the texts of the line under it."""
        return [[e.text for e in line.find_elements(By.TAG_NAME, "span")] for line in self.all("#messages .figures")]

    def prompts(self):
        return [e.text for e in self.all("#messages .bubble")]

    def titles(self):
        return [e.get_attribute("title") for e in self.all("#conversation-list .open")]

    def complaints(self):
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def assert_on_screen(self, name):
        box, width, height = self.script(
            "const r = document.getElementById(arguments[0]).getBoundingClientRect();"
            "return [{left: r.left, right: r.right, top: r.top, bottom: r.bottom}, innerWidth, innerHeight]", name)
        self.assertTrue(self.is_shown(name), name)
        self.assertGreaterEqual(min(box["left"], box["top"]), 0, name)
        self.assertLessEqual(box["right"], width + 0.5, name)
        self.assertLessEqual(box["bottom"], height + 0.5, name)
        return box


def set_screen(driver, width, height, dark=False):
    # The window of a headless browser has a least width; the emulated screen has none.
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
        "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600})
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    motion = {"name": "prefers-reduced-motion", "value": "reduce"}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme, motion]})


@functools.cache
def shared_server(*options):
    """One for all classes of a file, because a start takes longer than a test."""
    server = Server(*options)
    unittest.addModuleCleanup(server.__exit__)
    return server


@functools.cache
def shared_browser():
    driver = browser()
    unittest.addModuleCleanup(driver.quit)
    driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": PLAYED_SERVER})
    return driver


def browser():
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                     "--hide-scrollbars", "--disable-background-networking", "--disable-component-update",
                     "--disable-extensions", "--disable-sync", "--no-first-run"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options, webdriver.ChromeService("/usr/bin/chromedriver"))
