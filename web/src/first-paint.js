// Runs before the first paint, so that a dark console never flashes white. Keep in step with theme/theme.ts.
(function () {
  var chosen = null;
  try {
    chosen = localStorage.getItem('anyvirt.theme');
  } catch {
    // Storage may be forbidden; the system's choice stands then.
  }
  var dark = chosen === 'dark' || (chosen !== 'light' && matchMedia('(prefers-color-scheme: dark)').matches);
  var contrast = chosen === 'high-contrast' || (chosen === null && matchMedia('(prefers-contrast: more)').matches);
  document.documentElement.classList.toggle('pf-v6-theme-dark', dark);
  document.documentElement.classList.toggle('pf-v6-theme-high-contrast', contrast);
})();
