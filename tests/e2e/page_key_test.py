"""The page of a server that wants a key: it asks for it."""

import tempfile
import unittest

from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

import harness
from harness import Server
from page_driver import DESKTOP, browser, set_screen


class PageKey(unittest.TestCase):
    def test_asks_for_the_key(self):
        with tempfile.NamedTemporaryFile("w") as file:
            file.write("the-key\n")
            file.flush()
            with Server("--api-key-file", file.name, key="the-key") as server:
                self.assertEqual(server.request("/", headers={"Authorization": ""})[0], 200)
                driver = browser()
                self.addCleanup(driver.quit)
                set_screen(driver, *DESKTOP)
                driver.get(server.url + "/")
                self.use_key(driver, server)

    def use_key(self, driver, server):
        wait = WebDriverWait(driver, 60, 0.05)
        key = driver.find_element(By.ID, "key")
        wait.until(lambda _: driver.switch_to.active_element == key)
        self.assertTrue(key.is_displayed())
        self.assertIn("API key", driver.find_element(By.ID, "key-problem").text)
        key.send_keys("the-key\t")
        wait.until(lambda _: driver.find_element(By.ID, "model").text == server.model)
        self.assertFalse(driver.find_element(By.ID, "key-problem").is_displayed())
        self.assertFalse(driver.find_element(By.ID, "problem").is_displayed())
        # A refresh of the tab keeps the key, and what is stored for other tabs has none.
        driver.refresh()
        wait.until(lambda _: driver.find_element(By.ID, "model").text == server.model)
        self.assertNotIn("the-key", driver.execute_script("return JSON.stringify(localStorage)"))


if __name__ == "__main__":
    harness.main()
