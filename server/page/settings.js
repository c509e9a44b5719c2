// The drawer with the settings, which this browser keeps. The API key is kept in this tab only.

import {$} from './dom.js';

const STORED = 'deltaserve.settings';
const STORED_KEY = 'deltaserve.key';
const NUMBERS = ['temperature', 'top_p', 'top_k', 'max_tokens', 'seed'];
const TEXTS = ['system', 'tools'];

export class Settings {
  // Calls `onKey` after the key has changed.
  constructor(onKey) {
    this.drawer = $('settings');
    this.form = $('settings-form');
    this.defaults = this.values();
    this.restore();
    this.form.addEventListener('input', () => this.changed());
    $('key').addEventListener('change', () => {
      storeInTab(STORED_KEY, $('key').value);
      onKey();
    });
    $('settings-toggle').addEventListener('click', () => this.open());
    $('theme-toggle').addEventListener('click', () => this.setTheme(isDark() ? 'light' : 'dark'));
    $('defaults').addEventListener('click', () => this.reset());
    this.drawer.addEventListener('click', (event) => {
      if (event.target === this.drawer) this.drawer.close();  // a click beside the drawer
    });
    this.drawer.addEventListener('close', () => $('settings-toggle').setAttribute('aria-expanded', 'false'));
  }

  get key() {
    return $('key').value;
  }

  get system() {
    return $('system').value.trim();
  }

  open(field = null) {
    if (!this.drawer.open) this.drawer.showModal();
    $('settings-toggle').setAttribute('aria-expanded', 'true');
    field?.focus();
  }

  // Returns the parameters of a request. An empty field leaves the choice to the server.
  parameters(kind) {
    const parameters = {};
    for (const name of NUMBERS) {
      if ($(name).value !== '') parameters[name] = Number($(name).value);
    }
    const tools = this.tools();
    if (kind === 'chat' && tools.length > 0) parameters.tools = tools;
    return parameters;
  }

  tools() {
    const text = $('tools').value.trim();
    return text ? JSON.parse(text) : [];
  }

  // Returns true if all fields have usable values; else opens the drawer at the first that has none.
  check() {
    $('tools').setCustomValidity(this.toolsProblem());
    if (this.form.checkValidity()) return true;
    this.open(this.form.querySelector(':invalid'));
    this.form.reportValidity();
    return false;
  }

  toolsProblem() {
    try {
      return Array.isArray(this.tools()) ? '' : 'Tools are a JSON array of function definitions.';
    } catch (error) {
      return 'This is not JSON: ' + error.message;
    }
  }

  values() {
    const values = {};
    for (const name of [...NUMBERS, ...TEXTS]) values[name] = $(name).value;
    values.theme = this.form.elements.theme.value;
    return values;
  }

  restore() {
    let stored = {};
    try {
      stored = JSON.parse(localStorage.getItem(STORED)) || {};
      $('key').value = sessionStorage.getItem(STORED_KEY) || '';
    } catch {
      // Without storage, or with a broken entry, the defaults are used.
    }
    this.set({...this.defaults, ...stored});
  }

  set(values) {
    for (const name of [...NUMBERS, ...TEXTS]) $(name).value = values[name];
    this.form.elements.theme.value = values.theme;
    this.show();
  }

  reset() {
    this.set(this.defaults);
    this.changed();
  }

  setTheme(theme) {
    this.form.elements.theme.value = theme;
    this.changed();
  }

  changed() {
    $('tools').setCustomValidity('');
    this.show();
    try {
      localStorage.setItem(STORED, JSON.stringify(this.values()));
    } catch {
      // The settings still hold until the page is closed.
    }
  }

  show() {
    for (const output of this.form.querySelectorAll('output')) output.value = $(output.htmlFor.value).value;
    const theme = this.form.elements.theme.value;
    if (theme === 'system') delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
  }
}

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
}

export function storeInTab(name, value) {
  try {
    if (value) sessionStorage.setItem(name, value);
    else sessionStorage.removeItem(name);
  } catch {
    // Without storage, settings are lost when the page is closed.
  }
}

export function storedInTab(name) {
  try {
    return sessionStorage.getItem(name) || '';
  } catch {
    return '';
  }
}
