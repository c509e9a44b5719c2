"""Conversations of the page: what goes wrong, what is left, and what survives a refresh."""

import json
import os
import tempfile

from selenium.webdriver.common.keys import Keys

import harness
import scripted_model
from harness import Server
from page_driver import DESKTOP, PHONE, PageTest, chunk

TEMPLATE = ("{# <tools> <tool_call> \"arguments\" <think> #}"
            "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant: ")
TOOL = [{"type": "function", "function": {
    "name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}},
                                          "required": ["city"]}}}]


class Failures(PageTest):
    def block(self, urls):
        self.driver.execute_cdp_cmd("Network.enable", {})
        self.driver.execute_cdp_cmd("Network.setBlockedURLs", {"urls": urls})

    def wait_problem(self, text):
        self.wait(lambda: self.is_shown("problem"))
        self.assertIn(text, self.text("problem-text"))

    def long_chat(self):
        self.play()
        self.send("Hello")
        self.answer("A line of an answer.\n\n" * 60)
        self.wait_answers(1)
        self.script("window.played = false")

    def test_an_error_is_pinned_and_what_was_typed_is_kept(self):
        self.set("max_tokens", 4)
        self.long_chat()
        for size in (DESKTOP, PHONE):
            self.size(*size)
            self.block(["*/v1/chat/completions"])
            self.send("Is this kept?")
            self.wait_problem("The server does not answer.")
            problem, composer = self.assert_on_screen("problem"), self.assert_on_screen("composer")
            self.assertLessEqual(problem["bottom"], composer["top"])
            # The part that was in sight stays in sight.
            end = self.script("return document.querySelector('.regenerate').getBoundingClientRect().bottom")
            self.assertLessEqual(end, problem["top"])
            self.assertEqual(self.element("problem").get_attribute("role"), "alert")
            self.assertEqual(self.element("input").get_property("value"), "Is this kept?")
            self.assertEqual(self.prompts(), ["Hello"])
            self.block([])
            if size == DESKTOP:
                self.click("dismiss")
                self.assertFalse(self.is_shown("problem"))
                self.element("input").clear()
        self.click("retry")
        self.wait_answers(2)
        self.assertFalse(self.is_shown("problem"))
        self.assertEqual(self.element("input").get_property("value"), "")
        # A message that failed before is not in the history.
        self.assertEqual([m["content"] for m in self.sent()[-1]["messages"] if m["role"] == "user"],
                         ["Hello", "Is this kept?"])

    def test_a_refused_request_names_the_parameter(self):
        self.script("window.changes = {top_p: -1}")
        self.send("Hello")
        self.wait_problem("top_p")
        self.assertEqual(self.prompts(), [])
        self.assertEqual(self.titles(), [])

    def test_a_server_that_is_away_at_the_start(self):
        self.block(["*/v1/models"])
        self.driver.get(self.server.url + "/")
        self.wait_problem("The server does not answer.")
        self.set("max_tokens", 2)
        self.send("Hello")
        self.wait(lambda: self.element("input").get_property("value") == "Hello")
        self.block([])
        self.click("retry")
        self.wait_answers(1)
        self.assertEqual(self.prompts(), ["Hello"])

    def test_an_answer_that_breaks_is_kept_and_asked_again(self):
        self.play()
        self.send("Hello")
        self.wait(lambda: self.script("return window.streams.length") > 0)
        self.say(chunk(content="Half of"))
        self.wait(lambda: self.answers() == ["Half of"])
        self.script("window.streams.pop().close()")
        self.wait_problem("The connection to the server broke")
        self.assertEqual(self.one("#messages .finish").text, "Interrupted")
        self.click("retry")
        self.answer("All of it")
        self.wait(lambda: self.answers() == ["All of it"])
        self.assertEqual(self.sent()[-1]["messages"], [{"role": "user", "content": "Hello"}])

    def test_an_error_in_a_stream(self):
        self.play()
        self.send("Hello")
        self.wait(lambda: self.script("return window.streams.length") > 0)
        self.say({"error": {"message": "The server drains."}})
        self.wait_problem("The server drains.")
        self.assertEqual(self.element("input").get_property("value"), "Hello")

    def test_what_was_there_comes_back_when_asking_again_fails(self):
        self.play()
        self.send("Hello")
        self.answer("The first answer")
        self.wait_answers(1)
        self.script("window.played = false")
        self.block(["*/v1/chat/completions"])
        self.one(".regenerate").click()
        self.wait_problem("The server does not answer.")
        self.assertEqual(self.answers(), ["The first answer"])
        self.one(".user .edit").click()
        self.one(".editor textarea").send_keys(", you", Keys.ENTER)
        self.wait(lambda: self.is_shown("problem") and self.all(".editor textarea"))
        self.assertEqual(self.one(".editor textarea").get_property("value"), "Hello, you")
        self.assertEqual(self.answers(), ["The first answer"])
        self.block([])

    def test_a_setting_out_of_range_is_shown(self):
        self.set("max_tokens", 0)
        self.send("Hello")
        self.assert_on_screen("settings")
        self.assertEqual(self.driver.switch_to.active_element, self.element("max_tokens"))
        self.assertEqual(self.sent(), [])
        self.assertEqual(self.element("input").get_property("value"), "Hello")


