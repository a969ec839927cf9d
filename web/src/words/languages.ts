import { PSEUDO, speak } from './words';

const STORED_AS = 'anyvirt.language';

/** Languages of the console. English texts are their own keys; the pseudo-language is for those who build it. */
export const LANGUAGES = ['en', PSEUDO] as const;

/** One of {@link LANGUAGES}. */
export type Language = (typeof LANGUAGES)[number];

/** The language chosen in this browser. */
export function chosenLanguage(): Language {
  try {
    const stored = localStorage.getItem(STORED_AS);
    return LANGUAGES.find((language) => language === stored) ?? 'en';
  } catch {
    return 'en';
  }
}

/** Speaks the language that was chosen; before anything is shown. */
export function chooseLanguage(): void {
  const language = chosenLanguage();
  speak(language, {});
  document.documentElement.lang = language;
}

/** Keeps a choice; it holds from the next load on. */
export function keepLanguage(language: Language): void {
  try {
    localStorage.setItem(STORED_AS, language);
  } catch {
    // Nothing to keep it in.
  }
}
