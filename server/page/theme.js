// Sets the theme before the page is drawn, so that it does not flash. A classic script, because modules run later.
'use strict';
(() => {
  let theme = 'system';
  try {
    theme = JSON.parse(localStorage.getItem('deltaserve.settings') || '{}').theme || 'system';
  } catch {
    // Without storage, or with a broken entry, the system's theme is used.
  }
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
})();
