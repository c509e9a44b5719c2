"""The page with a keyboard, to a screen reader, and under an audit by axe-core."""

import importlib.resources

from selenium.webdriver.common.keys import Keys

import harness
from page_driver import DESKTOP, PHONE, PageTest, chunk, last_chunk

AUDIT = """
const done = arguments[arguments.length - 1];
axe.run(document, {resultTypes: ['violations']}).then((found) => done(found.violations.map(
  (v) => [v.impact, v.id, v.nodes.map((node) => node.html + ' ' + node.failureSummary).slice(0, 3)])));"""

COUNT_ANNOUNCEMENTS = """
window.announced = [];
for (const region of document.querySelectorAll('[aria-live], [role=status], [role=alert], [role=log]')) {
  new MutationObserver(() => window.announced.push(region.textContent)).observe(
    region, {childList: true, characterData: true, subtree: true});
}"""

# The element with the focus, and whether a line around it, or around what stands for it, shows that.
FOCUSED = """
const e = document.activeElement;
const shown = e.id === 'input' ? e.form : e.type === 'radio' ? e.nextElementSibling : e;
const style = getComputedStyle(shown);
return [e.id || e.className || e.name || e.tagName, style.outlineStyle !== 'none' || style.boxShadow !== 'none'];"""

ANSWER = ("# Heading\n\nText with `code`, **weight** and [a link](https://example.org).\n\n"
          "```python\n" + "x = 1 " * 60 + "\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n- [x] done\n\n> quoted")


class Keyboard(PageTest):
    def active(self):
        return self.driver.switch_to.active_element

    def press(self, *keys):
        self.active().send_keys(*keys)

    def test_enter_sends_and_shift_enter_breaks_the_line(self):
        self.play()
        self.assertEqual(self.active(), self.element("input"))
        self.press("one", Keys.SHIFT + Keys.ENTER + Keys.NULL, "two")
        self.assertEqual(self.sent(), [])
        self.press(Keys.ENTER)
        self.answer("word")
        self.wait_answers(1)
        self.assertEqual(self.sent()[0]["messages"][0]["content"], "one\ntwo")
        self.assertEqual(self.active(), self.element("input"))

    def test_escape_stops_but_closes_a_drawer_first(self):
        self.play()
        self.send("Hello")
        self.wait(lambda: self.script("return window.streams.length") > 0)
        self.say(chunk(content="Half of"))
        self.wait(lambda: self.answers() == ["Half of"])
        self.click("settings-toggle")
        self.press(Keys.ESCAPE)
        self.assertFalse(self.is_shown("settings"))
        self.assertTrue(self.is_shown("stop"))
        self.press(Keys.ESCAPE)
        self.wait_answers(1)
        self.assertEqual(self.one("#messages .finish").text, "Stopped by you")

    def test_the_focus_goes_in_order_and_is_seen(self):
        self.play()
        self.send("Hello")
        self.answer(ANSWER)
        self.wait_answers(1)
        self.script("document.querySelector('.skip').focus()")
        places = []
        for _ in range(40):
            self.press(Keys.TAB)
            name, is_seen = self.script(FOCUSED)
            if name == "BODY":
                break
            places.append(name)
            self.assertTrue(is_seen, name)
        order = ["new-chat", "open", "remove", "mode", "theme-toggle", "settings-toggle", "action edit",
                 "action regenerate", "input", "send"]
        found = [places.index(name) for name in order]
        self.assertEqual(found, sorted(found), places)

    def test_the_skip_link(self):
        self.assertLess(self.script("return document.querySelector('.skip').getBoundingClientRect().bottom"), 1)
        self.one(".skip").send_keys(Keys.ENTER)
        self.assertEqual(self.active(), self.element("input"))


class ScreenReader(PageTest):
    def test_an_answer_is_announced_once(self):
        self.play()
        self.script(COUNT_ANNOUNCEMENTS)
        self.send("Hello")
        self.wait(lambda: self.script("return window.streams.length") > 0)
        for i in range(20):
            self.say(chunk(content="word%d " % i, usage=(10, i + 1, 0)))
            self.wait(lambda: "word%d" % i in "".join(self.answers()))
        self.say(chunk(finish="stop"), last_chunk())
        self.end()
        self.wait_answers(1)
        self.wait(lambda: "word19" in self.text("announcer"))
        announced = [text for text in self.script("return window.announced") if text.strip()]
        self.assertEqual(len(announced), 2, announced)
        self.assertEqual(announced[0], "The answer is being written.")

    def test_everything_has_a_name(self):
        for field in self.all("input, textarea, button, dialog, nav"):
            self.assertTrue(field.accessible_name or not field.is_displayed(), field.get_attribute("outerHTML"))


class Audit(PageTest):
    def audit(self, what):
        self.driver.execute_script(self.axe)
        found = self.driver.execute_async_script(AUDIT)
        worst = [finding for finding in found if finding[0] in ("serious", "critical")]
        self.assertEqual(worst, [], what)

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.axe = importlib.resources.files("axe_core_python").joinpath("axe.min.js").read_text(encoding="utf-8")

    def test_audit(self):
        self.audit("empty")
        self.play()
        self.send("Hello")
        self.wait(lambda: self.script("return window.streams.length") > 0)
        call = {"index": 0, "id": "call", "function": {"name": "get_weather", "arguments": '{"city": "Oslo"}'}}
        self.say(chunk(reasoning_content="Look at a map."), chunk(tool_calls=[call]))
        self.answer(ANSWER, finish="tool_calls")
        self.wait_answers(1)
        self.script("for (const fold of document.querySelectorAll('details')) fold.open = true")
        for size in (DESKTOP, PHONE):
            for dark in (False, True):
                self.size(*size, dark=dark)
                self.audit(("answer", size, dark))
                self.click("settings-toggle")
                self.audit(("settings", size, dark))
                self.press_escape()
        self.click("show-conversations")
        self.audit("conversations on a phone")
        self.press_escape()
        self.script("window.fetch = () => Promise.reject(new TypeError('no network'))")
        self.send("Hello")
        self.wait(lambda: self.is_shown("problem"))
        for dark in (False, True):
            self.size(*PHONE, dark=dark)
            self.audit(("error", dark))

    def press_escape(self):
        self.driver.switch_to.active_element.send_keys(Keys.ESCAPE)


if __name__ == "__main__":
    harness.main()
