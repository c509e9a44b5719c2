// A turn on the screen: the prompt with its editor, and the answer with its reasoning, tool calls, figures and actions.

import {decodeFigures, finishText, isEmpty, promptFigures, savingText, speedText} from './answer.js';
import {action, copyButton, element} from './dom.js';
import {showMarkdown} from './markdown.js';

// `actions` has regenerate(), edit(text) and giveResults(texts), which the buttons call.
export class TurnView {
  constructor(turn, kind, actions) {
    this.turn = turn;
    this.kind = kind;
    this.actions = actions;
    this.prompt = element('li', {class: turn.results ? 'results' : 'user'});
    this.makeAnswer();
    if (kind === 'text') this.answer.prepend(element('h2', {class: 'off-screen'}, 'Text'));
    else this.showPrompt();
  }

  // The list items; a text is one with its continuation.
  get nodes() {
    return this.kind === 'text' ? [this.answer] : [this.prompt, this.answer];
  }

  makeAnswer() {
    this.reasoning = element('div', {class: 'reasoning-text'});
    this.reasoningSummary = element('span', {});
    this.reasoningFold = element('details', {class: 'fold reasoning', hidden: true},
                                 element('summary', {}, this.reasoningSummary), this.reasoning);
    this.content = element('div', {class: this.kind === 'text' ? 'content plain' : 'content'});
    this.calls = element('div', {class: 'calls'});
    this.saving = element('p', {class: 'saving', hidden: true});
    this.figures = element('p', {class: 'figures'});
    this.buttons = element('div', {class: 'actions'});
    this.answer = element('li', {class: 'assistant'});
    if (this.kind === 'chat') this.answer.append(element('h2', {class: 'off-screen'}, 'Answer'));
    this.answer.append(this.reasoningFold, this.content, this.calls, this.saving, this.figures, this.buttons);
  }

  showPrompt() {
    const {turn} = this;
    if (this.kind === 'text') {
      this.showContinuation();
      return;
    }
    if (turn.results) {
      const folds = turn.results.map((text) => fold('Result of the tool', element('pre', {tabindex: '0'}, text)));
      this.prompt.replaceChildren(element('h2', {class: 'off-screen'}, 'Tool results'), ...folds);
      return;
    }
    this.prompt.replaceChildren(
      element('h2', {class: 'off-screen'}, 'You'), element('div', {class: 'bubble'}, turn.prompt),
      element('div', {class: 'actions'}, copyButton(() => turn.prompt),
              this.editButton()));
  }

  editButton() {
    return action('Edit', 'edit', () => this.openEditor(this.turn.prompt), {class: 'action edit'});
  }

  // Puts an editor in the place of the prompt.
  openEditor(text) {
    const field = element('textarea', {rows: '3', 'aria-label': 'Edit your message'});
    field.value = text;
    const send = () => {
      if (!field.value.trim()) return;
      const edited = field.value;
      this.showPrompt();
      this.actions.edit(edited);
    };
    const close = () => {
      this.showPrompt();
      (this.kind === 'text' ? this.answer : this.prompt).querySelector('.edit').focus();
    };
    const form = element('form', {class: 'editor', onsubmit: (event) => { event.preventDefault(); send(); }},
                         field, element('p', {class: 'muted'}, 'The answer and all that follows are replaced.'),
                         element('div', {class: 'editor-buttons'},
                                 element('button', {type: 'submit', class: 'primary'}, 'Send'),
                                 element('button', {type: 'button', onclick: close}, 'Cancel')));
    form.addEventListener('keydown', (event) => {
      if (event.key === 'Escape') {
        event.stopPropagation();
        close();
      } else if (event.target === field && isSendKey(event)) {
        event.preventDefault();
        send();
      }
    });
    (this.kind === 'text' ? this.content : this.prompt).replaceChildren(form);
    field.focus();
  }

