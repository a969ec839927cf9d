/** What a person may choose: `system` follows the operating system. */
export const THEMES = ['system', 'light', 'dark', 'high-contrast'] as const;

/** One of {@link THEMES}. */
export type Theme = (typeof THEMES)[number];

const STORED_AS = 'anyvirt.theme';

/** Classes of the document under a theme. `wants` is what the operating system asks for. */
export function classesOf(theme: Theme, wants: { dark: boolean; contrast: boolean }): { dark: boolean; contrast: boolean } {
  return {
    dark: theme === 'dark' || ((theme === 'system' || theme === 'high-contrast') && wants.dark),
    contrast: theme === 'high-contrast' || (theme === 'system' && wants.contrast),
  };
}

/** The theme chosen in this browser. */
export function chosenTheme(): Theme {
  try {
    const stored = localStorage.getItem(STORED_AS);
    return THEMES.find((theme) => theme === stored) ?? 'system';
  } catch {
    return 'system';
  }
}

/** Shows the document in `theme`, without keeping the choice. */
export function showTheme(theme: Theme): void {
  const { dark, contrast } = classesOf(theme, {
    dark: matchMedia('(prefers-color-scheme: dark)').matches,
    contrast: matchMedia('(prefers-contrast: more)').matches,
  });
  document.documentElement.classList.toggle('pf-v6-theme-dark', dark);
  document.documentElement.classList.toggle('pf-v6-theme-high-contrast', contrast);
}

/** Shows and keeps `theme`. Where storage is forbidden the choice lasts as long as the page. */
export function chooseTheme(theme: Theme): void {
  showTheme(theme);
  try {
    if (theme === 'system') localStorage.removeItem(STORED_AS);
    else localStorage.setItem(STORED_AS, theme);
  } catch {
    // Nothing to keep it in.
  }
}

/** Is the document dark now? Consoles and editors colour themselves by it. */
export function isDark(): boolean {
  return document.documentElement.classList.contains('pf-v6-theme-dark');
}

/** Follows the operating system while nobody has chosen. */
export function followSystem(): void {
  for (const query of ['(prefers-color-scheme: dark)', '(prefers-contrast: more)']) {
    matchMedia(query).addEventListener('change', () => showTheme(chosenTheme()));
  }
}
