"""The page at "/" in headless Chromium: its memory strip, its conversations, its answers and what goes wrong.

    python page_test.py --binary build/release/bin/deltaserve --model models/bundled [-k NAME]
"""

from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

import harness
from page_driver import DESKTOP, PHONE, PageTest

LONG_PROMPT = "Tell me a story about a brown dog. " * 12  # more tokens than a kept state has at least
STRIP = r"^[\d,]+ tokens, state 378\.0 KiB, a transformer of this size: [\d.]+ ([KMG]i)?B and growing$"


class Memory(PageTest):
    def check_strip(self):
        self.assertRegex(self.text("memory"), STRIP)
        box = self.assert_on_screen("memory")
        self.assertLess(box["bottom"] - box["top"], 48)  # one line
        figures = self.one("#memory .figures-text")
        self.assertLessEqual(figures.get_property("scrollWidth"), figures.get_property("clientWidth"))
        return box["top"]

    def length(self):
        return int(self.text("tokens").split()[0].replace(",", ""))

    def test_the_conversation_grows_and_its_state_does_not(self):
        self.set("max_tokens", 40)
        self.assertEqual(self.length(), 0)
        top, lengths = self.check_strip(), []
        for i, text in enumerate(("Tell me a story about a brown dog.", LONG_PROMPT, "And then?")):
            self.ask(text, i + 1)
            lengths.append(self.length())
            self.assertEqual(self.check_strip(), top)
        self.assertEqual(lengths, sorted(set(lengths)))
        number, unit = self.text("transformer").split()
        self.assertEqual(unit, "MiB")
        self.assertAlmostEqual(float(number), lengths[-1] * 2 * 2 * 6 * 192 / 2**20, delta=0.051)
        points = self.one("#sparkline .transformer-line").get_attribute("points").split()
        self.assertGreaterEqual(len(points), 4)
        self.assertEqual(len(self.all("#sparkline .state-line")), 1)
        self.size(*PHONE)
        self.check_strip()
        self.play()
        self.send("And then?")
        self.answer("word", usage=(1234567, 890, 0))
        self.wait_answers(4)
        self.check_strip()
        self.assertEqual(self.complaints(), [])