class Streams(PageTest):
    def begin(self, text):
        """A played answer under way."""
        self.play()
        self.send(text)
        self.wait(lambda: self.script("return window.streams.length") > 0)
        self.say(chunk(role="assistant", content="The old answer"))
        self.wait(lambda: self.answers() == ["The old answer"])

    def test_an_old_answer_does_not_leak_into_a_new_chat(self):
        self.begin("The old question")
        # A piece that has come, but was not read yet.
        self.script("window.say(arguments[0]); document.getElementById('new-chat').click(); window.streams.pop()",
                    chunk(content=" goes on", usage=(10, 90, 0)))
        self.assertEqual([self.prompts(), self.answers()], [[], []])
        self.assertTrue(self.is_shown("send"))
        self.send("The new question")
        self.answer("The new answer")
        self.wait_answers(1)
        self.assertEqual([self.prompts(), self.answers()], [["The new question"], ["The new answer"]])
        self.assertEqual(self.text("tokens"), "11 tokens")
        self.assertEqual([m["content"] for m in self.sent()[-1]["messages"]], ["The new question"])
        # The part of the old answer that had come is kept with its own question.
        self.one("#conversation-list li:not(.current) .open").click()
        self.assertEqual([self.prompts(), self.answers()], [["The old question"], ["The old answer"]])
        self.assertEqual(self.one("#messages .finish").text, "Stopped by you")

    def test_stop_and_a_new_chat_free_the_slot(self):
        self.script("window.changes = {ignore_eos: true}")
        self.set("max_tokens", 100000)
        for leave in (lambda: self.click("stop"), lambda: self.element("input").send_keys(Keys.ESCAPE),
                      lambda: self.click("new-chat")):
            self.send("Once upon a time")
            self.wait(lambda: self.answers() and len(self.answers()[-1]) > 5)
            leave()
            self.server.wait_idle()
            self.wait(lambda: self.is_shown("send"))
            self.assertFalse(self.is_shown("problem"))
        self.assertEqual(self.answers(), [])

    def test_a_stopped_request_without_an_answer_is_given_back(self):
        self.play()
        self.send("Hello")
        self.wait(lambda: self.script("return window.streams.length") > 0)
        self.click("stop")
        self.wait(lambda: self.element("input").get_property("value") == "Hello")
        self.assertEqual([self.prompts(), self.titles()], [[], []])

    def test_a_deleted_conversation_does_not_come_back(self):
        self.begin("Hello")
        self.script("window.say(arguments[0]); document.querySelector('#conversation-list .remove').click()",
                    chunk(content=" goes on"))
        self.script("return new Promise((resume) => setTimeout(resume, 50))")
        self.assertEqual([self.titles(), self.prompts()], [[], []])
        self.open()
        self.assertEqual(self.titles(), [])


