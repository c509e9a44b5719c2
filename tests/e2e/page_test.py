"""The page at "/" in headless Chromium. --screenshot FILE keeps the picture that the README shows."""

import sys
import unittest

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

import harness
from harness import WithServer

SCREENSHOT = None

# Requests of the page ask for an answer that only a click on "stop" ends.
WITHOUT_AN_END = """
const send = window.fetch;
window.fetch = (url, options) => {
  if (!options?.body) return send(url, options);
  const body = {...JSON.parse(options.body), ignore_eos: true};
  return send(url, {...options, body: JSON.stringify(body)});
};"""


def browser(width, height, dark=False):
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                     "--hide-scrollbars"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService("/usr/bin/chromedriver"))
    # The window of a headless browser has a least width; the emulated screen has none.
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
        "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600})
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    return driver


class Page(WithServer):
    OPTIONS = ("--max-sequences", "2")

    def open(self, width=900, height=900, dark=False):
        driver = browser(width, height, dark)
        self.addCleanup(driver.quit)
        driver.get(self.server.url + "/")
        self.wait(driver, lambda: driver.find_element(By.ID, "model").text == self.server.model)
        return driver

    def wait(self, driver, condition, seconds=harness.PATIENCE):
        WebDriverWait(driver, seconds, 0.05).until(lambda _: condition())

    def send(self, driver, text):
        driver.find_element(By.ID, "input").send_keys(text)
        driver.find_element(By.ID, "send").click()

    def answered(self, driver, count):
        done = driver.find_elements(By.CSS_SELECTOR, "#messages .figures")
        return len(done) == count and driver.find_element(By.ID, "send").is_displayed()

    def length(self, driver):
        return int(driver.find_element(By.ID, "length").text.split()[0].replace(",", ""))

    def set_most_tokens(self, driver, number):
        driver.execute_script("document.getElementById('max_tokens').value = arguments[0]", number)

    def assert_no_complaints(self, driver):
        self.assertEqual([e["message"] for e in driver.get_log("browser")], [])

    def test_chat_grows_and_its_state_does_not(self):
        driver = self.open()
        self.set_most_tokens(driver, 60)
        state = driver.find_element(By.ID, "state").text
        self.assertRegex(state, r"^[0-9.]+ (kB|MB|GB)$")
        self.send(driver, "Tell me a story about a brown dog.")
        self.wait(driver, lambda: self.answered(driver, 1))
        first = self.length(driver)
        self.assertGreater(first, 10)
        figures = driver.find_element(By.CSS_SELECTOR, "#messages .figures").text
        self.assertRegex(figures, r"^[0-9.]+ tok/s, first token after \d+ ms, "
                                  r"\d+ of \d+ prompt tokens reused$")
        self.send(driver, "And what happened then?")
        self.wait(driver, lambda: self.answered(driver, 2))
        self.assertGreater(self.length(driver), first)
        self.assertEqual(driver.find_element(By.ID, "state").text, state)
        roles = [e.get_attribute("class")
                 for e in driver.find_elements(By.CSS_SELECTOR, "#messages li")]
        self.assertEqual(roles, ["user", "assistant", "user", "assistant"])
        if SCREENSHOT:
            driver.save_screenshot(SCREENSHOT)
        self.assert_no_complaints(driver)

    def test_markup_is_text(self):
        driver = self.open()
        self.set_most_tokens(driver, 2)
        self.send(driver, "<b id=injected>bold</b>")
        self.wait(driver, lambda: self.answered(driver, 1))
        self.assertEqual(driver.find_elements(By.ID, "injected"), [])
        self.assertIn("<b id=injected>", driver.find_element(By.CSS_SELECTOR, "#messages .user").text)

    def test_stop_frees_the_slot(self):
        driver = self.open()
        driver.find_element(By.CSS_SELECTOR, "input[value=text]").click()
        self.set_most_tokens(driver, 100000)
        driver.execute_script(WITHOUT_AN_END)
        self.send(driver, "Once upon a time")
        self.wait(driver, lambda: self.length(driver) > 5)
        driver.find_element(By.ID, "stop").click()
        self.wait(driver, lambda: self.answered(driver, 1))
        self.server.wait_idle()
        self.assertFalse(driver.find_element(By.ID, "error").is_displayed())
        driver.find_element(By.ID, "clear").click()
        self.assertEqual(self.length(driver), 0)

    def test_errors_are_shown(self):
        driver = self.open()
        self.set_most_tokens(driver, 0)
        driver.execute_script("document.getElementById('top_p').min = -1;"
                              "document.getElementById('top_p').value = -1")
        self.send(driver, "Hello")
        self.wait(driver, lambda: driver.find_element(By.ID, "error").is_displayed())
        self.assertIn("top_p", driver.find_element(By.ID, "error").text)

    def test_phone_and_dark(self):
        driver = self.open(width=360, height=740, dark=True)
        self.set_most_tokens(driver, 10)
        driver.find_element(By.ID, "settings-toggle").click()
        self.send(driver, "A word with no place to break it: " + "x" * 200)
        self.wait(driver, lambda: self.answered(driver, 1))
        overflow = driver.execute_script(
            "return document.documentElement.scrollWidth - document.documentElement.clientWidth")
        self.assertEqual(overflow, 0)
        for button in driver.find_elements(By.CSS_SELECTOR, "#composer button"):
            if button.is_displayed():
                self.assertGreaterEqual(button.size["height"], 40)
        ground = driver.execute_script("return getComputedStyle(document.body).backgroundColor")
        self.assertEqual(ground, "rgb(22, 23, 22)")
        self.assert_no_complaints(driver)


if __name__ == "__main__":
    if "--screenshot" in sys.argv:
        at = sys.argv.index("--screenshot")
        SCREENSHOT = sys.argv[at + 1]
        del sys.argv[at:at + 2]
    harness.main()