class Layout(PageTest):
    def long_chat(self):
        self.play()
        for i in range(3):
            self.send("A word with no place to break it: " + "x" * 200)
            self.answer("A line of an answer.\n\n" * 20)
            self.wait_answers(i + 1)

    def overflow(self):
        return self.script("return document.documentElement.scrollWidth - document.documentElement.clientWidth")

    def test_drawers_and_controls_stay_on_the_screen(self):
        self.long_chat()
        for size in (DESKTOP, PHONE):
            self.size(*size)
            self.assertEqual(self.overflow(), 0)
            for name in ("composer", "send", "memory", "settings-toggle"):
                self.assert_on_screen(name)
            self.click("settings-toggle")
            box = self.assert_on_screen("settings")
            self.assertEqual(box["bottom"], size[1])
            for field in ("temperature", "max_tokens"):
                self.assert_on_screen(field)
            self.assertIn("Max tokens", self.text("settings"))
            self.script("document.getElementById('defaults').scrollIntoView()")
            self.assert_on_screen("defaults")
            self.driver.switch_to.active_element.send_keys(Keys.ESCAPE)
            self.assertFalse(self.is_shown("settings"))
            self.assertEqual(self.driver.switch_to.active_element, self.element("settings-toggle"))

    def test_a_phone(self):
        self.size(*PHONE)
        self.long_chat()
        self.assertEqual(self.overflow(), 0)
        for button in self.all("button"):
            if button.is_displayed():
                self.assertGreaterEqual(button.size["height"], 40, button.get_attribute("outerHTML"))
        self.assertFalse(self.is_shown("conversations"))
        self.click("show-conversations")
        self.assert_on_screen("conversations")
        self.one("#conversation-list .open").click()
        self.assertFalse(self.is_shown("conversations"))
        self.click("start-chat")
        self.assertEqual(self.prompts(), [])

    def test_at_200_percent_the_page_begins_at_its_beginning(self):
        self.size(DESKTOP[0] // 2, DESKTOP[1] // 2)
        self.open()
        self.assert_on_screen("welcome-title")
        self.assert_on_screen("composer")
        self.assertGreaterEqual(self.element("messages-area").size["height"], DESKTOP[1] // 4)

    def test_words_of_a_table_are_whole(self):
        self.play()
        for size in (DESKTOP, PHONE):
            self.size(*size)
            self.open()
            self.play()
            self.send("A table.")
            self.answer("| Name | %s | Another |\n|---|---|---|\n| alpha | %s | 2,000,000 |\n" % ("many words " * 6, "x" * 80))
            self.wait_answers(1)
            for cell in self.all(".table tr > :not(:nth-child(2))"):
                lines = self.script("const r = document.createRange(); r.selectNodeContents(arguments[0]);"
                                    "return r.getClientRects().length", cell)
                self.assertEqual(lines, 1, cell.text)
            self.assertEqual(self.overflow(), 0)
            self.script("localStorage.clear(); sessionStorage.clear()")

    def test_dark_and_light(self):
        def ground():
            return self.script("return getComputedStyle(document.body).backgroundColor")

        light = ground()
        self.size(*DESKTOP, dark=True)
        dark = ground()
        self.assertNotEqual(light, dark)
        self.click("theme-toggle")
        self.assertEqual(ground(), light)
        self.open()
        self.assertEqual(ground(), light)
        self.click("settings-toggle")
        self.one("input[name=theme][value=system]").click()
        self.assertEqual(ground(), dark)


class Answers(PageTest):
    def test_markup_is_text_and_markdown_is_shown(self):
        self.play()
        self.send("<b id=injected>bold</b>")
        self.answer("# A *title* &amp; more\n\n- one\n  - two\n\n1. first\n\n```python\nif 1 < 2: pass\n```\n\n"
                    "<b id=injected>bold</b> <script>window.harmed = 1</script> **strong** `code`\nnext line\n\n"
                    "[good](https://example.org) [bad](javascript:alert(1)) ![picture](https://example.org/p.png)\n\n"
                    "| a | b |\n|---|---|\n| 1 | 2 |\n\n<div onclick=\"harm()\">block</div>")
        self.wait_answers(1)
        self.assertEqual(self.all("#injected, #messages script, #messages img, #messages div[onclick]"), [])
        self.assertIsNone(self.script("return window.harmed"))
        self.assertEqual(self.prompts(), ["<b id=injected>bold</b>"])
        content = self.one("#messages .content")
        for text in ("A title & more", "<b id=injected>bold</b> <script>window.harmed = 1</script> strong code\nnext",
                     "[bad](javascript:alert(1))", '<div onclick="harm()">block</div>', "if 1 < 2: pass"):
            self.assertIn(text, content.text)
        for selector in ("h3 em", "ul ul", "ol", "pre code", "strong", "table"):
            self.assertEqual(len(content.find_elements(By.CSS_SELECTOR, selector)), 1, selector)
        links = content.find_elements(By.CSS_SELECTOR, "a")
        self.assertEqual([link.get_attribute("href") for link in links],
                         ["https://example.org/", "https://example.org/p.png"])
        self.assertIn("noopener", links[0].get_attribute("rel"))
        self.assertEqual(self.complaints(), [])

    def test_text_that_nests_deeply_is_shown(self):
        self.play()
        self.send("Go on")
        self.answer("> " * 20000 + "deep")
        self.wait_answers(1)
        self.assertIn("deep", self.answers()[0])

    def test_speed_of_short_answers(self):
        self.play()
        for i, (usage, decode_ms, wanted) in enumerate((
                ((10, 1, 0), None, None), ((10, 2, 0), 4, "250 tokens/s"), ((10, 11, 0), 200, "50 tokens/s"))):
            self.send("Hello")
            self.answer("word", usage=usage, decode_ms=decode_ms)
            self.wait_answers(i + 1)
            figures = self.figures()[-1]
            if wanted:
                self.assertEqual(figures[2], wanted)
            else:
                self.assertEqual(figures[:3], ["Finished", "1 token", "first token after 20 ms"])

    def test_speed_is_what_the_server_measured(self):
        def decode_ms(max_tokens):
            return self.server.post("/v1/chat/completions", {
                "messages": [{"role": "user", "content": "Hello"}], "max_tokens": max_tokens,
                "ignore_eos": True})[1]["timings"]["decode_ms"]

        self.assertIsNone(decode_ms(1))
        self.assertGreater(decode_ms(2), 0)
        self.script("window.changes = {ignore_eos: true}")
        self.set("max_tokens", 2)
        self.ask("Hello")
        finish, tokens, speed = self.figures()[-1][:3]
        self.assertEqual((finish, tokens), ("Cut at Max tokens", "2 tokens"))
        self.assertRegex(speed, r"^[\d.,]+ tokens/s$")

    def test_finish_reasons(self):
        self.play()
        for i, (finish, text) in enumerate((("stop", "Finished"), ("length", "Cut at Max tokens"))):
            self.send("Hello")
            self.answer("word", finish=finish)
            self.wait_answers(i + 1)
            self.assertEqual(self.all("#messages .finish")[i].text, text)

    def test_copy(self):
        self.driver.execute_cdp_cmd("Browser.grantPermissions", {
            "origin": self.server.url, "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]})
        self.play()
        self.send("Hello")
        self.answer("**Two** words\n\n```\ncode\n```")
        self.wait_answers(1)
        for selector, copied in ((".assistant > .actions .action", "**Two** words\n\n```\ncode\n```"),
                                 (".code .action", "code"), (".user .action", "Hello")):
            button = self.one("#messages " + selector)
            button.click()
            self.wait(lambda: button.text == "Copied")
            self.assertEqual(self.script("return navigator.clipboard.readText()"), copied)

    def test_regenerate_and_edit_say_what_reuse_saves(self):
        self.set("max_tokens", 4)
        self.ask(LONG_PROMPT)
        saving = r"^Reuse saved reading \d+ of \d+ prompt tokens: first token after [\d.]+ m?s"
        self.one(".regenerate").click()
        self.wait(lambda: self.all(".saving") and self.is_shown("send") and self.one(".saving").text)
        self.assertRegex(self.one(".saving").text, saving)
        self.assertEqual(len(self.prompts()), 1)
        self.ask("And then?", 2)
        self.one(".user .edit").click()
        editor = self.one(".editor textarea")
        self.assertEqual(self.driver.switch_to.active_element, editor)
        editor.send_keys("Go on.", Keys.ENTER)
        self.wait(lambda: len(self.prompts()) == 1 and self.is_shown("send"))
        self.assertRegex(self.one(".saving").text, saving)
        self.assertEqual(self.sent()[-1]["messages"], [{"role": "user", "content": LONG_PROMPT + "Go on."}])

    def test_a_starter_is_asked(self):
        self.play()
        starter = self.all("#starters button")[1]
        text = starter.text
        starter.click()
        self.answer("word")
        self.wait_answers(1)
        self.assertEqual(self.prompts(), [text])
        self.assertFalse(self.is_shown("welcome"))

    def test_text_mode_continues(self):
        self.set("max_tokens", 5)
        self.one(".segments input[value=text]").click()
        self.ask("Once upon a time")
        self.assertEqual(self.sent()[-1]["prompt"], "Once upon a time")
        self.assertTrue(self.answers()[0].startswith("Once upon a time"))
        self.assertGreater(len(self.answers()[0]), len("Once upon a time"))


if __name__ == "__main__":
    harness.main()