class Kept(PageTest):
    def chat(self, prompt, answer):
        self.send(prompt)
        self.answer(answer)
        self.wait_answers(1)

    def test_conversations_survive_a_refresh(self):
        self.play()
        self.chat("The first", "One")
        self.click("new-chat")
        self.chat("The second", "Two")
        self.type("A draft")
        self.open()
        self.assertEqual([self.prompts(), self.answers()], [["The second"], ["Two"]])
        self.assertEqual(self.titles(), ["The second", "The first"])
        self.assertEqual(self.text("tokens"), "11 tokens")
        self.assertEqual(self.element("input").get_property("value"), "A draft")
        self.all("#conversation-list .open")[1].click()
        self.assertEqual(self.answers(), ["One"])
        self.play()
        self.element("input").clear()
        self.send("Go on")
        self.answer("More")
        self.wait_answers(2)
        self.assertEqual([m["content"] for m in self.sent()[-1]["messages"]], ["The first", "One", "Go on"])

    def test_an_answer_under_way_survives_a_refresh(self):
        self.play()
        self.send("Hello")
        self.wait(lambda: self.script("return window.streams.length") > 0)
        self.say(chunk(content="Half of"))
        self.wait(lambda: self.answers() == ["Half of"])
        self.open()
        self.assertEqual(self.answers(), ["Half of"])
        self.assertEqual(self.one("#messages .finish").text, "Interrupted")

    def test_delete_and_undo(self):
        self.play()
        self.chat("Hello", "One")
        self.one("#conversation-list .remove").click()
        self.assertEqual([self.titles(), self.prompts()], [[], []])
        self.click("retry")  # it says Undo
        self.assertEqual([self.titles(), self.answers()], [["Hello"], ["One"]])
        self.one("#conversation-list .remove").click()
        self.open()
        self.assertEqual(self.titles(), [])

    def test_a_full_storage_is_told(self):
        self.script("Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError'); }")
        self.play()
        self.chat("Hello", "One")
        self.assertIn("no room left", self.text("problem-text"))
        self.assertEqual(self.answers(), ["One"])

    def test_broken_entries_are_skipped(self):
        self.script("localStorage.setItem('deltaserve.conversation.a', '{');"
                    "localStorage.setItem('deltaserve.conversation.b', '{\"id\": 1}');"
                    "localStorage.setItem('deltaserve.settings', '[')")
        self.open()
        self.assertEqual(self.titles(), [])
        self.assertEqual(self.complaints(), [])

    def test_settings_are_kept(self):
        self.set("max_tokens", 33)
        self.set("system", "Be brief.")
        self.open()
        self.play()
        self.chat("Hello", "One")
        self.assertEqual(self.sent()[-1]["max_tokens"], 33)
        self.assertEqual(self.sent()[-1]["messages"][0], {"role": "system", "content": "Be brief."})


class Folded(PageTest):
    """Reasoning and tool calls of a model that says given texts."""

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.model = os.path.join(folder.name, "scripted")
        scripted_model.write_model(
            cls.model, ["<think>\nLook at a map.\n</think>\n\nIt is **north**.",
                        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>',
                        "It rains."],
            TEMPLATE, {"<tool_call>": False, "</tool_call>": False, "<think>": False, "</think>": False})
        super().setUpClass()

    @classmethod
    def start_server(cls):
        server = Server(*cls.OPTIONS, model=cls.model)
        cls.addClassCleanup(server.__exit__)
        return server

    def test_reasoning_is_folded(self):
        self.set("temperature", 0)
        self.ask("s0")
        fold = self.one(".reasoning")
        self.assertIsNone(fold.get_attribute("open"))
        self.assertEqual(self.answers(), ["It is north."])
        fold.find_element("css selector", "summary").click()
        self.assertIn("Look at a map.", fold.text)

    def test_a_tool_call_is_folded_and_answered(self):
        self.set("temperature", 0)
        self.set("tools", json.dumps(TOOL))
        self.ask("s1")
        fold = self.one(".calls .fold")
        self.assertEqual(fold.text, "Calls get_weather")
        fold.find_element("css selector", "summary").click()
        self.assertEqual(json.loads(fold.find_element("css selector", "pre").text), {"city": "Oslo"})
        self.assertEqual(self.one("#messages .finish").text, "Waits for a tool")
        self.one(".results-form textarea").send_keys("rain s2")
        self.script("window.changes = {top_p: -1}")
        self.one(".results-form button").click()
        self.wait(lambda: self.is_shown("problem"))
        self.assertEqual(self.one(".results-form textarea").get_property("value"), "rain s2")
        self.script("window.changes = {}")
        self.one(".results-form button").click()
        self.wait_answers(2)
        self.assertEqual(self.answers()[-1], "It rains.")
        call, result = self.sent()[-1]["messages"][-2:]
        self.assertEqual(call["tool_calls"][0]["id"], result["tool_call_id"])
        self.assertEqual((result["role"], result["content"]), ("tool", "rain s2"))
        self.assertEqual(self.all(".results-form"), [])

    def test_tools_that_are_no_json_are_told(self):
        self.set("tools", "[{")
        self.send("Hello")
        self.assertEqual(self.driver.switch_to.active_element, self.element("tools"))
        self.assertIn("not JSON", self.element("tools").get_property("validationMessage"))


if __name__ == "__main__":
    harness.main()
