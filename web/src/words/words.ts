/** Translations by their English text; `{name}` stands for a value. */
export type Catalog = Readonly<Record<string, string>>;

/** Values for the placeholders of a text. */
export type Values = Readonly<Record<string, string | number>>;

let catalog: Catalog = {};
let locale = 'en';
let translate: (english: string) => string = (english) => catalog[english] ?? english;

/** Chooses the language of everything that is said from now on; a page that is shown already stays as it is. */
export function speak(chosen: string, translations: Catalog): void {
  locale = chosen;
  catalog = translations;
  translate = chosen === PSEUDO ? pseudo : (english) => catalog[english] ?? english;
}

/** A locale that no one speaks: it shows which texts are not translated, and which places are too narrow. */
export const PSEUDO = 'en-XA';

const formats = new Map<string, unknown>();

/** What `make` makes for the language in force, made once: that takes longer than all that is done with it. */
export function format<F>(name: string, make: (language: string) => F): F {
  const key = `${language()} ${name}`;
  const known = formats.get(key) as F | undefined;
  if (known !== undefined) return known;
  const made = make(language());
  formats.set(key, made);
  return made;
}

const number = (language: string): Intl.NumberFormat => new Intl.NumberFormat(language);
const pluralRules = (language: string): Intl.PluralRules => new Intl.PluralRules(language);

/** The language in force, for `Intl`. */
export function language(): string {
  return locale === PSEUDO ? 'en' : locale;
}

/** A text for people, in their language. The English text is the key. */
export function t(english: string, values: Values = {}): string {
  return translate(english).replace(/\{(\w+)\}/g, (whole, name: string) => {
    const value = values[name];
    if (value === undefined) return whole;
    return typeof value === 'number' ? format('number', number).format(value) : value;
  });
}

/** `one` or `other`, by the language's rules; `{count}` stands for the number. */
export function plural(count: number, one: string, other: string, values: Values = {}): string {
  const english = format('plural', pluralRules).select(count) === 'one' ? one : other;
  return t(english, { ...values, count });
}

const ACCENTED: Readonly<Record<string, string>> = { a: 'á', e: 'ë', i: 'ï', o: 'ö', u: 'ü', A: 'Å', E: 'É', O: 'Ø', n: 'ñ', s: 'š' };

/** The English text, accented and a third longer; placeholders stay. */
export function pseudo(english: string): string {
  const accented = english
    .split(/(\{\w+\})/)
    .map((part) => (part.startsWith('{') ? part : [...part].map((letter) => ACCENTED[letter] ?? letter).join('')))
    .join('');
  return `[${accented}${'~'.repeat(Math.ceil(english.length / 3))}]`;
}
