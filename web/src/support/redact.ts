/** Characters of one text that are kept: a log's worth. Of what is longer, the beginning and the end. */
export const LONGEST_TEXT = 64 * 1024;
/** Characters of its beginning: a launcher's log begins with QEMU's command line. */
const BEGINNING = 16 * 1024;

/** Fields whose text is a secret, or may hold one: what a guest is set up with, passwords, keys. */
const SECRET_FIELD = /^(?:user|network|vendor)data(?:base64)?$|(?:^|\/)ignitiondata$|^(?:proxy-?)?authorization$|password(?!less)|passphrase|passwd|private_?key|secret_?key|api_?key|credentials?$|^(?:bearer)?_?token$|^sysprep$|last-applied-configuration$/i;
/** Names of variables whose value is one. */
const SECRET_VARIABLE = /pass|token|secret|key|credential|authorization|cookie/i;
/** `https://name:password@host` */
const ADDRESS = /(\b[a-z][a-z0-9+.-]{0,30}:\/\/[^/\s:@]*):[^/\s@]+@/gi;
/** The end of a name of what is secret in logs and messages, as in `passwordHash`, `db-token`. */
const NAME = String.raw`(?:password|passwd|passphrase|secret|token|api[_-]?key)(?:[_-]?hash)?`;
/** `password: `, `token=`, `"password":`, and the same in JSON that is text in JSON, where each quote has backslashes before it. */
const NAMED = String.raw`${NAME}\\*["']?\s*[:=]\s*`;
/** `--password ` and, in a list, `"--password", `, if no other argument follows. */
const ARGUMENT = String.raw`(?<!-)--[\w-]{0,64}${NAME}(?:\\*["'],\s*|\s+)(?!\\*["']?-)`;
/** `Authorization: `, with the scheme if it is said; Go prints a header's values in brackets. */
const HEADER = String.raw`authorization\\*["']?\s*[:=]\s*\[?(?:(?:basic|bearer|digest|negotiate|token)\s+)?`;
/** A quoted text to its own closing quote, or to the line's end if that is cut off; else a word. */
const VALUE = String.raw`(?:"[^"\\]*(?:\\[^][^"\\]*)*"|'[^'\\]*(?:\\[^][^'\\]*)*'|(?<quote>\\+["'])[^]*?(?<!\\)\k<quote>|\\*["'].*|[^\s"',;]+)`;
/** A secret that is told by what stands before it. */
const SAID = new RegExp(`(${NAMED}|${HEADER}|${ARGUMENT}|bearer\\s+)${VALUE}`, 'gi');
/** An argument after which a secret follows. */
const SECRET_ARGUMENT = new RegExp(`^--?[\\w-]*${NAME}$`, 'i');
/** Keys and certificates as text. */
const BLOCK = /-----BEGIN ([A-Z0-9 ]*PRIVATE KEY)-----[\s\S]*?(?:-----END \1-----|$)/g;
/** One whose beginning is cut off, as a text may begin within it. */
const BLOCK_END = /^[^]*-----END [A-Z0-9 ]*PRIVATE KEY-----/;

/** What stands in the place of a secret. */
export const REDACTED = '(redacted)';

/** A text without the secrets that can be told by what stands before them, and of bounded length. Pure. */
export function redactedText(text: string): string {
  const clean = text.replace(BLOCK, REDACTED).replace(BLOCK_END, REDACTED).replace(ADDRESS, `$1:${REDACTED}@`).replace(SAID, `$1${REDACTED}`);
  const excess = clean.length - LONGEST_TEXT;
  return excess <= 0 ? clean : `${clean.slice(0, BEGINNING)}\n(${excess} characters are left out here)\n${clean.slice(BEGINNING + excess)}`;
}

/** An object without secrets and without managed fields, which nobody reads. Pure. */
export function redacted(value: unknown): unknown {
  if (typeof value === 'string') return redactedText(value);
  if (Array.isArray(value)) return value.map((held: unknown, index) => (isSecretArgument(value[index - 1]) ? withoutText(held) : redacted(held)));
  if (typeof value !== 'object' || value === null) return value;
  const isVariable = 'name' in value && typeof value.name === 'string' && SECRET_VARIABLE.test(value.name);
  return Object.fromEntries(
    Object.entries(value)
      .filter(([field]) => field !== 'managedFields')
      .map(([field, held]) => [field, (isVariable && field === 'value') || SECRET_FIELD.test(field) ? withoutText(held) : redacted(held)]),
  );
}

function isSecretArgument(before: unknown): boolean {
  return typeof before === 'string' && SECRET_ARGUMENT.test(before);
}

/** Everything below a secret field, its texts replaced: which fields there were may matter. */
function withoutText(value: unknown): unknown {
  if (typeof value === 'string') return value === '' ? '' : `${REDACTED} ${value.length} characters`;
  if (Array.isArray(value)) return value.map(withoutText);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([field, held]) => [field, withoutText(held)]));
}