  // `running`: the answer is still coming, at `speed` tokens per second, null if that is not known. `isLast`: it is the
  // last answer, so it can be regenerated.
  show({running = false, speed = null, isLast = false}) {
    const {answer} = this.turn;
    this.answer.classList.toggle('running', running);
    this.showReasoning(running);
    if (this.kind === 'text') this.showContinuation();
    else showMarkdown(this.content, answer.content);
    this.showCalls(running, isLast);
    if (running) {
      this.figures.textContent = speed === null ? '' : speedText(speed);
      this.buttons.replaceChildren();
      return;
    }
    this.showFigures();
    this.buttons.replaceChildren(...this.makeButtons(isLast));
  }

  showContinuation() {
    this.content.replaceChildren(element('span', {class: 'prompt'}, this.turn.prompt), this.turn.answer.content);
  }

  showReasoning(running) {
    const {answer} = this.turn;
    this.reasoningFold.hidden = !answer.reasoning;
    this.reasoning.textContent = answer.reasoning;
    this.reasoningSummary.textContent = running && !answer.content ? 'Thinking…' : 'Reasoning';
  }

  showCalls(running, isLast) {
    const calls = this.turn.answer.toolCalls;
    while (this.calls.children.length < calls.length) {
      this.calls.append(fold('', element('pre', {tabindex: '0', role: 'region', 'aria-label': 'Arguments'})));
    }
    calls.forEach((call, i) => {
      const node = this.calls.children[i];
      node.querySelector('summary').textContent = 'Calls ' + call.name;
      node.querySelector('pre').textContent = running ? call.arguments : prettyJson(call.arguments);
    });
    this.resultsForm?.remove();
    this.resultsForm = null;
    if (!running && isLast && calls.length > 0) {
      this.resultsForm = this.makeResultsForm(calls);
      this.calls.after(this.resultsForm);
    }
  }

  // The page runs no tools, so the user enters their results.
  makeResultsForm(calls) {
    const fields = calls.map(() => element('textarea', {rows: '1', required: true}));
    return element('form', {class: 'results-form', onsubmit: (event) => {
      event.preventDefault();
      this.actions.giveResults(fields.map((field) => field.value));
    }}, ...calls.map((call, i) => element('label', {}, 'What ' + call.name + ' returns', fields[i])),
                   element('button', {type: 'submit'}, calls.length > 1 ? 'Send the results' : 'Send the result'));
  }

  fillResults(texts) {
    this.resultsForm.querySelectorAll('textarea').forEach((field, i) => { field.value = texts[i]; });
  }

  showFigures() {
    const {answer, replaced} = this.turn;
    const saving = replaced ? savingText(answer, replaced) : '';
    this.saving.textContent = saving;
    this.saving.hidden = !saving;
    // The text about the saving replaces the figures of the prompt.
    const figures = [...decodeFigures(answer), ...(saving ? [] : promptFigures(answer))];
    this.figures.replaceChildren(element('span', {class: 'finish'}, finishText(answer)),
                                 ...figures.map((text) => element('span', {}, text)));
    if (isEmpty(answer)) this.figures.prepend(element('span', {}, 'The model ended without a word'));
  }

  makeButtons(isLast) {
    const {turn} = this;
    const text = () => (this.kind === 'text' ? turn.prompt : '') + turn.answer.content;
    const buttons = [copyButton(text)];
    if (isLast && this.kind === 'text') buttons.push(this.editButton());
    if (isLast) {
      buttons.push(action('Regenerate', 'again', () => this.actions.regenerate(), {class: 'action regenerate'}));
    }
    return buttons;
  }
}

// Enter sends, but not while an input method composes a word with it.
export function isSendKey(event) {
  return event.key === 'Enter' && !event.shiftKey && !event.isComposing && event.keyCode !== 229;
}

function fold(title, ...content) {
  return element('details', {class: 'fold'}, element('summary', {}, title), ...content);
}

function prettyJson(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;  // A call that was cut off has the beginning of its arguments only.
  }
}
