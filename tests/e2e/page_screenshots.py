"""Takes the pictures of the page that README.md shows.

    python page_screenshots.py --binary build/release/bin/deltaserve --model models/bundled

It writes server/page/screenshot.png and screenshot_phone.png. The font is Inter where it is installed.
"""

import os

import harness
from page_driver import PHONE, PageTest

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../server/page")


class Screenshots(PageTest):
    def save(self, name):
        self.driver.save_screenshot(os.path.join(FOLDER, name))

    def test_take_them(self):
        self.set("seed", 2)
        self.ask("Write a story about a little boat that gets lost.")
        self.click("new-chat")
        self.ask("Tell me a story about a brown dog.")
        self.click("new-chat")
        self.ask("Tell me a bedtime story about a fox in the snow.")
        self.ask("Tell me another story about a bear.", 2)
        self.one(".regenerate").click()
        self.wait(lambda: self.is_shown("send") and self.all(".saving")[-1].text)
        self.script("document.activeElement.blur()")
        self.save("screenshot.png")
        self.size(*PHONE, dark=True)
        self.script("document.getElementById('messages-area').scrollTop = 1e6")
        self.save("screenshot_phone.png")


if __name__ == "__main__":
    harness.main()
